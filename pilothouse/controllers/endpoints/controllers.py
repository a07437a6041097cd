"""The control loops of EndpointSlices, of Endpoints, and of slices that mirror Endpoints."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any

from pilothouse.api import meta, status
from pilothouse.api.gvr import ENDPOINT_SLICES, ENDPOINTS, NODES, PODS, SERVICES
from pilothouse.api.meta import Object
from pilothouse.api.views.endpoint_slice import MANAGED_BY_LABEL, SERVICE_NAME_LABEL, EndpointSliceView
from pilothouse.api.views.pod import PodView
from pilothouse.client.events import WARNING
from pilothouse.controllers import pods as pod_rules
from pilothouse.controllers.endpoints import members, mirror, slices, subsets
from pilothouse.controllers.endpoints.packing import Actions
from pilothouse.controllers.expectations import Written
from pilothouse.controllers.runtime import Context, Controller

BY_NAMESPACE = "namespace"
BY_SERVICE = "service"
STALE_CACHE_S = 0.02
MISSING_NODE_S = 5.0
PODS_PER_SECOND_OF_DELAY = 10_000
MIN_DELAY_S = 0.005
MAX_DELAY_S = 0.25


class ServiceController(Controller):
    """What all have in common: a key is a Service's, and what was written must be seen before more is."""

    component = ""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.events = context.recorder(self.component)
        self.written = Written()
        self.services = context.informers.of(SERVICES, indexers={BY_NAMESPACE: _namespace})
        self.follow(self.services, self.enqueue)

    async def write(self, key: str, writing: Awaitable[Object]) -> None:
        """Await a write for `key`; one into a namespace that is going is let go of."""
        try:
            self.written.note(key, await writing)
        except status.NotFound:
            # Deleted by another: the watch brings the key back.
            return
        except status.StatusError as error:
            if not pod_rules.is_namespace_terminating(error):
                raise

    async def write_slices(self, key: str, actions: Actions) -> None:
        for one in actions.create:
            await self.write(key, self.client.create(ENDPOINT_SLICES, one))
        for one in actions.update:
            await self.write(key, self.client.update(ENDPOINT_SLICES, one))
        for one in actions.delete:
            try:
                await self.client.delete(ENDPOINT_SLICES, meta.namespace_of(one), meta.name_of(one))
            except status.NotFound:
                continue


class SelectingController(ServiceController):
    """Turns changes of pods into the keys of the Services that select them."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.pods = context.informers.of(PODS, indexers={BY_NAMESPACE: _namespace})
        self.follow(self.pods, self._pod_changed)

    def selected(self, service: Mapping[str, Any]) -> list[Object]:
        namespace = meta.namespace_of(service)
        return [pod for pod in self.pods.by_index(BY_NAMESPACE, namespace) if members.selects(service, pod)]

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        if old is not None and new is not None and members.traits(old) == members.traits(new):
            return
        pod = new if new is not None else old
        if pod is None:
            return
        namespace = meta.namespace_of(pod)
        # With many pods one change follows another: they are taken together, or the work would grow with the square.
        delay_s = min(len(self.pods) / PODS_PER_SECOND_OF_DELAY, MAX_DELAY_S)
        for service in self.services.by_index(BY_NAMESPACE, namespace):
            if any(one is not None and members.selects(service, one) for one in (old, new)):
                self.queue.add_after(meta.key_of(service), delay_s if delay_s >= MIN_DELAY_S else 0)


class EndpointSliceController(SelectingController):
    """The control loop of EndpointSlices."""

    name = "endpointslice-controller"
    account = "endpointslice-controller"
    component = "endpoint-slice-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._nodes = context.informers.of(NODES)
        self._slices = context.informers.of(ENDPOINT_SLICES, indexers={BY_SERVICE: _service_key})
        self.follow(self._nodes, self._node_changed)
        self.follow(self._slices, self._slice_changed)

    async def reconcile(self, key: str) -> float | None:
        service = self.services.get(key)
        if service is None:
            self.written.forget(key)
            return None
        if not members.wants_endpoints(service):
            return None
        if not self.written.is_seen(key, self._slices):
            return STALE_CACHE_S
        existing = [
            one
            for one in self._slices.by_index(BY_SERVICE, key)
            if meta.labels_of(one).get(MANAGED_BY_LABEL) == slices.MANAGED_BY and not meta.is_deleting(one)
        ]
        pods = self.selected(service)
        names = {PodView(pod).node_name for pod in pods}
        nodes = {name: node for name in names if (node := self._nodes.get(name)) is not None}
        actions = slices.plan(service, pods, nodes, existing, self.context.options.max_endpoints_per_slice)
        try:
            await self.write_slices(key, actions)
        except status.Conflict:
            raise
        except status.StatusError as error:
            message = f"Error updating Endpoint Slices for Service {key}: {error.message}"
            self.events.event(service, SERVICES, WARNING, "FailedToUpdateEndpointSlices", message)
            raise
        return MISSING_NODE_S if actions.missing_nodes else None

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        """Somebody else's change of a slice is put right. What this controller wrote itself settles by the plan being empty."""
        for one in (old, new):
            if one is not None and meta.labels_of(one).get(MANAGED_BY_LABEL) == slices.MANAGED_BY:
                self.queue.add(EndpointSliceView(one).service_key)

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        """Zones come from nodes."""
        if old is not None and new is not None and _zone(old) == _zone(new):
            return
        if old is None and new is not None and not _zone(new):
            return
        for service in self.services.list():
            if members.wants_endpoints(service):
                self.queue.add(meta.key_of(service))


