"""How often a configuration file was read again, and what it says now. Source: apiserver `pkg/server/options/*config/metrics`."""

from __future__ import annotations

import hashlib


class Reloads:
    """`counts` and `last` (seconds since the epoch) are by `success` and `failure`."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.last: dict[str, float] = {}
        self.hash = ""
        """Of the configuration that is in force, as metrics show it; empty without a file."""
        self._tried = b""

    def loaded(self, text: bytes) -> None:
        """At the start."""
        self._tried = text
        self.hash = f"sha256:{hashlib.sha256(text).hexdigest()}"

    def is_new(self, text: bytes) -> bool:
        return text != self._tried

    def tried(self, text: bytes) -> None:
        """It is not tried again, whatever comes of it."""
        self._tried = text

    def failed(self, now: float) -> None:
        self._count("failure", now)

    def succeeded(self, text: bytes, now: float) -> None:
        self.loaded(text)
        self._count("success", now)

    def _count(self, status: str, now: float) -> None:
        self.counts[status] = self.counts.get(status, 0) + 1
        self.last[status] = now
