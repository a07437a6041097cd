"""How often a configuration file was read again, and what it says now. Source: apiserver `pkg/server/options/*config/metrics`."""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.apiserver.server_id import hashed
from pilothouse.kit.metrics import Family, labelled


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
        self.hash = hashed(text)

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

    def families(self, subject: str, server: str) -> Iterable[Family]:
        """For `/metrics`: of the configuration of `subject`, in the server whose name is `server`."""
        prefix, shown = f"apiserver_{subject}_config_controller_", hashed(server)
        by_status = ("status", "apiserver_id_hash")
        what = f"reload of {subject} configuration split by status and apiserver identity."
        yield labelled(
            f"{prefix}automatic_reloads_total",
            "counter",
            f"[BETA] Total number of automatic {what.replace('reload', 'reloads', 1)}",
            by_status,
            {(status, shown): count for status, count in self.counts.items()},
        )
        yield labelled(
            f"{prefix}automatic_reload_last_timestamp_seconds",
            "gauge",
            f"[BETA] Timestamp of the last automatic {what}",
            by_status,
            {(status, shown): at for status, at in self.last.items()},
        )
        yield labelled(
            f"{prefix}last_config_info",
            "gauge",
            f"[ALPHA] Information about the last applied {subject} configuration with hash as label, split by apiserver identity.",
            ("apiserver_id_hash", "hash"),
            {(shown, self.hash): 1} if self.hash else {},
        )
