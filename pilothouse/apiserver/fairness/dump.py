"""`/debug/api_priority_and_fairness/*`: what waits and what runs, for people.

Source: apiserver `pkg/util/flowcontrol/apf_controller_debug.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from pilothouse.apiserver.call import Call
from pilothouse.apiserver.fairness.level import Level, Seat
from pilothouse.apiserver.seams import Connector
from pilothouse.kit.http.message import Response

_PREFIX = "/debug/api_priority_and_fairness/"
_LEVELS = (
    *("PriorityLevelName", "ActiveQueues", "IsIdle", "IsQuiescing", "WaitingRequests", "ExecutingRequests"),
    *("DispatchedRequests", "RejectedRequests", "TimedoutRequests", "CancelledRequests"),
)
_QUEUES = (
    *("PriorityLevelName", "Index", "PendingRequests", "ExecutingRequests", "SeatsInUse", "NextDispatchR"),
    *("InitialSeatsSum", "MaxSeatsSum", "TotalWorkSum"),
)
_REQUESTS = (
    *("PriorityLevelName", "FlowSchemaName", "QueueIndex", "RequestIndexInQueue", "FlowDistingsher", "ArriveTime"),
    *("InitialSeats", "FinalSeats", "AdditionalLatency", "StartTime"),
)
_DETAILS = ("UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource")
_Row = Sequence[object]


class Dump:
    """Answers the three paths. `levels` gives the levels as they are; `wall` makes a time of day of a monotonic one.

    Of requests that run, only those are listed that waited or take more than one seat.
    """

    def __init__(
        self,
        levels: Callable[[], Iterable[Level]],
        totals: Callable[[Level], tuple[int, int]],
        wall: Callable[[float], float],
    ) -> None:
        self._levels = levels
        self._totals = totals
        self._wall = wall

    def paths(self) -> dict[str, Connector]:
        return {
            _PREFIX + "dump_priority_levels": self.priority_levels,
            _PREFIX + "dump_queues": self.queues,
            _PREFIX + "dump_requests": self.requests,
        }

    async def priority_levels(self, call: Call) -> Response:
        rows: list[_Row] = [_LEVELS]
        for level in sorted(self._levels(), key=lambda level: level.name):
            dispatched, rejected = self._totals(level)
            active = sum(1 for queue in level.queues if queue.waiting)
            state = (
                level.name,
                active,
                _bool(level.is_idle),
                _bool(level.is_quiescing),
                level.waiting,
                level.executing,
            )
            rows.append((*state, dispatched, rejected, level.timed_out, level.cancelled))
        return _table(rows)

    async def queues(self, call: Call) -> Response:
        rows: list[_Row] = [_QUEUES]
        for level in self._levels():
            for index, queue in enumerate(level.queues):
                sizes = [seat.work for seat in queue.waiting]
                initial, most = sum(work.seats for work in sizes), sum(work.max_seats for work in sizes)
                state = (level.name, index, len(queue.waiting), queue.executing, queue.seats)
                rows.append((*state, f"{queue.begins:.8f}ss", initial, most, f"{most * 0.003:.8f}ss"))
        return _table(rows)

    async def requests(self, call: Call) -> Response:
        has_details = bool(call.query.get("includeRequestDetails"))
        rows: list[_Row] = [(*_REQUESTS, *_DETAILS) if has_details else _REQUESTS]
        for level in self._levels():
            for index, queue in enumerate(level.queues):
                rows += (self._row(seat, index, place, has_details) for place, seat in enumerate(queue.waiting))
            for seat in level.seated:
                at = -1 if seat.queue is None or seat.queue not in level.queues else level.queues.index(seat.queue)
                rows.append(self._row(seat, at, -1, has_details))
        return _table(rows)

    def _row(self, seat: Seat, queue: int, place: int, has_details: bool) -> _Row:
        work, info = seat.work, seat.info
        where = (seat.level.name, seat.group.name, queue, place, seat.flow.distinguisher, self._time(seat.arrived_at))
        latency = f"{round(work.latency_s * 1000)}ms" if work.latency_s else "0s"
        row = (*where, work.seats, work.final_seats, latency, self._time(seat.began))
        if not has_details:
            return row
        version = f"{info.api_group}/{info.api_version}" if info.api_group else info.api_version
        about = (info.verb, info.path, info.namespace, info.name, version, info.resource, info.subresource)
        return (*row, seat.user_name, *about)

    def _time(self, monotonic: float) -> str:
        if not monotonic:
            return "0001-01-01T00:00:00Z"
        return datetime.fromtimestamp(self._wall(monotonic), UTC).isoformat().replace("+00:00", "Z")


def _bool(value: bool) -> str:
    return "true" if value else "false"


def _table(rows: Sequence[_Row]) -> Response:
    """Columns as wide as their widest cell and a blank, but for the last, as Go's tabwriter sets them."""
    cells = [[str(cell) for cell in row] for row in rows]
    lines: list[str] = []
    widths = [max(8, *(len(row[column]) + 2 for row in cells)) for column in range(len(cells[0]) - 1)]
    for row in cells:
        padded = [f"{cell},".ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("".join([*padded, row[-1]]))
    body = "\n".join([*lines, ""]).encode()
    return Response(200, {"content-type": "text/plain; charset=utf-8"}, body)
