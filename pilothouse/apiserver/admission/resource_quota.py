"""ResourceQuota: what is created in a namespace stays within the namespace's quotas.

What is used is counted up in the quotas' status before the write, by compare-and-swap: servers that admit at the same time never let
more in than there is room for. Writes that wait for one namespace are counted together, in one update. A write that fails afterwards
stays counted until the quota controller counts anew. Source: apiserver `pkg/admission/plugin/resourcequota`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pilothouse.api import gvr as kinds
from pilothouse.api import status
from pilothouse.api.meta import Object, name_of
from pilothouse.api.quantity import Quantity
from pilothouse.api.quota.amounts import Amounts, add, grown, masked, read, shown, without_zeros, written
from pilothouse.api.quota.evaluators import IGNORED, Evaluator, evaluator_of
from pilothouse.apiserver.admission.plugin import Plugin, forbidden
from pilothouse.apiserver.attributes import Attributes
from pilothouse.apiserver.objects import Objects
from pilothouse.kit.clock import Clock

ATTEMPTS = 4

WriteStatus = Callable[[Object], Awaitable[None]]
"""Stores the status of a ResourceQuota that still has the same resourceVersion. Raises Conflict, NotFound."""


@dataclass(slots=True)
class Room:
    """A quota while writes are decided: what it bounds, and what will be used."""

    quota: Object
    hard: Amounts
    used: Mapping[str, Quantity]

    @classmethod
    def of(cls, quota: Object) -> Room:
        state = quota.get("status") or {}
        return cls(quota, read(state.get("hard")), read(state.get("used")))


def charge(rooms: Sequence[Room], attributes: Attributes, evaluator: Evaluator, now: float) -> dict[int, Amounts]:
    """What a write takes, by the index of the quota. Raises Forbidden where there is no room."""
    obj = attributes.obj
    assert obj is not None
    bearing = []
    for index, room in enumerate(rooms):
        if not evaluator.matches(room.quota, room.hard, obj):
            continue
        restricted = evaluator.matching(room.hard)
        name = name_of(room.quota)
        if missing := evaluator.missing(obj, restricted):
            raise forbidden(attributes, f"failed quota: {name}: {missing}")
        if not restricted <= room.used.keys():
            names = ",".join(sorted(restricted))
            raise forbidden(attributes, f"status unknown for quota: {name}, resources: {names}")
        bearing.append(index)
    if not bearing:
        return {}
    usage = evaluator.usage(obj, now)
    if negative := sorted(name for name, amount in usage.items() if amount.nano < 0):
        raise forbidden(attributes, f"quota usage is negative for resource(s): {','.join(negative)}")
    return {index: more for index in bearing if (more := _more(rooms[index], attributes, evaluator, usage, now))}


def _more(room: Room, attributes: Attributes, evaluator: Evaluator, usage: Amounts, now: float) -> dict[str, Quantity]:
    delta: Amounts = usage
    old = attributes.old
    if old is not None and evaluator.matches(room.quota, room.hard, old):
        delta = grown(usage, evaluator.usage(old, now))
    requested = masked(without_zeros(delta), room.hard)
    if attributes.subresource != "status":
        after = add(masked(room.used, requested), requested)
        if exceeded := [name for name, amount in after.items() if amount > room.hard[name]]:
            raise forbidden(
                attributes,
                f"exceeded quota: {name_of(room.quota)}, requested: {shown(masked(requested, exceeded))}, "
                f"used: {shown(masked(room.used, exceeded))}, limited: {shown(masked(room.hard, exceeded))}",
            )
    return requested


@dataclass(slots=True, eq=False)
class _Waiter:
    attributes: Attributes
    evaluator: Evaluator
    is_done: bool = False
    error: status.StatusError | None = None


@dataclass(slots=True)
class _Queue:
    """The writes that wait for one namespace; whoever holds the lock decides for all of them."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiters: list[_Waiter] = field(default_factory=list)


class ResourceQuota(Plugin):
    name = "ResourceQuota"
    subresources = frozenset({"", "resize", "status"})

    def __init__(self, objects: Objects, write_status: WriteStatus, clock: Clock) -> None:
        self._objects = objects
        self._write_status = write_status
        self._clock = clock
        self._evaluators: dict[str, Evaluator] = {}
        self._queues: dict[str, _Queue] = {}

    async def validate(self, attributes: Attributes) -> None:
        resource = attributes.resource.gvr.group_resource
        if not attributes.namespace or attributes.obj is None or resource in IGNORED or resource == "namespaces":
            return
        evaluator = self._evaluator(resource)
        if evaluator is None or not evaluator.handles(
            attributes.operation, attributes.subresource, attributes.obj, attributes.old
        ):
            return
        if await self._objects.list(kinds.RESOURCE_QUOTAS, attributes.namespace):
            await self._decide(_Waiter(attributes, evaluator))

    def _evaluator(self, resource: str) -> Evaluator | None:
        if resource not in self._evaluators:
            evaluator = evaluator_of(resource)
            if evaluator is None:
                return None
            self._evaluators[resource] = evaluator
        return self._evaluators[resource]

    async def _decide(self, waiter: _Waiter) -> None:
        namespace = waiter.attributes.namespace
        queue = self._queues.setdefault(namespace, _Queue())
        queue.waiters.append(waiter)
        try:
            async with queue.lock:
                if not waiter.is_done:
                    batch = list(queue.waiters)
                    await self._check(namespace, batch)
                    queue.waiters = [each for each in queue.waiters if not each.is_done]
        finally:
            if waiter in queue.waiters:
                queue.waiters.remove(waiter)
            if not queue.waiters and not queue.lock.locked():
                self._queues.pop(namespace, None)
        if waiter.error is not None:
            raise waiter.error

    async def _check(self, namespace: str, batch: Sequence[_Waiter]) -> None:
        """Decide for all of a batch, and store what they use."""
        wanted: set[str] | None = None
        open_: Sequence[_Waiter] = batch
        error: status.StatusError | None = None
        for _ in range(ATTEMPTS):
            quotas = await self._objects.list(kinds.RESOURCE_QUOTAS, namespace)
            rooms = [Room.of(quota) for quota in quotas if wanted is None or name_of(quota) in wanted]
            open_ = self._charge(rooms, open_)
            wanted, error = await self._store(rooms)
            if not wanted:
                error = None
                break
        for waiter in open_:
            waiter.error, waiter.is_done = error, True

    def _charge(self, rooms: list[Room], waiters: Sequence[_Waiter]) -> list[_Waiter]:
        """Those who fit in. The others have their error, and their end."""
        fitting = []
        now = self._clock.now()
        for waiter in waiters:
            try:
                taken = charge(rooms, waiter.attributes, waiter.evaluator, now)
            except status.StatusError as error:
                waiter.error, waiter.is_done = error, True
                continue
            if not waiter.attributes.is_dry_run:
                for index, more in taken.items():
                    rooms[index].used = add(rooms[index].used, more)
            fitting.append(waiter)
        return fitting

    async def _store(self, rooms: Sequence[Room]) -> tuple[set[str], status.StatusError | None]:
        """Write what changed. The names of quotas that somebody else wrote in between, and the last error."""
        failed: set[str] = set()
        last: status.StatusError | None = None
        for room in rooms:
            state = room.quota.get("status") or {}
            if room.used == read(state.get("used")):
                continue
            changed = {**room.quota, "status": {**state, "used": written(room.used)}}
            try:
                await self._write_status(changed)
            except (status.Conflict, status.NotFound) as error:
                failed.add(name_of(room.quota))
                last = error
        return failed, last
