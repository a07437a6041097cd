"""Follows every resource that can be deleted, and acts on what `plan` decides. A key is an object's UID."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from pilothouse.api import meta, status
from pilothouse.api.gvr import API_SERVICES, CUSTOM_RESOURCE_DEFINITIONS, GVR
from pilothouse.api.meta import Object
from pilothouse.client.client import PatchType
from pilothouse.client.discovery import Discovery, discover
from pilothouse.client.events import WARNING
from pilothouse.client.informer import Informer
from pilothouse.controllers.garbage.graph import Graph, Node, Owner
from pilothouse.controllers.garbage.plan import Actions, OwnerState, plan
from pilothouse.controllers.runtime import Context, Controller
from pilothouse.kit.log import get_logger
from pilothouse.kit.tasks import each

IGNORED = frozenset({"events", "events.events.k8s.io"})
"""Events own nothing and expire by themselves."""
ABSENT_OWNERS = 5000
AT_ONCE = 32
START_DELAY_S = 3.0
"""So many watches are opened that a cluster that starts has better things to do first."""
DISCOVERY_SETTLE_S = 0.5
DISCOVERY_RETRY_S = 5.0
DISCOVERY_PERIOD_S = 300.0

log = get_logger("pilothouse.controllers.garbage")


def only_ownership(obj: Object) -> Object:
    """What of an object's metadata the graph needs."""
    metadata = obj["metadata"]
    names = ("name", "namespace", "uid", "resourceVersion", "ownerReferences", "finalizers", "deletionTimestamp")
    return {"metadata": {name: metadata[name] for name in names if name in metadata}}


