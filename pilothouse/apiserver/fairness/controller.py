"""Classifies requests and seats them: follows the FlowSchemas and PriorityLevelConfigurations.

A request that finds room costs a lookup and two additions. The schemas `exempt` and `catch-all`, and their levels, hold even while their
objects are missing. Source: KEP-1040, apiserver `pkg/util/flowcontrol/apf_controller.go`, `apf_filter.go`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from pilothouse.api import gvr
from pilothouse.api.kinds.flowcontrol.flow_schema import FLOW_SCHEMA
from pilothouse.api.meta import Object, condition_of, with_condition
from pilothouse.api.status import Conflict, NotFound, TooManyRequests
from pilothouse.api.user import User
from pilothouse.apiserver import flow as defaults
from pilothouse.apiserver.app import ApiServer
from pilothouse.apiserver.fairness import rules
from pilothouse.apiserver.fairness.level import Level, Rejected, Seat, shares
from pilothouse.apiserver.objects import CachedObjects
from pilothouse.apiserver.registry import Registry, Write
from pilothouse.apiserver.route import RequestInfo
from pilothouse.kit.clock import Clock
from pilothouse.kit.log import get_logger
from pilothouse.kit.workqueue import WorkQueue

DEFAULT_SEATS = 600
"""400 for reads and 200 for writes, as upstream's flags have it."""
WAIT_S = 15.0
"""The longest that a request waits: a quarter of what a request may take."""
RETRY_AFTER_S = 1
_MANDATORY = ("exempt", "catch-all")
_UNQUEUED = frozenset({"exec", "attach", "portforward", "log", "proxy"})
_MAX_KNOWN = 8192
_SERVER = User("system:apiserver", groups=("system:masters",))
_REJECTION = "Too many requests, please try again later."
log = get_logger("pilothouse.apiserver.fairness")


class Fairness:
    """`open` before the first request; `run` writes which schemas name a level that does not exist."""

    def __init__(self, objects: CachedObjects, clock: Clock, *, seats: int = DEFAULT_SEATS) -> None:
        self._objects = objects
        self._clock = clock
        self._total = seats
        self._schemas: dict[str, Object] = {}
        self._configurations: dict[str, Object] = {}
        self._levels: dict[str, Level] = {}
        self._order: list[tuple[Mapping[str, Any], Level, Mapping[str, str]]] = []
        self._known: dict[tuple[object, ...], tuple[Level, Mapping[str, str], str]] = {}
        self._pressed: set[Level] = set()
        self._is_stale = True
        self._queue: WorkQueue[str] = WorkQueue(clock)
        self._free = Level("", clock.monotonic, lambda level: True)
        self._free.is_exempt = True

    async def open(self) -> None:
        """Follow the configuration. Raises StoreUnavailable."""
        await self._objects.prepare((gvr.FLOW_SCHEMAS, gvr.PRIORITY_LEVEL_CONFIGURATIONS))
        self._objects.subscribe(gvr.PRIORITY_LEVEL_CONFIGURATIONS, self._level_changed)
        self._objects.subscribe(gvr.FLOW_SCHEMAS, self._schema_changed)

    def take(self, user: User, info: RequestInfo) -> Seat:
        """A seat for a request; if its `waiting` is set, `wait` for it. Every seat is given back by `done`. Raises TooManyRequests."""
        if info.subresource in _UNQUEUED:
            return self._free.take({}, "")
        if self._is_stale:
            self._configure()
        where = info.path if not info.is_resource else info.resource
        key = (user.name, user.groups, info.verb, where, info.subresource, info.api_group, info.namespace)
        found = self._known.get(key) or self._classify(key, user, info)
        try:
            seat = found[0].take(found[1], found[2])
        except Rejected as error:
            raise TooManyRequests(_REJECTION, retry_after_s=RETRY_AFTER_S) from error
        if seat.waiting is not None:
            self._pressed.add(seat.level)
        return seat

    async def wait(self, seat: Seat) -> None:
        """Until the request may begin. Raises TooManyRequests after a while."""
        waiting = seat.waiting
        assert waiting is not None

        def give_up() -> None:
            if not waiting.done():
                waiting.set_exception(_TimedOut())

        timer = self._clock.call_later(WAIT_S, give_up)
        try:
            await waiting
        except _TimedOut:
            seat.level.leave(seat)
            raise TooManyRequests(_REJECTION, retry_after_s=RETRY_AFTER_S) from None
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled() and waiting.exception() is None:
                self.done(seat)
            else:
                seat.level.leave(seat)
            raise
        finally:
            timer.cancel()

    def done(self, seat: Seat) -> None:
        """Give a seat back."""
        seat.release()
        if self._pressed:
            for level in tuple(self._pressed):
                level.dispatch()
                if not level.waiting:
                    self._pressed.discard(level)

    async def run(self, server: ApiServer) -> None:
        """Keep the condition Dangling of the FlowSchemas, until cancelled."""
        registry = await server.registry(FLOW_SCHEMA)
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
        """Take over the objects as they are now."""
        self._is_stale = False
        self._known.clear()
        configurations = {level["metadata"]["name"]: level for level in _mandatory(defaults.priority_levels())}
        configurations |= self._configurations
        schemas = {schema["metadata"]["name"]: schema for schema in _mandatory(defaults.flow_schemas())}
        schemas |= self._schemas
        all_shares = sum(shares(each["spec"]) for each in configurations.values())
        self._levels = {
            name: self._levels.get(name) or Level(name, self._clock.monotonic, self._may_borrow)
            for name in configurations
        }
        for name, level in self._levels.items():
            level.configure(configurations[name]["spec"], self._total, all_shares)
        self._order = [
            (schema, self._levels[used], _headers(schema, configurations[used]))
            for schema in rules.ordered(schemas.values())
            if (used := _level_name(schema)) in self._levels
        ]
        for level in tuple(self._pressed):
            level.dispatch()

    def _classify(self, key: tuple[object, ...], user: User, info: RequestInfo) -> tuple[Level, Mapping[str, str], str]:
        schema, level, headers = next(
            (each for each in self._order if rules.matches(each[0], user, info)), self._order[-1]
        )
        flow = f"{schema['metadata']['name']}/{rules.distinguisher(schema, user, info)}"
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        found = self._known[key] = level, headers, flow
        return found

    def _may_borrow(self, level: Level) -> bool:
        """Whether another level leaves `level` one more seat than are its own."""
        if level.executing >= level.nominal + level.borrowable:
            return False
        lent, borrowed, executing = 0, 0, 0
        for other in self._levels.values():
            if other.is_exempt:
                continue
            executing += other.executing
            borrowed += max(0, other.executing - other.nominal)
            if other is not level:
                lent += min(other.lendable, max(0, other.nominal - other.executing))
        return borrowed < lent and executing < self._total

    async def _mark(self, registry: Registry, name: str) -> None:
        schema = self._schemas.get(name)
        if schema is None:
            return
        level = _level_name(schema)
        exists = level in self._configurations or level in _MANDATORY
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


def _mandatory(objects: list[Object]) -> list[Object]:
    return [obj for obj in objects if obj["metadata"]["name"] in _MANDATORY]


def _level_name(schema: Mapping[str, Any]) -> str:
    return str(schema["spec"]["priorityLevelConfiguration"]["name"])


def _headers(schema: Mapping[str, Any], level: Mapping[str, Any]) -> Mapping[str, str]:
    return {
        "x-kubernetes-pf-flowschema-uid": schema["metadata"].get("uid", ""),
        "x-kubernetes-pf-prioritylevel-uid": level["metadata"].get("uid", ""),
    }
