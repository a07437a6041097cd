"""Follows the CustomResourceDefinitions and serves what they define, from the moment that their names are accepted.

What is served follows the definitions' cache at once, before a write of a definition is answered; conditions are written, and the
objects of a deleted definition removed, by a worker of its own. A change of a definition's spec ends the watches of its objects, as
upstream: clients begin anew and see the objects as the new schema has them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pilothouse.api import gvr, status
from pilothouse.api.kinds.apiextensions.custom_resource_definition import CLEANUP_FINALIZER, CUSTOM_RESOURCE_DEFINITION
from pilothouse.api.meta import Object
from pilothouse.api.resource import Resource
from pilothouse.api.user import User
from pilothouse.apiserver.app import ApiServer
from pilothouse.apiserver.lifecycle import NoLifecycle, Undo
from pilothouse.apiserver.options import DeleteOptions
from pilothouse.apiserver.own_tracking import own
from pilothouse.apiserver.registry import Registry
from pilothouse.apiserver.write import Write
from pilothouse.kit.clock import Clock
from pilothouse.kit.log import get_logger
from pilothouse.kit.workqueue import WorkQueue
from pilothouse.store.base import Revision
from pilothouse.store.cached import Cached

WAIT_FOR_INSTANCES_S = 1.0
"""How long after a deletion the objects that others hold by finalizers are counted again."""
if TYPE_CHECKING:
    from pilothouse.apiserver.crd.endpoint import CustomEndpoint
    from pilothouse.apiserver.crd.kinds import CustomKind
    from pilothouse.apiserver.crd.serving import Serving
    from pilothouse.apiserver.webhooks.client import WebhookClient

_SERVER = User("system:apiserver", groups=("system:masters",))
Publish = Callable[[Sequence["CustomKind"]], None]
"""Is told all custom kinds that are served, whenever they change."""
log = get_logger("pilothouse.apiserver.crd")


@dataclass(frozen=True, slots=True)
class _Served:
    """What is served for a definition."""

    kinds: tuple[CustomKind, ...]
    stored: Resource
    since: Revision
    is_terminating: bool
    registry: Callable[[], Any]
    endpoints: tuple[CustomEndpoint, ...] = ()


class CustomResources:
    """`publish` are told of every change of what is served. `open` before the first request; `run` writes conditions."""

    def __init__(
        self,
        server: ApiServer,
        publish: Iterable[Publish],
        clock: Clock,
        *,
        webhooks: WebhookClient | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """Without `webhooks` definitions that convert by one are not served."""
        self._server = server
        self._publish = tuple(publish)
        self._clock = clock
        self._queue: WorkQueue[str] = WorkQueue(clock)
        self._served: dict[str, _Served] = {}
        self._registry: Registry | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._webhooks = webhooks
        self._rng = rng or random.Random(0)
        self._serving: Serving | None = None

    async def open(self) -> None:
        """Serve what is defined. Raises StoreUnavailable."""
        self._registry = await self._server.registry(CUSTOM_RESOURCE_DEFINITION)
        self._registry.cacher.subscribe(self._changed)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            self._tasks.create_task(self._settle_all())

    async def _settle_all(self) -> None:
        while True:
            name = await self._queue.get()
            try:
                await self._reconcile(name)
            except Exception:
                log.exception("custom resource definition cannot be settled", name=name)
                self._queue.add_rate_limited(name)
            else:
                self._queue.forget(name)
            finally:
                self._queue.done(name)

    # What is served

    def _changed(self, old: Cached | None, new: Cached | None) -> None:
        if new is None:
            assert old is not None
            self._withdraw(old.name)
            self._requeue_others(old.name)
            return
        self._queue.add(new.name)
        definition = new.object()
        if not _is_established(definition):
            self._withdraw(new.name)
            return
        served = self._served.get(new.name)
        is_terminating = "deletionTimestamp" in definition["metadata"]
        if served is None or old is None or not _same(old.object(), definition):
            self._serve(new, definition, is_terminating)
        elif served.is_terminating is not is_terminating:
            self._serve(new, definition, is_terminating, keep=served)

    def _serve(self, cached: Cached, definition: Object, is_terminating: bool, keep: _Served | None = None) -> None:
        from pilothouse.apiserver.crd.kinds import kinds_of

        name = cached.name
        since = cached.revision if keep is None else keep.since
        kinds = kinds_of(definition, cached.wire, since)
        selectable = {field: read for kind in kinds for field, read in kind.resource.selectable.items()}
        stored = replace(kinds[0].resource, selectable=selectable)
        lifecycle = Terminating(stored) if is_terminating else None
        endpoints = self._endpoints(definition, kinds, stored, lifecycle)
        old = self._served.get(name)
        if old is not None:
            self._close(old)
            if keep is None:
                self._server.cachers.drop(old.stored)
        served = tuple(kind for kind in kinds if kind.is_served)
        registry = endpoints[0].registry
        self._served[name] = _Served(served, stored, since, is_terminating, registry, tuple(endpoints))
        self._server.serve(endpoint for endpoint in endpoints if endpoint.kind.is_served)
        self._tell()

    def _endpoints(
        self, definition: Object, kinds: Sequence[CustomKind], stored: Resource, lifecycle: Terminating | None
    ) -> list[CustomEndpoint]:
        if self._serving is None:
            from pilothouse.apiserver.crd.serving import Serving

            self._serving = Serving(self._server, self._clock, self._rng, self._webhooks, self._spawn)
        return self._serving.endpoints(definition, kinds, stored, lifecycle)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        assert self._tasks is not None, "what converts changes needs `run`"
        self._tasks.create_task(work)

    def _close(self, served: _Served) -> None:
        """Serve a definition's kinds no more, and end the watches at versions that have a view of their own."""
        self._server.withdraw(kind.resource.gvr for kind in served.kinds)
        for endpoint in served.endpoints:
            endpoint.close_view()

    def _withdraw(self, name: str) -> None:
        served = self._served.pop(name, None)
        if served is not None:
            self._close(served)
            self._server.cachers.drop(served.stored)
            self._tell()

    def _tell(self) -> None:
        kinds = [kind for name in sorted(self._served) for kind in self._served[name].kinds]
        for publish in self._publish:
            publish(kinds)

    # What is written

    async def _reconcile(self, name: str) -> None:
        from pilothouse.apiserver.crd.naming import settled

        definition = self._definition(name)
        if definition is None:
            return
        if "deletionTimestamp" in definition["metadata"]:
            await self._remove(name, definition)
            return
        others = self._others(name, definition["spec"]["group"])
        now = self._clock.now()
        after = settled(definition, others, now)
        if after["status"] == definition["status"]:
            return

        async def settle(present: Object) -> Object:
            return settled(present, others, now)

        if await self._write(name, settle):
            released = definition["status"].get("acceptedNames") != after["status"]["acceptedNames"]
            if released:
                self._requeue_others(name)

    async def _remove(self, name: str, definition: Object) -> None:
        from pilothouse.apiserver.crd.naming import is_true, set_condition

        if CLEANUP_FINALIZER not in (definition["metadata"].get("finalizers") or ()):
            return
        moment = _now(self._clock)

        async def begin(present: Object) -> Object:
            reason, message = "InstanceDeletionInProgress", "CustomResource deletion is in progress"
            set_condition(present, "Terminating", "True", reason, message, moment)
            return present

        if not await self._write(name, begin):
            return
        outcome = ("NeverEstablished", "resource was never established")
        if is_true(definition, "Established"):
            try:
                remaining = await self._delete_instances(name)
            except status.StatusError as error:
                await self._tell_of_failure(name, error)
                raise
            if remaining:
                self._queue.add_after(name, WAIT_FOR_INSTANCES_S)
                return
            outcome = ("InstanceDeletionCompleted", "removed all instances")

        async def end(present: Object) -> Object:
            set_condition(present, "Terminating", "False", *outcome, moment)
            metadata = present["metadata"]
            metadata["finalizers"] = [each for each in metadata.get("finalizers") or () if each != CLEANUP_FINALIZER]
            if not metadata["finalizers"]:
                del metadata["finalizers"]
            return present

        await self._write(name, end)

    async def _tell_of_failure(self, name: str, error: status.StatusError) -> None:
        from pilothouse.apiserver.crd.naming import set_condition

        message = f"could not list instances: {error.message}"
        moment = _now(self._clock)

        async def failed(present: Object) -> Object:
            set_condition(present, "Terminating", "True", "InstanceDeletionFailed", message, moment)
            return present

        await self._write(name, failed)

    async def _delete_instances(self, name: str) -> int:
        """Delete the objects of a definition; how many there still are."""
        served = self._served.get(name)
        if served is None:
            return 0
        registry: Registry = await served.registry()
        for cached in registry.cacher.list().items:
            try:
                await registry.delete(Write(_SERVER, cached.namespace, cached.name), DeleteOptions())
            except status.NotFound:
                continue
        return len(registry.cacher)

    async def _write(self, name: str, change: Any) -> bool:
        """Change the status of a definition, which is the server's own from then on; False if it is gone."""
        assert self._registry is not None
        try:
            await self._registry.change(
                change, Write(_SERVER, name=name, track=own(gvr.CUSTOM_RESOURCE_DEFINITIONS, subresource="status"))
            )
        except status.NotFound:
            return False
        return True

    # Definitions

    def _definition(self, name: str) -> Object | None:
        assert self._registry is not None
        cached = self._registry.cacher.get("", name)
        return None if cached is None else cached.object()

    def _others(self, name: str, group: str) -> list[Object]:
        """The other definitions of a group."""
        assert self._registry is not None
        mine = (each for each in self._registry.cacher.list().items if each.name != name)
        return [each.object() for each in mine if each.name.partition(".")[2] == group]

    def _requeue_others(self, name: str) -> None:
        """Names may have become free."""
        assert self._registry is not None
        group = name.partition(".")[2]
        for cached in self._registry.cacher.list().items:
            if cached.name != name and cached.name.partition(".")[2] == group:
                self._queue.add(cached.name)


class Terminating(NoLifecycle):
    """The objects of a definition that is being deleted become fewer only."""

    def __init__(self, resource: Resource) -> None:
        self._resource = resource

    async def creating(self, draft: Object, *, dry_run: bool) -> Undo | None:
        kind: gvr.GVR = self._resource.gvr
        why = "create not allowed while custom resource definition is terminating"
        raise status.forbidden(kind.plural, kind.group, draft["metadata"].get("name", ""), why)


def _is_established(definition: Mapping[str, Any]) -> bool:
    conditions = (definition.get("status") or {}).get("conditions") or ()
    return any(each.get("type") == "Established" and each.get("status") == "True" for each in conditions)


def _same(old: Object, new: Object) -> bool:
    """Whether two states of a definition define the same."""
    return bool(
        old["metadata"].get("uid") == new["metadata"].get("uid")
        and old["spec"] == new["spec"]
        and (old.get("status") or {}).get("acceptedNames") == (new.get("status") or {}).get("acceptedNames")
    )


def _now(clock: Clock) -> str:
    from pilothouse.api.meta import format_time

    return format_time(clock.now())
