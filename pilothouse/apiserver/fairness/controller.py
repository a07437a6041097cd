"""Classifies requests and seats them: follows the FlowSchemas and PriorityLevelConfigurations.

A request of one seat that finds room costs a lookup and a few additions. The schemas `exempt` and `catch-all`, and their levels, hold
even while their objects are missing. Source: KEP-1040, apiserver `pkg/util/flowcontrol/apf_controller.go`, `apf_filter.go`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from pilothouse.api import gvr
from pilothouse.api.kinds.flowcontrol.flow_schema import FLOW_SCHEMA
from pilothouse.api.meta import Object, condition_of, with_condition
from pilothouse.api.status import Conflict, NotFound
from pilothouse.api.user import User
from pilothouse.apiserver import flow as defaults
from pilothouse.apiserver.app import ApiServer
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.deadline import REQUEST_TIMEOUT_S, WRITE_TIMEOUT_S
from pilothouse.apiserver.errors import Rejected
from pilothouse.apiserver.fairness import borrowing, rules
from pilothouse.apiserver.fairness.counts import LEAST_COUNTED_S, Counts
from pilothouse.apiserver.fairness.dump import Dump
from pilothouse.apiserver.fairness.keeper import MANDATORY, Keeper, mandatory
from pilothouse.apiserver.fairness.level import Flow, Group, Level, Refused, Seat, shares
from pilothouse.apiserver.fairness.work import ONE, Stored, Work, is_list, is_write, work_of_list, work_of_write
from pilothouse.apiserver.objects import CachedObjects
from pilothouse.apiserver.registry import Registry
from pilothouse.apiserver.route import RequestInfo
from pilothouse.apiserver.seams import Connector
from pilothouse.apiserver.write import Write
from pilothouse.kit.clock import Clock
from pilothouse.kit.log import get_logger
from pilothouse.kit.metrics import Family
from pilothouse.kit.remembered import LONGEST
from pilothouse.kit.workqueue import WorkQueue

DEFAULT_SEATS = 600
"""400 for reads and 200 for writes, as upstream's flags have it."""
WAIT_SHARE = 4
"""A request waits for at most this part of the time that it may take."""
_MAX_KNOWN = 8192
_SERVER = User("system:apiserver", groups=("system:masters",))
log = get_logger("pilothouse.apiserver.fairness")


