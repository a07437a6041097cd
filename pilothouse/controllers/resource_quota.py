"""Counts what namespaces use of their ResourceQuotas.

Admission counts up as objects are created; this controller counts anew when a quota is made or changed, when something it counts goes
away, and now and then, for what was counted and then not created. Source: upstream `pkg/controller/resourcequota`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial

from pilothouse.api import meta
from pilothouse.api.gvr import PERSISTENT_VOLUME_CLAIMS, PODS, RESOURCE_CLAIMS, RESOURCE_QUOTAS, SERVICES
from pilothouse.api.meta import Object
from pilothouse.api.quantity import Quantity
from pilothouse.api.quota.amounts import masked, read, written
from pilothouse.api.quota.evaluators import Evaluator, evaluator_of, resource_of, used_by
from pilothouse.client.discovery import discover
from pilothouse.client.informer import Informer
from pilothouse.controllers.garbage.controller import only_ownership
from pilothouse.controllers.runtime import Context, Controller

RESYNC_S = 300.0
_WHOLE = {gvr.group_resource: gvr for gvr in (PODS, SERVICES, PERSISTENT_VOLUME_CLAIMS, RESOURCE_CLAIMS)}


def new_status(quota: Object, counted: Mapping[str, Quantity]) -> Object | None:
    """The status of a quota whose resources are `counted`; None if it is right as it is."""
    spec, state = quota.get("spec") or {}, quota.get("status") or {}
    hard, before = read(spec.get("hard")), read(state.get("used"))
    used = masked({**before, **counted}, hard)
    if "hard" in state and "used" in state and read(state["hard"]) == hard and before == used:
        return None
    return {"hard": written(hard), "used": written(used)}


class ResourceQuotaController(Controller):
    """The control loop. A key is a quota's."""

    name = "resourcequota-controller"
    account = "resourcequota-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._quotas = context.informers.of(RESOURCE_QUOTAS)
        self._counted: dict[str, tuple[Evaluator, Informer]] = {}
        self._following = asyncio.Lock()
        self.follow(self._quotas, self._quota_changed)

    async def reconcile(self, key: str) -> float | None:
        quota = self._quotas.get(key)
        if quota is None:
            return None
        hard = read((quota.get("spec") or {}).get("hard"))
        now = self.clock.now()
        counted: dict[str, Quantity] = {}
        for resource in {resource_of(name) for name in hard} - {""}:
            found = await self._follow(resource)
            if found is None:
                continue
            evaluator, informer = found
            namespace = meta.namespace_of(quota)
            objs = [obj for obj in informer.list() if meta.namespace_of(obj) == namespace]
            counted |= used_by(quota, evaluator, hard, objs, now)
        changed = new_status(quota, counted)
        if changed is not None:
            await self.client.update_status(RESOURCE_QUOTAS, {**quota, "status": changed})
        return None

    async def _follow(self, resource: str) -> tuple[Evaluator, Informer] | None:
        """The rules and the objects of a kind that quotas count; None for a kind that is not served."""
        async with self._following:
            if resource not in self._counted:
                evaluator, informer = evaluator_of(resource), await self._informer(resource)
                if evaluator is None or informer is None:
                    return None
                await informer.synced.wait()
                informer.subscribe(partial(self._object_changed, evaluator))
                self._counted[resource] = evaluator, informer
            return self._counted[resource]

    async def _informer(self, resource: str) -> Informer | None:
        if resource in _WHOLE:
            return self.context.informers.of(_WHOLE[resource])
        for served in (await discover(self.client)).preferred():
            if served.gvr.group_resource == resource and {"create", "delete", "list", "watch"} <= served.verbs:
                shared = self.context.informers.found(served.gvr)
                return shared or self.context.informers.of(served.gvr, metadata_only=True, keep=only_ownership)
        return None

    def _quota_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None or (old is not None and old.get("spec") == new.get("spec")):
            return
        self.queue.add(meta.key_of(new))

    def _object_changed(self, evaluator: Evaluator, old: Object | None, new: Object | None) -> None:
        if old is None or (new is not None and not evaluator.needs_objects):
            return
        if new is not None and not evaluator.frees(old, new, self.clock.now()):
            return
        namespace = meta.namespace_of(old)
        for quota in self._quotas.list():
            if meta.namespace_of(quota) == namespace and evaluator.matching(
                (quota.get("spec") or {}).get("hard") or ()
            ):
                self.queue.add(meta.key_of(quota))

    def background(self) -> Iterable[Callable[[], Awaitable[object]]]:
        return (self._resync,)

    async def _resync(self) -> None:
        while True:
            await self.clock.sleep(RESYNC_S)
            for quota in self._quotas.list():
                self.queue.add(meta.key_of(quota))
