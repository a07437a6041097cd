"""How much there is of each kind, and what its cache has done: for flow control's estimates and for `/metrics`.

Source: apiserver `pkg/storage/etcd3/metrics`, `pkg/storage/cacher/metrics`.
"""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.apiserver.app import ApiServer
from pilothouse.apiserver.fairness.work import Stored
from pilothouse.apiserver.route import RequestInfo
from pilothouse.kit.clock import Clock
from pilothouse.kit.metrics import Family
from pilothouse.store.cacher import Cacher

_FRESH_S = 60.0
_SAMPLE = 100
_DIGITS = 10**15


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

    def families(self) -> Iterable[Family]:
        """For `/metrics`."""
        objects = Family(
            "apiserver_resource_objects",
            "gauge",
            "[ALPHA] Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will "
            "be -1.",
        )
        old_objects = Family(
            "apiserver_storage_objects",
            "gauge",
            "[STABLE] [DEPRECATED, consider using apiserver_resource_objects instead] Number of stored objects at the time of last "
            "check split by kind. In case of a fetching error, the value will be -1.",
        )
        sizes = Family(
            "apiserver_resource_size_estimate_bytes",
            "gauge",
            "[ALPHA] Estimated size of stored objects in database. Estimate is based on sum of last observed sizes of serialized "
            "objects. In case of a fetching error, the value will be -1.",
        )
        rows = (
            (
                "apiserver_init_events_total",
                "counter",
                "Counter of init events processed in watch cache broken by resource type.",
            ),
            ("apiserver_storage_events_received_total", "counter", "Number of etcd events received split by kind."),
            (
                "apiserver_watch_cache_events_received_total",
                "counter",
                "Counter of events received in watch cache broken by resource type.",
            ),
            (
                "apiserver_watch_cache_events_dispatched_total",
                "counter",
                "Counter of events dispatched in watch cache broken by resource type.",
            ),
            (
                "apiserver_terminated_watchers_total",
                "counter",
                "Counter of watchers closed due to unresponsiveness broken by resource type.",
            ),
            (
                "apiserver_watch_cache_initializations_total",
                "counter",
                "Counter of watch cache initializations broken by resource type.",
            ),
            (
                "apiserver_watch_cache_resource_version",
                "gauge",
                "Current resource version of watch cache broken by resource type. This is truncated to the 15 least significant "
                "digits.",
            ),
        )
        cached = [
            Family(name, kind, f"[{'BETA' if 'storage' in name else 'ALPHA'}] {help}") for name, kind, help in rows
        ]
        for cacher in self._server.cachers.opened():
            gvr = cacher.resource.gvr
            labels = {"group": gvr.group, "resource": gvr.plural}
            objects.add(len(cacher), labels)
            old_objects.add(len(cacher), {"resource": gvr.group_resource})
            sizes.add(sum(len(each.wire) for each in cacher.list("").items), labels)
            counts = cacher.counts
            values = (
                counts.initial,
                counts.received,
                counts.received,
                counts.dispatched,
                counts.cut_off,
                counts.opened,
            )
            for family, value in zip(cached, (*values, cacher.revision % _DIGITS), strict=True):
                family.add(value, labels)
        return objects, old_objects, sizes, *cached
