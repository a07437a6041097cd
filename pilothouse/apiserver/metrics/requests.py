"""Requests by verb, kind and outcome: how many, how long they took, how large their answers were.

As upstream, a request counts when it has reached a kind that is served; what was turned away before counts as a termination (429, 504).
A watch, and every other request without a set end, counts when it is over. Source: apiserver `pkg/endpoints/metrics`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping

from pilothouse.apiserver.call import Call
from pilothouse.apiserver.route import RequestInfo, is_long_running
from pilothouse.kit.clock import Clock
from pilothouse.kit.metrics import Family, add_histogram

BUCKETS_S = (
    *(0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0),
    *(3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0),
)
_SLI_FROM = 2
"""The first of these bounds that `apiserver_request_sli_duration_seconds` has."""
_SIZES_BYTES = tuple(10.0**exponent for exponent in range(3, 10))
_APPLY = "application/apply-patch"
_METHODS = {
    "get": "GET",
    "list": "LIST",
    "watch": "WATCH",
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "apply": "APPLY",
    "delete": "DELETE",
    "deletecollection": "DELETE",
}
_CONNECTIONS = frozenset({"log", "exec", "portforward", "attach", "proxy"})
_SIZED = frozenset({"get", "list"})
_Labels = Mapping[str, str]
_Key = tuple[str, ...]


class _Series:
    """Requests of one kind: their labels are made once."""

    __slots__ = ("buckets", "codes", "dry_run", "labels", "moved", "moved_s", "seconds", "size_bytes", "sizes")

    def __init__(self, labels: _Labels, dry_run: str, *, is_sized: bool) -> None:
        self.labels = labels
        self.dry_run = dry_run
        self.codes: dict[int, int] = {}
        self.buckets = [0] * (len(BUCKETS_S) + 1)
        self.seconds = 0.0
        self.moved: list[int] | None = None
        """By how much the buckets differ without the time that requests had to wait; None while none has."""
        self.moved_s = 0.0
        self.sizes = [0] * (len(_SIZES_BYTES) + 1) if is_sized else None
        self.size_bytes = 0


class RequestMetrics:
    """Told by the server what becomes of requests."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._series: list[_Series] = []
        self._others: dict[_Key, _Series] = {}
        """Of what belongs to no kind, and of what was turned away."""
        self._deprecated: dict[_Key, _Labels] = {}
        self._terminated: dict[tuple[tuple[str, str], ...], int] = {}
        self._long_running: dict[tuple[tuple[str, str], ...], int] = {}
        self._in_flight = {"readOnly": 0, "mutating": 0}
        self._most = {"readOnly": 0, "mutating": 0}
        self._most_before = {"readOnly": 0, "mutating": 0}
        self._second = 0

    def observe(self, call: Call, code: int, size: int, seconds: float) -> None:
        """A request is answered."""
        info = call.info
        verb = info.verb
        if verb == "patch" and call.request.headers.get("content-type", "").startswith(_APPLY):
            verb = "apply"
        assert call.series is not None
        key = (verb, info.subresource, info.namespace == "", call.query.get("dryRun") if call.query else None)
        series = call.series.get(key)
        if series is None:
            series = call.series[key] = self._new_series(call, verb)
            self._series.append(series)
        codes = series.codes
        codes[code] = codes.get(code, 0) + 1
        bucket = bisect_left(BUCKETS_S, seconds)
        series.buckets[bucket] += 1
        series.seconds += seconds
        if series.sizes is not None:
            series.sizes[bisect_left(_SIZES_BYTES, size)] += 1
            series.size_bytes += size
        if call.waited_s:
            if series.moved is None:
                series.moved = [0] * len(series.buckets)
            series.moved[bucket] -= 1
            series.moved[bisect_left(BUCKETS_S, seconds - call.waited_s)] += 1
            series.moved_s += call.waited_s

    def observe_path(self, path: str, code: int, seconds: float) -> None:
        """A request for one of the server's own paths is answered, of which there is a fixed number."""
        series = self._others.get((path,))
        if series is None:
            series = self._others[path,] = _Series(_labels("GET", "", "", "", path, ""), "", is_sized=True)
        series.codes[code] = series.codes.get(code, 0) + 1
        series.buckets[bisect_left(BUCKETS_S, seconds)] += 1
        series.seconds += seconds

    def terminated(self, info: RequestInfo, code: int) -> None:
        """The server has given a request up, to protect itself."""
        labels = tuple({**_cleaned(info), "code": str(code)}.items())
        self._terminated[labels] = self._terminated.get(labels, 0) + 1

    def dropped(self, call: Call) -> None:
        """A request was turned away, as there are too many."""
        self.terminated(call.info, 429)
        labels = _cleaned(call.info)
        key = tuple(labels.values())
        series = self._others.get(key)
        if series is None:
            series = self._others[key] = _Series(labels, "", is_sized=False)
        series.codes[429] = series.codes.get(429, 0) + 1

    def began(self, call: Call) -> tuple[tuple[str, str], ...] | None:
        """A request without a set end goes on; give what is returned to `ended`. None for any other."""
        if not is_long_running(call.info):
            return None
        labels = tuple(_cleaned(call.info).items())
        self._long_running[labels] = self._long_running.get(labels, 0) + 1
        return labels

    def ended(self, labels: tuple[tuple[str, str], ...]) -> None:
        self._long_running[labels] -= 1

    def entered(self, *, is_mutating: bool) -> None:
        """A request could not be answered at once: it is in flight now."""
        kind = "mutating" if is_mutating else "readOnly"
        self._in_flight[kind] += 1
        self._turn()
        if self._in_flight[kind] > self._most[kind]:
            self._most[kind] = self._in_flight[kind]

    def left(self, *, is_mutating: bool) -> None:
        self._turn()
        self._in_flight["mutating" if is_mutating else "readOnly"] -= 1

    def _turn(self) -> None:
        second = int(self._clock.monotonic())
        if second != self._second:
            self._most_before = self._most if second == self._second + 1 else dict(self._in_flight)
            self._most = dict(self._in_flight)
            self._second = second

    def _new_series(self, call: Call, verb: str) -> _Series:
        info = call.info
        scope = _scope(info) if verb in ("list", "watch", "deletecollection") else "resource"
        method = "CONNECT" if info.subresource in _CONNECTIONS else _METHODS.get(verb, "other")
        labels = _labels(method, info.api_group, info.api_version, info.resource, info.subresource, scope)
        dry_run = call.query.get("dryRun", "")
        if call.is_deprecated:
            self._deprecated.setdefault(_kind(info), labels)
        return _Series(labels, dry_run if dry_run in ("", "All") else "invalid", is_sized=verb in _SIZED)

    def families(self) -> Iterable[Family]:
        series = self._merged()
        total = Family(
            "apiserver_request_total",
            "counter",
            "[STABLE] Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, "
            "component, and HTTP response code.",
        )
        for each in series:
            for code, count in each.codes.items():
                total.add(count, {**each.labels, "dry_run": each.dry_run, "code": str(code)})
        yield total
        yield from self._durations([each for each in series if sum(each.buckets)])
        yield from self._states()

    def _merged(self) -> list[_Series]:
        """Series that differ only in what is no label are one."""
        merged: dict[tuple[object, ...], _Series] = {}
        for series in (*self._series, *self._others.values()):
            key = (*series.labels.values(), series.dry_run)
            whole = merged.get(key)
            if whole is None:
                whole = merged[key] = _Series(series.labels, series.dry_run, is_sized=series.sizes is not None)
            for code, count in series.codes.items():
                whole.codes[code] = whole.codes.get(code, 0) + count
            whole.buckets = _sum(whole.buckets, series.buckets)
            whole.seconds += series.seconds
            if series.moved is not None:
                whole.moved = _sum(whole.moved or [0] * len(series.moved), series.moved)
                whole.moved_s += series.moved_s
            if whole.sizes is not None and series.sizes is not None:
                whole.sizes = _sum(whole.sizes, series.sizes)
                whole.size_bytes += series.size_bytes
        return list(merged.values())

    @staticmethod
    def _durations(series: list[_Series]) -> Iterable[Family]:
        durations = Family(
            "apiserver_request_duration_seconds",
            "histogram",
            "[STABLE] Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, "
            "scope and component.",
        )
        indicators = Family(
            "apiserver_request_sli_duration_seconds",
            "histogram",
            "[ALPHA] Response latency distribution (not counting webhook duration and priority & fairness queue wait times) in "
            "seconds for each verb, group, version, resource, subresource, scope and component.",
        )
        sizes = Family(
            "apiserver_response_sizes",
            "histogram",
            "[STABLE] Response size distribution in bytes for each group, version, verb, resource, subresource, scope and component.",
        )
        for each in series:
            labels = {**each.labels, "dry_run": each.dry_run}
            add_histogram(durations, BUCKETS_S, each.buckets, each.seconds, labels)
            if not each.dry_run:
                buckets = each.buckets if each.moved is None else _sum(each.buckets, each.moved)
                first = sum(buckets[: _SLI_FROM + 1])
                seconds = each.seconds - each.moved_s
                add_histogram(
                    indicators, BUCKETS_S[_SLI_FROM:], [first, *buckets[_SLI_FROM + 1 :]], seconds, each.labels
                )
            if each.sizes is not None:
                add_histogram(sizes, _SIZES_BYTES, each.sizes, each.size_bytes, each.labels)
        return durations, indicators, sizes

    def _states(self) -> Iterable[Family]:
        deprecated = Family(
            "apiserver_requested_deprecated_apis",
            "gauge",
            "[STABLE] Gauge of deprecated APIs that have been requested, broken out by API group, version, resource, subresource, "
            "and removed_release.",
        )
        for labels in self._deprecated.values():
            names = ("group", "version", "resource", "subresource")
            deprecated.add(1, {**{name: labels[name] for name in names}, "removed_release": ""})
        yield deprecated
        running = Family(
            "apiserver_longrunning_requests",
            "gauge",
            "[STABLE] Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, scope and "
            "component. Not all requests are tracked this way.",
        )
        for pairs, count in self._long_running.items():
            running.add(count, dict(pairs))
        yield running
        terminations = Family(
            "apiserver_request_terminations_total",
            "counter",
            "[ALPHA] Number of requests which apiserver terminated in self-defense.",
        )
        for pairs, count in self._terminated.items():
            terminations.add(count, dict(pairs))
        yield terminations
        self._turn()
        in_flight = Family(
            "apiserver_current_inflight_requests",
            "gauge",
            "[STABLE] Maximal number of currently used inflight request limit of this apiserver per request kind in last second.",
        )
        for kind, most in self._most.items():
            in_flight.add(max(most, self._most_before[kind]), {"request_kind": kind})
        yield in_flight


def _sum(left: list[int], right: list[int]) -> list[int]:
    return [one + other for one, other in zip(left, right, strict=True)]


def _kind(info: RequestInfo) -> tuple[str, str, str, str]:
    return info.resource, info.subresource, info.api_group, info.api_version


def _scope(info: RequestInfo) -> str:
    return "namespace" if info.namespace else "cluster"


def _cleaned(info: RequestInfo) -> dict[str, str]:
    """Labels of a request of which only its path is known; what clients choose freely must not become series without end."""
    if not info.is_resource:
        return _labels(info.verb.upper() if info.verb in ("get", "post", "put", "delete") else "other", *[""] * 5)
    scope = "resource" if info.name or info.verb == "create" else _scope(info)
    method = "CONNECT" if info.subresource in _CONNECTIONS else _METHODS.get(info.verb, "other")
    return _labels(method, info.api_group, info.api_version, info.resource, info.subresource, scope)


def _labels(verb: str, group: str, version: str, resource: str, subresource: str, scope: str) -> dict[str, str]:
    return {
        "component": "apiserver",
        "group": group,
        "resource": resource,
        "scope": scope,
        "subresource": subresource,
        "verb": verb,
        "version": version,
    }
