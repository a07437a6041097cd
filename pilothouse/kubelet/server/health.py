"""Whether the kubelet works: `/healthz` and its parts. Source: apiserver `pkg/server/healthz`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl

from pilothouse.kit.clock import Clock
from pilothouse.kit.http.message import Response
from pilothouse.kubelet.kubelet import Kubelet
from pilothouse.kubelet.server.refusal import plain

_RELIST_LIMIT_S = 180.0


class Health:
    """Asks the kubelet how it does. A check gives what is wrong, or an empty text."""

    def __init__(self, kubelet: Kubelet, clock: Clock) -> None:
        self._kubelet = kubelet
        self._clock = clock
        self._started_at = clock.monotonic()
        self._checks: Mapping[str, Callable[[], str]] = {"ping": lambda: "", "syncloop": self._sync_loop}

    def get(self, path: str, query: str) -> Response:
        """`/healthz`, or one check as `/healthz/<name>`."""
        name = path.removeprefix("/healthz").strip("/")
        if name:
            check = self._checks.get(name)
            if check is None:
                return plain(404, "404 page not found\n")
            problem = check()
            return plain(500, f"internal server error: {problem}\n") if problem else plain(200, "ok")
        asked = parse_qsl(query, keep_blank_values=True)
        excluded = {value for key, value in asked if key == "exclude"}
        lines, failed = [], []
        for name, check in self._checks.items():
            problem = "" if name in excluded else check()
            note = "excluded: ok" if name in excluded else "failed: reason withheld" if problem else "ok"
            lines.append(f"[{'-' if problem else '+'}]{name} {note}\n")
            if problem:
                failed.append(name)
        if failed:
            return plain(500, "".join([*lines, "healthz check failed\n"]))
        if any(key == "verbose" for key, _ in asked):
            return plain(200, "".join([*lines, "healthz check passed\n"]))
        return plain(200, "ok")

    def _sync_loop(self) -> str:
        """The kubelet is out of step when the runtime has not told what runs for three minutes, upstream's limit, too."""
        last = self._kubelet.relisted_at
        silent_s = self._clock.monotonic() - (self._started_at if last is None else last)
        return f"the runtime was last seen {silent_s:.0f} s ago" if silent_s > _RELIST_LIMIT_S else ""