class GarbageCollector(Controller):
    """The control loop."""

    name = "garbage-collector-controller"
    account = "generic-garbage-collector"
    workers = 20

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._events = context.recorder(self.name)
        self._graph = Graph()
        self._discovery = Discovery()
        self._absent: OrderedDict[str, None] = OrderedDict()
        self._followed: dict[GVR, tuple[Informer, Callable[[], None], bool]] = {}
        self._changed = asyncio.Event()
        self._ready = asyncio.Event()
        for gvr in (CUSTOM_RESOURCE_DEFINITIONS, API_SERVICES):
            context.informers.of(gvr).subscribe(self._resources_changed)

    async def reconcile(self, key: str) -> float | None:
        await self._ready.wait()
        node = self._graph.get(key)
        if node is None:
            return None
        if node.is_virtual:
            await self._verify(node)
            return None
        if node.gvr is None:
            return None
        states = {}
        if not node.is_deleting:
            states = {owner["uid"]: await self._state(node, owner) for owner in node.owners}
        try:
            await self._act(node, node.gvr, plan(self._graph, node, states))
        except status.NotFound:
            log.debug("already gone", resource=node.gvr.group_resource, name=node.name)
        return None

    async def _act(self, node: Node, gvr: GVR, actions: Actions) -> None:
        for uid in actions.look_at:
            self.queue.add(uid)
        if actions.orphan:
            for dependent, result in await each(actions.orphan, partial(self._orphan, node), limit=AT_ONCE):
                if isinstance(result, Exception) and not isinstance(result, status.NotFound):
                    self.queue.add(dependent.uid)
                    raise result
        if actions.finalizers is not None:
            await self._patch(node, gvr, {"finalizers": list(actions.finalizers)})
        if actions.owners is not None:
            await self._patch(node, gvr, {"ownerReferences": [dict(owner) for owner in actions.owners]})
        if actions.delete is not None:
            log.debug("deleting", resource=gvr.group_resource, namespace=node.namespace, name=node.name)
            await self.client.delete(
                gvr,
                node.namespace,
                node.name,
                propagation=actions.delete,
                uid=node.uid,
                resource_version=node.resource_version,
            )

    async def _orphan(self, owner: Node, dependent: Node) -> None:
        if dependent.gvr is not None:
            left = [dict(reference) for reference in dependent.owners if reference["uid"] != owner.uid]
            if len(left) != len(dependent.owners):
                await self._patch(dependent, dependent.gvr, {"ownerReferences": left})

    async def _patch(self, node: Node, gvr: GVR, metadata: Object) -> None:
        """Change metadata, unless the object is no longer the one that was decided about: then Conflict is raised."""
        patch = {"metadata": {"uid": node.uid, "resourceVersion": node.resource_version, **metadata}}
        await self.client.patch(gvr, node.namespace, node.name, patch, type=PatchType.MERGE)

    # Owners

    async def _state(self, node: Node, owner: Owner) -> OwnerState:
        uid = owner["uid"]
        if uid in self._absent:
            return OwnerState.ABSENT
        known = self._graph.get(uid)
        if known is not None and not known.is_virtual and known.is_meant_by(owner):
            if not known.namespace or known.namespace == node.namespace:
                return OwnerState.WAITING if known.waits_for_dependents else OwnerState.SOLID
            self._tell_invalid(node, owner)
        gvr = self._discovery.by_kind(owner["apiVersion"], owner["kind"])
        if gvr is None:
            raise status.ServiceUnavailable(f"no resource is known for {owner['apiVersion']} {owner['kind']}")
        if gvr.namespaced and not node.namespace:
            self._tell_invalid(node, owner)
            return OwnerState.INVALID
        found = await self._find(gvr, node.namespace, owner["name"])
        if found is None or meta.uid_of(found) != uid:
            self._remember_absent(uid)
            return OwnerState.ABSENT
        waits = meta.is_deleting(found) and "foregroundDeletion" in (found["metadata"].get("finalizers") or ())
        return OwnerState.WAITING if waits else OwnerState.SOLID

    async def _verify(self, node: Node) -> None:
        """Find out whether what others name as their owner exists; if it does not, they are looked at."""
        gvr = node.gvr or self._discovery.by_kind(node.api_version, node.kind)
        if gvr is None:
            return
        found = await self._find(gvr, node.namespace, node.name)
        if found is None or meta.uid_of(found) != node.uid:
            self._remember_absent(node.uid)
            for uid in node.dependents:
                self.queue.add(uid)

    async def _find(self, gvr: GVR, namespace: str, name: str) -> Object | None:
        try:
            return await self.client.get(gvr, namespace if gvr.namespaced else "", name, metadata_only=True)
        except status.NotFound:
            return None

    def _remember_absent(self, uid: str) -> None:
        self._absent[uid] = None
        if len(self._absent) > ABSENT_OWNERS:
            self._absent.popitem(last=False)

    def _tell_invalid(self, node: Node, owner: Owner) -> None:
        reference = {"kind": node.kind, "apiVersion": node.api_version, "name": node.name, "uid": node.uid}
        if node.namespace:
            reference["namespace"] = node.namespace
        where = f'namespace "{node.namespace}"' if node.namespace else "cluster scope"
        message = (
            f"ownerRef [{owner['apiVersion']}/{owner['kind']}, namespace: {node.namespace}, name: {owner['name']}, "
            f"uid: {owner['uid']}] does not exist in {where}"
        )
        self._events.about(reference, WARNING, "OwnerRefInvalidNamespace", message)

    # Following

    def background(self) -> Iterable[Callable[[], Awaitable[object]]]:
        return (self._follow_resources,)

    async def _follow_resources(self) -> None:
        """Keep a watch on every resource that can be deleted, as resources come and go."""
        await self.clock.sleep(START_DELAY_S)
        while True:
            self._changed.clear()
            wait_s = DISCOVERY_PERIOD_S
            try:
                self._discovery = await discover(self.client)
                self._follow_all()
                for informer, _, _ in list(self._followed.values()):
                    if not self._ready.is_set():
                        await informer.synced.wait()
                self._ready.set()
            except status.StatusError as error:
                log.warning("cannot find out what is served", reason=error.message)
                wait_s = DISCOVERY_RETRY_S
            timer = self.clock.call_later(wait_s, self._changed.set)
            await self._changed.wait()
            timer.cancel()
            await self.clock.sleep(DISCOVERY_SETTLE_S)

    def _follow_all(self) -> None:
        wanted = {
            served.gvr
            for served in self._discovery.preferred()
            if {"delete", "list", "watch"} <= served.verbs and served.gvr.group_resource not in IGNORED
        }
        for gvr in wanted - self._followed.keys():
            shared = self.context.informers.found(gvr)
            informer = shared or self.context.informers.of(gvr, metadata_only=True, keep=only_ownership)
            unsubscribe = informer.subscribe(partial(self._object_changed, gvr))
            self._followed[gvr] = (informer, unsubscribe, shared is None)
        failed = set(self._discovery.failures)
        for gvr in self._followed.keys() - wanted:
            if gvr.api_version in failed:
                continue
            informer, unsubscribe, is_own = self._followed.pop(gvr)
            unsubscribe()
            if is_own:
                self.context.informers.drop(informer)
                for obj in informer.list():
                    self._graph.forget(meta.uid_of(obj))

    def _object_changed(self, gvr: GVR, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._absent.pop(meta.uid_of(new), None)
            affected = self._graph.observe(gvr, new)
        else:
            gone = meta.uid_of(old) if old is not None else ""
            self._remember_absent(gone)
            affected = self._graph.forget(gone)
        for uid in affected:
            self.queue.add(uid)

    def _resources_changed(self, old: Object | None, new: Object | None) -> None:
        if old is None or new is None or old["metadata"].get("generation") != new["metadata"].get("generation"):
            self._changed.set()
