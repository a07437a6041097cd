"""How much is stored of each kind, and what its cache has done.

Source: apiserver `pkg/storage/etcd3/metrics`, `pkg/storage/cacher/metrics`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from pilothouse.kit.metrics import Family
from pilothouse.store.cacher import Cacher

_DIGITS = 10**15


def _by_kind(cacher: Cacher) -> Mapping[str, str]:
    gvr = cacher.resource.gvr
    return {"group": gvr.group, "resource": gvr.plural}


class _Metric(NamedTuple):
    name: str
    kind: str
    help: str
    value: Callable[[Cacher], float]
    labels: Callable[[Cacher], Mapping[str, str]] = _by_kind


_METRICS = (
    _Metric(
        "apiserver_resource_objects",
        "gauge",
        "[ALPHA] Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will be -1.",
        len,
    ),
    _Metric(
        "apiserver_storage_objects",
        "gauge",
        "[STABLE] [DEPRECATED, consider using apiserver_resource_objects instead] Number of stored objects at the time of last "
        "check split by kind. In case of a fetching error, the value will be -1.",
        len,
        lambda cacher: {"resource": cacher.resource.gvr.group_resource},
    ),
    _Metric(
        "apiserver_resource_size_estimate_bytes",
        "gauge",
        "[ALPHA] Estimated size of stored objects in database. Estimate is based on sum of last observed sizes of serialized "
        "objects. In case of a fetching error, the value will be -1.",
        lambda cacher: sum(len(each.wire) for each in cacher.list("").items),
    ),
    _Metric(
        "apiserver_init_events_total",
        "counter",
        "[ALPHA] Counter of init events processed in watch cache broken by resource type.",
        lambda cacher: cacher.counts.initial,
    ),
    _Metric(
        "apiserver_storage_events_received_total",
        "counter",
        "[BETA] Number of etcd events received split by kind.",
        lambda cacher: cacher.counts.received,
    ),
    _Metric(
        "apiserver_watch_cache_events_received_total",
        "counter",
        "[ALPHA] Counter of events received in watch cache broken by resource type.",
        lambda cacher: cacher.counts.received,
    ),
    _Metric(
        "apiserver_watch_cache_events_dispatched_total",
        "counter",
        "[ALPHA] Counter of events dispatched in watch cache broken by resource type.",
        lambda cacher: cacher.counts.dispatched,
    ),
    _Metric(
        "apiserver_terminated_watchers_total",
        "counter",
        "[ALPHA] Counter of watchers closed due to unresponsiveness broken by resource type.",
        lambda cacher: cacher.counts.cut_off,
    ),
    _Metric(
        "apiserver_watch_cache_initializations_total",
        "counter",
        "[ALPHA] Counter of watch cache initializations broken by resource type.",
        lambda cacher: cacher.counts.opened,
    ),
    _Metric(
        "apiserver_watch_cache_resource_version",
        "gauge",
        "[ALPHA] Current resource version of watch cache broken by resource type. This is truncated to the 15 least significant "
        "digits.",
        lambda cacher: cacher.revision % _DIGITS,
    ),
)


def families(cachers: Iterable[Cacher]) -> Iterable[Family]:
    """For `/metrics`."""
    opened = tuple(cachers)
    for metric in _METRICS:
        family = Family(metric.name, metric.kind, metric.help)
        for cacher in opened:
            family.add(metric.value(cacher), metric.labels(cacher))
        yield family
