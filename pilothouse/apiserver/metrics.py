"""`/metrics`: what the server has done, in Prometheus' text format, under upstream's names.

Counting must cost next to nothing: a request is one look-up in a dict and one bisection. Source: apiserver `pkg/endpoints/metrics`.
"""

from __future__ import annotations

import os
import resource
from bisect import bisect_left
from collections.abc import Callable, Iterable
from itertools import accumulate

from pilothouse.apiserver.call import Call
from pilothouse.apiserver.route import RequestInfo
from pilothouse.kit.http.message import Response
from pilothouse.kit.metrics import Family

_BUCKETS_S = (
    0.005,
    0.025,
    0.05,
    0.1,
    0.2,
    0.4,
    0.6,
    0.8,
    1.0,
    1.25,
    1.5,
    2.0,
    3.0,
    4.0,
    5.0,
    6.0,
    8.0,
    10.0,
    15.0,
    20.0,
    30.0,
    45.0,
    60.0,
)
_VERBS = frozenset({"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "proxy"})
_HEADERS = {"content-type": "text/plain; version=0.0.4; charset=utf-8"}
_Key = tuple[str, str, str, str, str, str, int]


class _Series:
    """Requests of one kind with one outcome."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.buckets = [0] * (len(_BUCKETS_S) + 1)
        self.seconds = 0.0


class RequestMetrics:
    """Counts requests by verb, group, version, resource, subresource, scope and status code."""

    def __init__(self) -> None:
        self._series: dict[_Key, _Series] = {}
        self._others: list[Callable[[], Iterable[Family]]] = []

    def add(self, families: Callable[[], Iterable[Family]]) -> None:
        """Tell what others have counted as well."""
        self._others.append(families)

    def observe(self, info: RequestInfo | None, code: int, seconds: float) -> None:
        """Count one request; `info` is None for one that was not understood. A watch counts when it has begun."""
        key: _Key
        if info is None:
            key = ("", "", "", "", "", "", code)
        elif info.is_resource and code != 404:
            scope = "resource" if info.name else "namespace" if info.namespace else "cluster"
            verb = info.verb if info.verb in _VERBS else "OTHER"
            key = (verb, info.api_group, info.api_version, info.resource, info.subresource, scope, code)
        else:
            # Clients choose these paths; they must not become series without end.
            key = (info.verb if info.verb in _VERBS else "OTHER", "", "", "", "", "", code)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Series()
        series.buckets[bisect_left(_BUCKETS_S, seconds)] += 1
        series.seconds += seconds

    async def serve(self, call: Call) -> Response:
        lines = [*self._lines(), *_process_lines()]
        for families in self._others:
            lines += (line for family in families() if not family.is_empty for line in family.lines)
        return Response(200, _HEADERS, "\n".join([*lines, ""]).encode())

    def _lines(self) -> Iterable[str]:
        yield "# HELP apiserver_request_total Requests by verb, resource and status code."
        yield "# TYPE apiserver_request_total counter"
        for key, series in self._series.items():
            yield f'apiserver_request_total{{{_labels(key)},code="{key[-1]}"}} {sum(series.buckets)}'
        yield "# HELP apiserver_request_duration_seconds How long requests took; for a watch, until it began."
        yield "# TYPE apiserver_request_duration_seconds histogram"
        merged: dict[str, _Series] = {}
        for key, series in self._series.items():
            total = merged.setdefault(_labels(key), _Series())
            total.buckets = [a + b for a, b in zip(total.buckets, series.buckets, strict=True)]
            total.seconds += series.seconds
        for labels, series in merged.items():
            for bound, count in zip((*map(str, _BUCKETS_S), "+Inf"), accumulate(series.buckets), strict=True):
                yield f'apiserver_request_duration_seconds_bucket{{{labels},le="{bound}"}} {count}'
            yield f"apiserver_request_duration_seconds_sum{{{labels}}} {series.seconds:.6f}"
            yield f"apiserver_request_duration_seconds_count{{{labels}}} {sum(series.buckets)}"


def _labels(key: _Key) -> str:
    verb, group, version, resource_, subresource, scope, _ = key
    return (
        f'verb="{verb.upper()}",group="{group}",version="{version}",resource="{resource_}",'
        f'subresource="{subresource}",scope="{scope}"'
    )


def _process_lines() -> Iterable[str]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    yield "# TYPE process_cpu_seconds_total counter"
    yield f"process_cpu_seconds_total {usage.ru_utime + usage.ru_stime:.2f}"
    try:
        with open("/proc/self/statm") as statm:
            pages = int(statm.read().split()[1])
        descriptors = len(os.listdir("/proc/self/fd"))
    except OSError:
        return
    yield "# TYPE process_resident_memory_bytes gauge"
    yield f"process_resident_memory_bytes {pages * resource.getpagesize()}"
    yield "# TYPE process_open_fds gauge"
    yield f"process_open_fds {descriptors}"
