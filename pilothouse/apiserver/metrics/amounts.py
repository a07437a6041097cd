"""How much there is of the kind that a request is for: what flow control estimates its width from."""

from __future__ import annotations

from pilothouse.apiserver.app import ApiServer
from pilothouse.apiserver.fairness.work import Stored
from pilothouse.apiserver.route import RequestInfo
from pilothouse.kit.clock import Clock
from pilothouse.store.cacher import Cacher

_FRESH_S = 60.0
_SAMPLE = 100


class Amounts:
    """Asks the server's caches."""

    def __init__(self, server: ApiServer, clock: Clock) -> None:
        self._server = server
        self._clock = clock
        self._sizes: dict[str, tuple[float, int]] = {}
        """An object's average size by the prefix of its kind, and until when it is believed."""

    def stored(self, info: RequestInfo) -> Stored | None:
        """How many objects of a request's kind there are, and how large they are on average; None for what is not known."""
        cacher = self._cacher(info)
        if cacher is None:
            return None
        now = self._clock.monotonic()
        known = self._sizes.get(cacher.prefix)
        if known is None or known[0] < now:
            sample = cacher.list("", limit=_SAMPLE).items
            average = sum(len(cached.wire) for cached in sample) // len(sample) if sample else 0
            known = self._sizes[cacher.prefix] = (now + _FRESH_S, average)
        return Stored(len(cacher), known[1])

    def watchers(self, info: RequestInfo) -> int:
        """How many watch what a request writes."""
        cacher = self._cacher(info)
        return 0 if cacher is None else cacher.watchers(info.namespace, info.name)

    def _cacher(self, info: RequestInfo) -> Cacher | None:
        endpoint = self._server.served(info.api_group, info.api_version, info.resource)
        return None if endpoint is None else endpoint.opened