class Fairness:
    """`open` before the first request; `run` keeps the objects, lends seats, and tells which schemas name a level that does not exist.

    `stored` tells how much there is of the kind that a request is about, `watchers` how many watch what it writes.
    """

    def __init__(
        self,
        objects: CachedObjects,
        clock: Clock,
        *,
        seats: int = DEFAULT_SEATS,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
        stored: Callable[[RequestInfo], Stored | None] = lambda info: None,
        watchers: Callable[[RequestInfo], int] = lambda info: 0,
    ) -> None:
        self._objects = objects
        self._clock = clock
        self._total = seats
        self._wait_s = request_timeout_s / WAIT_SHARE
        self.stored = stored
        self.watchers = watchers
        self._schemas: dict[str, Object] = {}
        self._configurations: dict[str, Object] = {}
        self._levels: dict[str, Level] = {}
        self._groups: dict[tuple[str, str], Group] = {}
        self._order: list[tuple[Mapping[str, Any], Group]] = []
        self._known: dict[tuple[object, ...], Flow] = {}
        self._pressed: set[Level] = set()
        self._nominal = 0
        self._is_stale = True
        self._queue: WorkQueue[str] = WorkQueue(clock)
        self._counts = Counts()
        free = Level("", clock.monotonic)
        free.limits = borrowing.Limits(0, 0, 0, is_exempt=True)
        self._free = Flow(Group("", free, {}), "")
        """For those that flow control does not concern."""

    async def open(self) -> None:
        """Follow the configuration. Raises StoreUnavailable."""
        await self._objects.prepare((gvr.FLOW_SCHEMAS, gvr.PRIORITY_LEVEL_CONFIGURATIONS))
        self._objects.subscribe(gvr.PRIORITY_LEVEL_CONFIGURATIONS, self._level_changed)
        self._objects.subscribe(gvr.FLOW_SCHEMAS, self._schema_changed)

    # Requests

    def take(self, call: Call) -> Flow | Seat:
        """A seat for a request; if its `waiting` is set, `wait` for it. Every seat is given back by `done`. Raises Rejected."""
        info, user = call.info, call.user
        verb = info.verb
        if call.allowed_s is None and verb != "watch":
            self._free.level.sit(self._free)
            return self._free
        if self._is_stale:
            self._configure()
        where = info.path if not info.is_resource else info.resource
        key = (user.name, user.groups, verb, where, info.subresource, info.api_group, info.namespace)
        flow = self._known.get(key) or self._classify(key, user, info)
        call.headers = flow.group.headers
        work = ONE if verb == "get" else self._estimate(flow, call)
        if work is ONE and flow.level.sit(flow):
            return flow
        seat = Seat(flow, work, info, user.name, self._clock.monotonic())
        try:
            flow.level.take(seat)
        except Refused as error:
            raise self._rejected(flow.level) from error
        if seat.waiting is not None:
            self._pressed.add(seat.level)
            assert seat.queue is not None
            self._counts.enqueued(seat.group, len(seat.queue.waiting))
        return seat

    async def wait(self, seat: Seat, call: Call) -> None:
        """Until the request may begin. Raises Rejected after a while."""
        waiting = seat.waiting
        assert waiting is not None

        def give_up() -> None:
            if not waiting.done():
                waiting.set_exception(_TimedOut())

        allowed_s = call.allowed_s
        # The bound of writes is that of their handlers, which come later.
        wait_s = self._wait_s if allowed_s is None or allowed_s == WRITE_TIMEOUT_S else allowed_s / WAIT_SHARE
        timer = self._clock.call_later(wait_s, give_up)
        is_executed = False
        try:
            await waiting
            is_executed = True
        except _TimedOut:
            seat.level.leave(seat, "time-out")
            raise self._rejected(seat.level) from None
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled() and waiting.exception() is None:
                self.done(seat)
            else:
                seat.level.leave(seat, "cancelled")
            raise
        finally:
            timer.cancel()
            call.waited_s = self._clock.monotonic() - seat.arrived_at
            self._counts.waited(seat.group, call.waited_s, is_executed=is_executed)

    def done(self, seat: Flow | Seat) -> None:
        """Give a seat back; what a write has to tell watchers keeps its seats a little longer."""
        if isinstance(seat, Flow):
            seat.level.stand(seat)
        elif seat.work.latency_s and not seat.level.is_exempt:
            self._clock.call_later(seat.work.latency_s, lambda: self._finish(seat))
            return
        else:
            seat.level.finish(seat)
        if self._pressed:
            self._dispatch()

    def goes_on(self, seat: Flow | Seat) -> None:
        """A request has not been answered at once, or that has come to its end: measure what is asked for."""
        seat.level.note()

    def executed(self, seat: Flow | Seat, seconds: float) -> None:
        """A request was answered. Those of less than 5 ms are known by their sum alone."""
        group = seat.group
        group.seconds += seconds
        if seconds > LEAST_COUNTED_S:
            self._counts.executed(group, seconds)

    def _finish(self, seat: Seat) -> None:
        seat.level.finish(seat)
        self._dispatch()

    def _dispatch(self) -> None:
        for level in tuple(self._pressed):
            level.dispatch()
            if not level.waiting:
                self._pressed.discard(level)

    def _rejected(self, level: Level) -> Rejected:
        level.drops.note(int(self._clock.now()))
        return Rejected(level.drops.retry_after_s)

    def _estimate(self, flow: Flow, call: Call) -> Work:
        info = call.info
        if not info.is_resource or flow.level.is_exempt:
            return ONE
        if is_write(info):
            watchers = self.watchers(info)
            work = work_of_write(watchers, flow.level.max_seats)
            self._counts.watched(flow.group, watchers)
        elif is_list(info, call.query):
            work = work_of_list(info, call.query, self.stored(info), flow.level.max_seats)
        else:
            return ONE
        if work.max_seats == 1:
            return ONE
        self._counts.estimated(flow.group, work.max_seats)
        return work

    # What goes on beside requests

    async def run(self, server: ApiServer) -> None:
        """Until cancelled."""

        async def registry_of(kind: gvr.GVR) -> Registry:
            return await server.registry(server.endpoint(kind).resource)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._lend())
            tasks.create_task(Keeper(registry_of, self._clock).run())
            tasks.create_task(self._tell_dangling(registry_of))

    async def _lend(self) -> None:
        while True:
            await self._clock.sleep(borrowing.PERIOD_S)
            self.adjust()

    def adjust(self) -> None:
        """End a period: seats go to the levels that asked for them in it."""
        if self._is_stale:
            self._configure()
        for level in self._levels.values():
            level.end_period()
        self._share()

    def _share(self) -> None:
        limits = {name: level.limits for name, level in self._levels.items()}
        demands = {name: level.demand for name, level in self._levels.items()}
        adjusted = borrowing.adjust(limits, demands, self._nominal)
        self._counts.fair, self._counts.targets = adjusted.fair, adjusted.targets
        for name, level in self._levels.items():
            level.current = adjusted.seats[name]
        self._dispatch()

    async def _tell_dangling(self, registry_of: Callable[[gvr.GVR], Awaitable[Registry]]) -> None:
        registry = await registry_of(FLOW_SCHEMA.gvr)
        while True:
            name = await self._queue.get()
            try:
                await self._mark(registry, name)
            except Exception:
                log.exception("FlowSchema cannot be settled", name=name)
                self._queue.add_rate_limited(name)
            else:
                self._queue.forget(name)
            finally:
                self._queue.done(name)

    # What it shows

    def families(self) -> Iterable[Family]:
        """For `/metrics`."""
        return self._counts.families(self._groups.values(), self._levels.values())

    def paths(self) -> dict[str, Connector]:
        """`/debug/api_priority_and_fairness/…`"""

        def totals(level: Level) -> tuple[int, int]:
            groups = [group for group in self._groups.values() if group.level is level]
            return sum(group.dispatched for group in groups), sum(sum(group.rejected.values()) for group in groups)

        def wall(monotonic: float) -> float:
            return self._clock.now() - self._clock.monotonic() + monotonic

        return Dump(lambda: tuple(self._levels.values()), totals, wall).paths()

    # Configuration

    def _schema_changed(self, old: Object | None, new: Object | None) -> None:
        name = (new or old or {})["metadata"]["name"]
        if new is None:
            self._schemas.pop(name, None)
        else:
            self._schemas[name] = new
            self._queue.add(name)
        if old is None or new is None or old["spec"] != new["spec"] or old["metadata"]["uid"] != new["metadata"]["uid"]:
            self._is_stale = True

    def _level_changed(self, old: Object | None, new: Object | None) -> None:
        name = (new or old or {})["metadata"]["name"]
        if new is None:
            self._configurations.pop(name, None)
        else:
            self._configurations[name] = new
        if old is None or new is None:
            for schema in self._schemas.values():
                if _level_name(schema) == name:
                    self._queue.add(schema["metadata"]["name"])
        self._is_stale = True

    def _configure(self) -> None:
        """Take over the objects as they are now. A level that is no more stays until its last request is done."""
        self._is_stale = False
        self._known.clear()
        configurations = {level["metadata"]["name"]: level for level in mandatory(defaults.priority_levels())}
        configurations |= self._configurations
        schemas = {schema["metadata"]["name"]: schema for schema in mandatory(defaults.flow_schemas())}
        schemas |= self._schemas
        all_shares = sum(shares(each["spec"]) for each in configurations.values())
        quiescing = {
            name: level for name, level in self._levels.items() if name not in configurations and not level.is_idle
        }
        levels = {name: self._levels.get(name) or Level(name, self._clock.monotonic) for name in configurations}
        for name, level in levels.items():
            level.configure(configurations[name]["spec"], self._total, all_shares)
            level.is_quiescing = False
        for level in quiescing.values():
            level.is_quiescing = True
        self._levels = levels | quiescing
        self._nominal = sum(level.limits.nominal for level in levels.values())
        self._order = [
            (schema, self._group(schema, levels[used], configurations[used]))
            for schema in rules.ordered(schemas.values())
            if (used := _level_name(schema)) in levels
        ]
        self._groups = {
            key: group
            for key, group in self._groups.items()
            if group.level.name in self._levels or group.executing or group.inqueue
        }
        self._share()

    def _group(self, schema: Mapping[str, Any], level: Level, configuration: Mapping[str, Any]) -> Group:
        key = (schema["metadata"]["name"], level.name)
        group = self._groups.get(key)
        if group is None or group.level is not level:
            group = self._groups[key] = Group(key[0], level, {})
        group.headers = _headers(schema, configuration)
        return group

    def _classify(self, key: tuple[object, ...], user: User, info: RequestInfo) -> Flow:
        schema, group = next((each for each in self._order if rules.matches(each[0], user, info)), self._order[-1])
        flow = Flow(group, rules.distinguisher(schema, user, info))
        if len(info.path) <= LONGEST:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[key] = flow
        return flow

    async def _mark(self, registry: Registry, name: str) -> None:
        schema = self._schemas.get(name)
        if schema is None:
            return
        level = _level_name(schema)
        exists = level in self._configurations or level in MANDATORY
        text = f'This FlowSchema references the PriorityLevelConfiguration object named "{level}"'
        condition = {
            "type": "Dangling",
            "status": "False" if exists else "True",
            "reason": "Found" if exists else "NotFound",
            "message": f"{text} and it exists" if exists else f"{text} but there is no such object",
        }
        present = condition_of((schema.get("status") or {}).get("conditions"), "Dangling")
        if present is not None and all(present.get(field) == value for field, value in condition.items()):
            return

        async def change(now: Object) -> Object:
            conditions = (now.get("status") or {}).get("conditions")
            return {**now, "status": {"conditions": with_condition(conditions, condition, self._clock.now())}}

        try:
            await registry.change(change, Write(_SERVER, "", name, "status"))
        except (NotFound, Conflict):
            return


class _TimedOut(Exception):
    """A request has waited too long."""


def _level_name(schema: Mapping[str, Any]) -> str:
    return str(schema["spec"]["priorityLevelConfiguration"]["name"])


def _headers(schema: Mapping[str, Any], level: Mapping[str, Any]) -> Mapping[str, str]:
    return {
        "x-kubernetes-pf-flowschema-uid": schema["metadata"].get("uid", ""),
        "x-kubernetes-pf-prioritylevel-uid": level["metadata"].get("uid", ""),
    }