class EndpointsController(SelectingController):
    """The control loop of Endpoints."""

    name = "endpoints-controller"
    account = "endpoint-controller"
    component = "endpoint-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._endpoints = context.informers.of(ENDPOINTS)
        self.follow(self._endpoints, self._endpoints_changed)

    async def reconcile(self, key: str) -> float | None:
        service = self.services.get(key)
        existing = self._endpoints.get(key)
        if service is None:
            self.written.forget(key)
            if existing is not None and _is_ours(existing):
                await self._delete(existing)
            return None
        if not members.wants_endpoints(service):
            return None
        if not self.written.is_seen(key, self._endpoints):
            return STALE_CACHE_S
        wanted = subsets.plan(service, self.selected(service), existing)
        if wanted is None:
            return None
        try:
            if existing is None:
                await self.write(key, self.client.create(ENDPOINTS, wanted))
            else:
                await self.write(key, self.client.update(ENDPOINTS, wanted))
        except status.Conflict:
            raise
        except status.StatusError as error:
            done, doing = ("FailedToCreateEndpoint", "create endpoint for service")
            if existing is not None:
                done, doing = ("FailedToUpdateEndpoint", "update endpoint")
            self.events.event(wanted, ENDPOINTS, WARNING, done, f"Failed to {doing} {key}: {error.message}")
            raise
        return None

    async def _delete(self, existing: Object) -> None:
        try:
            await self.client.delete(ENDPOINTS, meta.namespace_of(existing), meta.name_of(existing))
        except status.NotFound:
            return

    def _endpoints_changed(self, old: Object | None, new: Object | None) -> None:
        """A change by somebody else is put right, and what is left without a Service goes."""
        self.enqueue(old, new)


class EndpointSliceMirroringController(ServiceController):
    """The control loop of EndpointSlices that mirror Endpoints which users wrote."""

    name = "endpointslice-mirroring-controller"
    account = "endpointslicemirroring-controller"
    component = "endpoint-slice-mirroring-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._endpoints = context.informers.of(ENDPOINTS)
        self._slices = context.informers.of(ENDPOINT_SLICES, indexers={BY_SERVICE: _service_key})
        self.follow(self._endpoints, self.enqueue)
        self.follow(self._slices, self._slice_changed)

    async def reconcile(self, key: str) -> float | None:
        if not self.written.is_seen(key, self._slices):
            return STALE_CACHE_S
        endpoints = self._endpoints.get(key)
        existing = [
            one
            for one in self._slices.by_index(BY_SERVICE, key)
            if meta.labels_of(one).get(MANAGED_BY_LABEL) == mirror.MANAGED_BY and not meta.is_deleting(one)
        ]
        if endpoints is not None and mirror.is_mirrored(endpoints, self.services.get(key)):
            actions = mirror.plan(endpoints, existing)
        else:
            actions = Actions(delete=tuple(existing))
        await self.write_slices(key, actions)
        return None

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        for one in (old, new):
            if one is not None and meta.labels_of(one).get(MANAGED_BY_LABEL) == mirror.MANAGED_BY:
                self.queue.add(EndpointSliceView(one).service_key)


def _namespace(obj: Object) -> tuple[str, ...]:
    return (meta.namespace_of(obj),)


def _service_key(obj: Object) -> tuple[str, ...]:
    name = meta.labels_of(obj).get(SERVICE_NAME_LABEL)
    return (meta.join_key(meta.namespace_of(obj), name),) if name else ()


def _zone(node: Object) -> str:
    return meta.labels_of(node).get(slices.ZONE_LABEL, "")


def _is_ours(endpoints: Object) -> bool:
    return meta.labels_of(endpoints).get(subsets.MANAGED_BY_LABEL) == subsets.MANAGED_BY
