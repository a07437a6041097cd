"""Follows the APIServices: requests for those with a Service are passed on, and the others are kept as they should be.

Where a request goes follows the cache of APIServices at once; conditions are written, and servers asked for what they serve, by workers.
A server that does not answer is asked again sooner and then less often; one that does, every half minute and whenever its Service or
its endpoints change. Source: kube-aggregator `pkg/apiserver`, `pkg/controllers`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from pilothouse.api import gvr
from pilothouse.api.kinds.apiregistration.api_service import API_SERVICE
from pilothouse.api.meta import Object, condition_of, with_condition
from pilothouse.api.status import AlreadyExists, Conflict, NotFound
from pilothouse.api.user import User
from pilothouse.api.views.endpoint_slice import SERVICE_NAME_LABEL
from pilothouse.apiserver.aggregation import availability
from pilothouse.apiserver.aggregation.backend import Backend, Credentials
from pilothouse.apiserver.aggregation.description import Described, Description, describe
from pilothouse.apiserver.aggregation.discovered import RemoteVersion
from pilothouse.apiserver.aggregation.local import ALWAYS, AT_START, local_service, managed_as, name_of
from pilothouse.apiserver.app import ApiServer
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.objects import CachedObjects
from pilothouse.apiserver.options import DeleteOptions
from pilothouse.apiserver.own_tracking import own
from pilothouse.apiserver.registry import Registry
from pilothouse.apiserver.seams import Connector
from pilothouse.apiserver.write import Write
from pilothouse.kit.backoff import BackoffPolicy
from pilothouse.kit.clock import Clock
from pilothouse.kit.http.message import Response
from pilothouse.kit.log import get_logger
from pilothouse.kit.workqueue import WorkQueue

if TYPE_CHECKING:
    from pilothouse.apiserver.crd.kinds import CustomKind

WORKERS = 5
RESYNC_S = 30.0
_POLICY = BackoffPolicy(base_s=0.005, max_s=RESYNC_S)
_SERVER = User("system:apiserver", groups=("system:masters",))
Publish = Callable[[Sequence[RemoteVersion]], None]
"""Is told all group versions that other servers serve, whenever they change."""
Describe = Callable[[Sequence[Described]], None]
"""Is told how other servers describe what they serve, whenever that changes; in the order in which they come first."""
log = get_logger("pilothouse.apiserver.aggregation")


class Aggregator:
    """`open` before the first request; `run` keeps the APIServices and their conditions."""

    def __init__(
        self,
        server: ApiServer,
        objects: CachedObjects,
        publish: Publish,
        clock: Clock,
        rng: random.Random,
        *,
        credentials: Credentials | None = None,
        describe: Describe | None = None,
    ) -> None:
        self._server = server
        self._objects = objects
        self._publish = publish
        self._clock = clock
        self._rng = rng
        self._credentials = credentials
        self._describe = describe
        self._descriptions: dict[str, Description] = {}
        self._queue: WorkQueue[str] = WorkQueue(clock, policy=_POLICY)
        self._backends: dict[str, Backend] = {}
        self._versions: dict[str, RemoteVersion] = {}
        self._local = {
            name_of(kind.group, kind.version): (kind.group, kind.version, AT_START)
            for resource in server.resources
            for kind in resource.served
        }
        self._custom: dict[str, tuple[str, str, str]] = {}
        self._was_seen: set[str] = set()
        self._follows_services = False
        self._registry: Registry | None = None

    async def open(self) -> None:
        """Route by the APIServices that there are. Raises StoreUnavailable."""
        self._registry = await self._server.registry(API_SERVICE)
        await self._objects.prepare((gvr.API_SERVICES,))
        self._objects.subscribe(gvr.API_SERVICES, self._changed)
        for name in self._local:
            self._queue.add(name)

    def serve_custom(self, kinds: Sequence[CustomKind]) -> None:
        """Keep an APIService for each group version of `kinds`, and for no other custom ones."""
        versions = {(kind.resource.gvr.group, kind.resource.gvr.version) for kind in kinds}
        custom = {name_of(*version): (*version, ALWAYS) for version in versions}
        for name in custom.keys() ^ self._custom.keys():
            self._queue.add(name)
        self._custom = custom

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(WORKERS):
                tasks.create_task(self._work())

    # Routing

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            name = old["metadata"]["name"]
            self._withdraw(name)
        else:
            name = new["metadata"]["name"]
            self._route(name, new)
        if old is None or new is None or old["spec"] != new["spec"] or old["metadata"] != new["metadata"]:
            self._queue.add(name)

    def _route(self, name: str, service: Object) -> None:
        if not service["spec"].get("service"):
            self._withdraw(name)
            return
        known = self._backends.get(name)
        backend = Backend(service, self._credentials)
        if known is not None and known.service["spec"] == service["spec"]:
            # What was loaded for TLS is still good.
            backend.__dict__.update({key: value for key, value in known.__dict__.items() if key == "tls"})
        self._backends[name] = backend
        self._server.delegates[backend.path] = _forwarder(backend, self._objects, self._rng)
        spec, before = service["spec"], self._versions.get(name)
        self._tell(
            name,
            RemoteVersion(
                backend.group,
                backend.version,
                before.resources if before is not None else (),
                before.is_current if before is not None else False,
                backend.is_available,
                int(spec["groupPriorityMinimum"]),
                int(spec["versionPriority"]),
            ),
        )

    def _withdraw(self, name: str) -> None:
        backend = self._backends.pop(name, None)
        if backend is not None:
            self._server.delegates.pop(backend.path, None)
            del self._versions[name]
            self._publish(tuple(self._versions.values()))
            if self._descriptions.pop(name, None) is not None:
                self._tell_descriptions()

    def _tell(self, name: str, version: RemoteVersion) -> None:
        if self._versions.get(name) != version:
            self._versions[name] = version
            self._publish(tuple(self._versions.values()))

    # Upkeep

    async def _work(self) -> None:
        while True:
            name = await self._queue.get()
            try:
                is_settled = await self._reconcile(name)
            except Exception:
                log.exception("APIService cannot be settled", name=name)
                is_settled = False
            finally:
                self._queue.done(name)
            if is_settled:
                self._queue.forget(name)
            else:
                self._queue.add_rate_limited(name)

    async def _reconcile(self, name: str) -> bool:
        """Whether it is as it should be; otherwise it is to be looked at again soon."""
        await self._keep(name)
        service = await self._objects.get(gvr.API_SERVICES, "", name)
        if service is None:
            return True
        backend = self._backends.get(name)
        if backend is None:
            await self._write(name, availability.LOCAL)
            return True
        await self._follow_services()
        finding = await availability.check(backend, self._objects)
        if self._backends.get(name) is not backend:
            self._queue.add(name)
            return True
        known = self._versions[name]
        resources = known.resources if finding.resources is None else finding.resources.get("resources") or ()
        is_available = finding.condition["status"] == "True"
        self._tell(
            name,
            RemoteVersion(
                known.group,
                known.version,
                resources,
                finding.resources is not None,
                is_available,
                known.group_priority,
                known.version_priority,
            ),
        )
        await self._write(name, finding.condition)
        if is_available:
            await self._look_into(name, backend)
        self._queue.add_after(name, RESYNC_S)
        return not finding.has_failed

    async def _look_into(self, name: str, backend: Backend) -> None:
        """Ask a server how it describes what it serves, where somebody wants to know."""
        if self._describe is None:
            return
        before = self._descriptions.get(name)
        found = await describe(backend, self._objects, before)
        if self._backends.get(name) is backend and found != before:
            self._descriptions[name] = found
            self._tell_descriptions()

    def _tell_descriptions(self) -> None:
        assert self._describe is not None
        order = sorted(
            (name for name in self._descriptions if name in self._backends),
            key=lambda name: (-self._versions[name].group_priority, -self._versions[name].version_priority, name),
        )
        self._describe([Described(self._descriptions[name], self._backends[name], self._objects) for name in order])

    async def _keep(self, name: str) -> None:
        """Make, mend or remove the APIService of a group version that this server serves itself."""
        assert self._registry is not None
        wanted = self._local.get(name) or self._custom.get(name)
        present = self._registry.cacher.get("", name)
        obj = present.object() if present is not None else None
        write = Write(_SERVER, "", name, track=own(gvr.API_SERVICES))
        try:
            if wanted is None:
                if obj is not None and managed_as(obj) == ALWAYS:
                    await self._registry.delete(write, DeleteOptions())
                return
            expected = local_service(wanted[0], wanted[1], managed=wanted[2])
            is_first = name not in self._was_seen
            self._was_seen.add(name)
            if obj is None:
                await self._registry.create(expected, write)
            elif _differs(obj, expected) and (managed_as(obj) == ALWAYS or (is_first and managed_as(obj) == AT_START)):

                async def change(now: Object) -> Object:
                    return {**now, "spec": expected["spec"]}

                await self._registry.change(change, write)
        except (AlreadyExists, NotFound, Conflict):
            self._queue.add(name)

    async def _write(self, name: str, condition: Mapping[str, str]) -> None:
        assert self._registry is not None
        present = await self._objects.get(gvr.API_SERVICES, "", name)
        if present is None or _says((present.get("status") or {}).get("conditions"), condition):
            return

        async def change(now: Object) -> Object:
            conditions = (now.get("status") or {}).get("conditions")
            return {**now, "status": {"conditions": with_condition(conditions, condition, self._clock.now())}}

        try:
            track = own(gvr.API_SERVICES, subresource="status")
            await self._registry.change(change, Write(_SERVER, "", name, "status", track=track))
        except (NotFound, Conflict):
            return

    async def _follow_services(self) -> None:
        """Hear of Services and endpoints from the first APIService on that has one; a cluster without pays nothing."""
        if self._follows_services:
            return
        self._follows_services = True
        await self._objects.prepare((gvr.SERVICES, gvr.ENDPOINT_SLICES))
        self._objects.subscribe(gvr.SERVICES, self._service_changed)
        self._objects.subscribe(gvr.ENDPOINT_SLICES, self._slice_changed)

    def _service_changed(self, old: Object | None, new: Object | None) -> None:
        self._look_at(old, new, lambda obj: str(obj["metadata"]["name"]))

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        self._look_at(old, new, lambda obj: str((obj["metadata"].get("labels") or {}).get(SERVICE_NAME_LABEL, "")))

    def _look_at(self, old: Object | None, new: Object | None, service_of: Callable[[Object], str]) -> None:
        changed = {(obj["metadata"]["namespace"], service_of(obj)) for obj in (old, new) if obj is not None}
        for name, backend in self._backends.items():
            if (backend.reference["namespace"], backend.reference["name"]) in changed:
                self._queue.add(name)


def _forwarder(backend: Backend, objects: CachedObjects, rng: random.Random) -> Connector:
    async def forward(call: Call) -> Response:
        return await backend.forward(call, objects, rng)

    return forward


def _differs(present: Object, expected: Object) -> bool:
    spec = present["spec"]
    return any(spec.get(key) != value for key, value in expected["spec"].items()) or bool(spec.get("service"))


def _says(conditions: Iterable[Mapping[str, object]] | None, condition: Mapping[str, str]) -> bool:
    present = condition_of(list(conditions or ()), condition["type"])
    return present is not None and all(present.get(key) == value for key, value in condition.items())
