"""What flow control counts, under upstream's names. Source: apiserver `pkg/util/flowcontrol/metrics`.

Nearly all requests take one seat and do not wait; they are counted together, and only the others one by one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping

from pilothouse.apiserver.fairness.level import Group, Level
from pilothouse.kit.metrics import Family, add_histogram

_SECONDS = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0)
_SEATS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 100.0)
_LENGTHS = (0.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0)
_WATCHERS = (0.0, 1.0, 10.0, 100.0, 1000.0, 10000.0)
LEAST_COUNTED_S = 0.005
"""What took no longer falls into the first bucket above zero."""
_PREFIX = "apiserver_flowcontrol_"
_Key = tuple[str, str]


class _Observed:
    """Observations of one histogram by group."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.series: dict[tuple[str, ...], tuple[list[int], list[float]]] = {}

    def add(self, key: tuple[str, ...], value: float) -> None:
        series = self.series.get(key)
        if series is None:
            series = self.series[key] = ([0] * (len(self.bounds) + 1), [0.0])
        series[0][bisect_left(self.bounds, value)] += 1
        series[1][0] += value


class Counts:
    """Told by `Fairness` of all that is out of the ordinary."""

    def __init__(self) -> None:
        self._waited = _Observed(_SECONDS)
        self._seats = _Observed(_SEATS)
        self._lengths = _Observed(_LENGTHS)
        self._watchers = _Observed(_WATCHERS)
        self._executed = _Observed(_SECONDS)
        self.fair = 0.0
        self.targets: Mapping[str, float] = {}

    def waited(self, group: Group, seconds: float, *, is_executed: bool) -> None:
        self._waited.add((group.level.name, group.name, "true" if is_executed else "false"), seconds)

    def enqueued(self, group: Group, length: int) -> None:
        self._lengths.add((group.level.name, group.name), length)

    def estimated(self, group: Group, seats: int) -> None:
        self._seats.add((group.level.name, group.name), seats)

    def watched(self, group: Group, watchers: int) -> None:
        self._watchers.add((group.level.name, group.name), watchers)

    def executed(self, group: Group, seconds: float) -> None:
        self._executed.add((group.level.name, group.name, "regular"), seconds)

    def families(self, groups: Iterable[Group], levels: Iterable[Level]) -> Iterable[Family]:
        groups, levels = list(groups), list(levels)
        yield from self._of_groups(groups)
        yield from self._of_levels(levels)
        yield from self._histograms(groups)

    @staticmethod
    def _of_groups(groups: list[Group]) -> Iterable[Family]:
        def family(name: str, kind: str, help: str) -> Family:
            return Family(_PREFIX + name, kind, help)

        rejected = family(
            "rejected_requests_total",
            "counter",
            "[BETA] Number of requests rejected by API Priority and Fairness subsystem",
        )
        dispatched = family(
            "dispatched_requests_total",
            "counter",
            "[BETA] Number of requests executed by API Priority and Fairness subsystem",
        )
        inqueue = family(
            "current_inqueue_requests",
            "gauge",
            "[BETA] Number of requests currently pending in queues of the API Priority and Fairness subsystem",
        )
        inqueue_seats = family(
            "current_inqueue_seats",
            "gauge",
            "[ALPHA] Number of seats currently pending in queues of the API Priority and Fairness subsystem",
        )
        executing = family(
            "current_executing_requests",
            "gauge",
            "[BETA] Number of requests in initial (for a WATCH) or any (for a non-WATCH) execution stage in the API Priority and "
            "Fairness subsystem",
        )
        seats = family(
            "current_executing_seats",
            "gauge",
            "[BETA] Concurrency (number of seats) occupied by the currently executing (initial stage for a WATCH, any stage "
            "otherwise) requests in the API Priority and Fairness subsystem",
        )
        for group in groups:
            labels = {"flow_schema": group.name, "priority_level": group.level.name}
            for reason, count in group.rejected.items():
                rejected.add(count, {**labels, "reason": reason})
            if group.dispatched:
                dispatched.add(group.dispatched, labels)
                inqueue.add(group.inqueue, labels)
                inqueue_seats.add(group.inqueue_seats, labels)
                executing.add(group.executing, labels)
                seats.add(group.executing + group.more_seats, labels)
        return rejected, dispatched, inqueue, inqueue_seats, executing, seats

    def _of_levels(self, levels: list[Level]) -> Iterable[Family]:
        rows = (
            ("nominal_limit_seats", "[BETA] Nominal number of execution seats configured for each priority level"),
            (
                "lower_limit_seats",
                "[ALPHA] Configured lower bound on number of execution seats available to each priority level",
            ),
            (
                "upper_limit_seats",
                "[ALPHA] Configured upper bound on number of execution seats available to each priority level",
            ),
            (
                "current_limit_seats",
                "[ALPHA] current derived number of execution seats available to each priority level",
            ),
            (
                "demand_seats_high_watermark",
                "[ALPHA] High watermark, over last adjustment period, of demand_seats",
            ),
            ("demand_seats_average", "[ALPHA] Time-weighted average, over last adjustment period, of demand_seats"),
            (
                "demand_seats_stdev",
                "[ALPHA] Time-weighted standard deviation, over last adjustment period, of demand_seats",
            ),
            ("demand_seats_smoothed", "[ALPHA] Smoothed seat demands"),
            ("target_seats", "[ALPHA] Seat allocation targets"),
        )
        families = [Family(_PREFIX + name, "gauge", help) for name, help in rows]
        for level in levels:
            limits, demand = level.limits, level.demand
            values = (
                *(limits.nominal, limits.lower, limits.upper, level.current),
                *(demand.peak, demand.average, demand.deviation, demand.smoothed),
                self.targets.get(level.name, 0.0),
            )
            for family, value in zip(families, values, strict=True):
                family.add(value, {"priority_level": level.name})
        help = "[ALPHA] Fair fraction of server's concurrency to allocate to each priority level that can use it"
        return *families, Family(_PREFIX + "seat_fair_frac", "gauge", help).add(self.fair)

    def _histograms(self, groups: list[Group]) -> Iterable[Family]:
        two, three = ("priority_level", "flow_schema"), ("priority_level", "flow_schema", "execute")
        for group in groups:
            # Those who did not wait are in the first bucket above zero, as upstream measures a moment for them.
            key = (group.level.name, group.name)
            self._fill(self._waited, (*key, "true"), 1, 0.0, 0 if group.level.is_exempt else group.dispatched)
            self._fill(self._seats, key, 0, 1.0, group.dispatched)
            self._fill(self._executed, (*key, "regular"), 1, 0.0, group.dispatched - group.executing)
            if series := self._executed.series.get((*key, "regular")):
                series[1][0] = group.seconds
        yield self._family(
            self._waited,
            "request_wait_duration_seconds",
            "[BETA] Length of time a request spent waiting in its queue",
            three,
        )
        yield self._family(
            self._lengths,
            "request_queue_length_after_enqueue",
            "[ALPHA] Length of queue in the API Priority and Fairness subsystem, as seen by each request after it is enqueued",
            two,
        )
        yield self._family(
            self._watchers,
            "watch_count_samples",
            "[ALPHA] count of watchers for mutating requests in API Priority and Fairness",
            two,
        )
        yield self._family(
            self._seats,
            "work_estimated_seats",
            "[ALPHA] Number of estimated seats (maximum of initial and final seats) associated with requests in API Priority and "
            "Fairness",
            two,
        )
        yield self._family(
            self._executed,
            "request_execution_seconds",
            "[ALPHA] Duration of initial stage (for a WATCH) or any (for a non-WATCH) stage of request execution in the API "
            "Priority and Fairness subsystem",
            ("priority_level", "flow_schema", "type"),
        )

    @staticmethod
    def _fill(observed: _Observed, key: tuple[str, ...], bucket: int, value: float, total: int) -> None:
        """Count those that were not told of one by one, so that there are `total`."""
        known = sum(observed.series[key][0]) if key in observed.series else 0
        missing = total - known
        if missing > 0:
            counts, sums = observed.series.setdefault(key, ([0] * (len(observed.bounds) + 1), [0.0]))
            counts[bucket] += missing
            sums[0] += missing * value

    @staticmethod
    def _family(observed: _Observed, name: str, help: str, labels: tuple[str, ...]) -> Family:
        family = Family(_PREFIX + name, "histogram", help)
        for key, (counts, sums) in observed.series.items():
            add_histogram(family, observed.bounds, counts, sums[0], dict(zip(labels, key, strict=True)))
        return family
