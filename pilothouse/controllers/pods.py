"""What the controllers that own pods share: claiming, ranking, making and deleting them.

Decisions are pure functions over pods; `PodControl` acts and tells the owner's user by events. Source: upstream `pkg/controller`
(controller_utils.go, controller_ref_manager.go).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cmp_to_key, partial
from math import log2
from typing import Any

from pilothouse.api import meta, status
from pilothouse.api.gvr import GVR, PODS
from pilothouse.api.meta import Object
from pilothouse.api.selector import LabelSelector
from pilothouse.api.view import json_copy
from pilothouse.api.views.pod import PodView
from pilothouse.client.client import Client, PatchType
from pilothouse.client.events import NORMAL, WARNING, EventRecorder
from pilothouse.client.informer import Informer
from pilothouse.kit.tasks import each

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
NAMESPACE_TERMINATING = "NamespaceTerminating"
SLOW_START = 1
AT_ONCE = 64
BY_CONTROLLER = "controller"
ORPHANS = "orphan"

_PHASE_ORDER = {"Pending": 0, "Unknown": 1, "Running": 2}


def index_by_controller(informer: Informer) -> Informer:
    """Index `informer`'s objects by their controller's UID, and those without one by their namespace."""
    informer.add_indexers({BY_CONTROLLER: _controller_uid, ORPHANS: _orphan_namespace})
    return informer


def candidates(informer: Informer, owner: Mapping[str, Any]) -> list[Object]:
    """The objects that `owner` controls, and those of its namespace that nobody does."""
    owned = informer.by_index(BY_CONTROLLER, meta.uid_of(owner))
    return [*owned, *informer.by_index(ORPHANS, meta.namespace_of(owner))]


def _controller_uid(obj: Object) -> Iterable[str]:
    controller = meta.controller_of(obj)
    return () if controller is None else (controller["uid"],)


def _orphan_namespace(obj: Object) -> Iterable[str]:
    return (meta.namespace_of(obj),) if meta.controller_of(obj) is None else ()


# Reading


def is_active(pod: Mapping[str, Any]) -> bool:
    """Whether it runs or may still run: neither ended nor being deleted."""
    view = PodView(pod)
    return not view.is_terminal and not view.is_deleting


def is_terminating(pod: Mapping[str, Any]) -> bool:
    view = PodView(pod)
    return view.is_deleting and not view.is_terminal


def ready_since(pod: Mapping[str, Any]) -> float | None:
    """When it last became ready; None if it is not."""
    condition = meta.condition_of(PodView(pod).conditions, "Ready")
    if condition is None or condition["status"] != "True":
        return None
    since = condition.get("lastTransitionTime")
    return meta.parse_time(since) if since else 0.0


def is_available(pod: Mapping[str, Any], min_ready_s: int, now: float) -> bool:
    """Whether it has been ready for `min_ready_s`."""
    since = ready_since(pod)
    if since is None:
        return False
    return min_ready_s == 0 or (since > 0 and since + min_ready_s <= now)


def next_availability_s(pods: Iterable[Mapping[str, Any]], min_ready_s: int, now: float) -> float | None:
    """The seconds until the next of `pods` becomes available; None if none will by waiting."""
    waits = [since + min_ready_s - now for pod in pods if (since := ready_since(pod))]
    return min((wait for wait in waits if wait > 0), default=None)


# Claiming


@dataclass(frozen=True, slots=True)
class Claim:
    """Which objects an owner has (`kept`), should take (`adopt`) and must let go of (`release`)."""

    kept: Sequence[Object] = ()
    adopt: Sequence[Object] = ()
    release: Sequence[Object] = ()


def claim(owner: Mapping[str, Any], selector: LabelSelector, objs: Iterable[Object]) -> Claim:
    """Apply the rules of ownership: an owner keeps what matches, releases what no longer does, adopts matching orphans.

    An owner that is being deleted neither adopts nor releases; what is being deleted is not adopted.
    """
    kept, adopt, release = [], [], []
    owner_is_deleting = meta.is_deleting(owner)
    for obj in objs:
        controller = meta.controller_of(obj)
        matches = selector.matches(meta.labels_of(obj))
        if controller is not None:
            if controller["uid"] != meta.uid_of(owner):
                continue
            if matches:
                kept.append(obj)
            elif not owner_is_deleting:
                release.append(obj)
        elif matches and not owner_is_deleting and not meta.is_deleting(obj):
            adopt.append(obj)
    return Claim(kept, adopt, release)


async def settle_claim(
    client: Client,
    owner: Mapping[str, Any],
    gvr: GVR,
    claimed: Claim,
    kind: GVR,
    *,
    finalizers: Sequence[str] = (),
) -> list[Object]:
    """Adopt and release objects of `kind` as decided; returns those that `owner`, of kind `gvr`, has afterwards.

    What is adopted gets `finalizers`.

    Before the first adoption the server is asked whether the owner still stands. Raises what the server answers, except that an
    object that is gone or changed hands is passed over.
    """
    kept = list(claimed.kept)
    if claimed.adopt:
        fresh = await client.get(gvr, meta.namespace_of(owner), meta.name_of(owner))
        if meta.uid_of(fresh) != meta.uid_of(owner):
            raise status.conflict(
                gvr.plural, gvr.group, meta.name_of(owner), "the owner was replaced by another object"
            )
        if not meta.is_deleting(fresh):
            for obj in claimed.adopt:
                metadata: Object = {
                    "ownerReferences": [meta.controller_reference(owner, gvr)],
                    "uid": meta.uid_of(obj),
                }
                if finalizers:
                    metadata["finalizers"] = list(finalizers)
                patch = {"metadata": metadata}
                if (adopted := await _patch(client, kind, obj, patch)) is not None:
                    kept.append(adopted)
    for obj in claimed.release:
        reference = {"$patch": "delete", "uid": meta.uid_of(owner)}
        await _patch(client, kind, obj, {"metadata": {"ownerReferences": [reference], "uid": meta.uid_of(obj)}})
    return kept


async def _patch(client: Client, kind: GVR, obj: Object, patch: Object) -> Object | None:
    namespace, name = meta.namespace_of(obj), meta.name_of(obj)
    try:
        return await client.patch(kind, namespace, name, patch, type=PatchType.STRATEGIC)
    except (status.NotFound, status.Invalid):
        # Gone, or its owner references were changed by another: the watch will tell.
        return None


# Choosing what to delete


def deletion_order(pods: Sequence[Object], related: Iterable[Object], now: float) -> list[Object]:
    """`pods` with those that are best deleted first.

    In this order of weight: not scheduled, pending, not ready, a low deletion cost, many of `related` on the same node, ready for a
    short time, many restarts, young. Times are compared by their logarithm so that equals are picked at random, by UID.
    """
    on_node: dict[str, int] = {}
    for pod in related:
        if is_active(pod):
            node = PodView(pod).node_name
            on_node[node] = on_node.get(node, 0) + 1
    rows = [(_deletion_rank(pod, on_node), ready_since(pod), _created(pod), pod) for pod in pods]
    rows.sort(key=cmp_to_key(partial(_compare, now)))
    return [row[3] for row in rows]


def _deletion_rank(pod: Object, on_node: Mapping[str, int]) -> tuple[int, int, int, int, int]:
    view = PodView(pod)
    return (
        1 if view.node_name else 0,
        _PHASE_ORDER.get(view.phase, 0),
        1 if view.is_ready else 0,
        _deletion_cost(pod),
        -on_node.get(view.node_name, 0),
    )


_Row = tuple[tuple[int, int, int, int, int], float | None, float, Object]


def _compare(now: float, one: _Row, other: _Row) -> int:
    if one[0] != other[0]:
        return -1 if one[0] < other[0] else 1
    if one[1] is not None and other[1] is not None and one[1] != other[1]:
        return _compare_times(one[1], other[1], now, one[3], other[3])
    restarts, other_restarts = _restarts(one[3]), _restarts(other[3])
    if restarts != other_restarts:
        return -1 if restarts > other_restarts else 1
    if one[2] != other[2]:
        return _compare_times(one[2], other[2], now, one[3], other[3])
    return 0


def _compare_times(one: float, other: float, now: float, pod: Object, other_pod: Object) -> int:
    """Younger first; an absent time (zero) counts as the youngest."""
    if not one or not other:
        return -1 if not one else 1
    difference = _magnitude(now - one) - _magnitude(now - other)
    if difference:
        return -1 if difference < 0 else 1
    return -1 if meta.uid_of(pod) < meta.uid_of(other_pod) else 1


def _magnitude(seconds: float) -> int:
    return int(log2(seconds * 1e9)) if seconds > 0 else -1


def _deletion_cost(pod: Object) -> int:
    try:
        return int(meta.annotations_of(pod).get(DELETION_COST, "0"))
    except ValueError:
        return 0


def _restarts(pod: Object) -> tuple[int, int]:
    """The highest restart count of its containers and of its sidecars."""
    view = PodView(pod)
    sidecars = {container["name"] for container in view.init_containers if container.get("restartPolicy") == "Always"}
    regular = max((int(entry.get("restartCount", 0)) for entry in view.container_statuses), default=0)
    sidecar = (
        int(entry.get("restartCount", 0))
        for entry in view.status.get("initContainerStatuses") or ()
        if entry["name"] in sidecars
    )
    return regular, max(sidecar, default=0)


def _created(pod: Object) -> float:
    created = pod["metadata"].get("creationTimestamp")
    return meta.parse_time(created) if created else 0.0


# Acting


def pod_of(template: Mapping[str, Any], owner: Mapping[str, Any], gvr: GVR) -> Object:
    """A new pod from `template`, controlled by `owner` of kind `gvr`."""
    given = template.get("metadata") or {}
    metadata: Object = {
        "generateName": f"{meta.name_of(owner)}-",
        "ownerReferences": [meta.controller_reference(owner, gvr)],
    }
    for field in ("labels", "annotations", "finalizers"):
        if given.get(field):
            metadata[field] = json_copy(given)[field]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": json_copy(template.get("spec") or {})}


def is_namespace_terminating(error: BaseException) -> bool:
    """Whether a creation failed because its namespace is being deleted."""
    return isinstance(error, status.StatusError) and any(
        cause.reason == NAMESPACE_TERMINATING for cause in error.causes
    )


class PodControl:
    """Creates and deletes pods in an owner's name. Events go to the owner."""

    def __init__(self, client: Client, events: EventRecorder, gvr: GVR) -> None:
        self._client = client
        self._events = events
        self._gvr = gvr

    async def create(self, owner: Mapping[str, Any], pod: Object) -> Object:
        """Raises what the server answers."""
        try:
            created = await self._client.create(PODS, pod, namespace=meta.namespace_of(owner))
        except status.StatusError as error:
            if not is_namespace_terminating(error):
                self._events.event(owner, self._gvr, WARNING, "FailedCreate", f"Error creating: {error.message}")
            raise
        self._events.event(owner, self._gvr, NORMAL, "SuccessfulCreate", f"Created pod: {meta.name_of(created)}")
        return created

    async def delete(self, owner: Mapping[str, Any], pod: Mapping[str, Any]) -> None:
        """Raises what the server answers, NotFound included."""
        name = meta.name_of(pod)
        try:
            await self._client.delete(PODS, meta.namespace_of(pod), name)
        except status.NotFound:
            raise
        except status.StatusError as error:
            self._events.event(owner, self._gvr, WARNING, "FailedDelete", f"Error deleting: {error.message}")
            raise
        self._events.event(owner, self._gvr, NORMAL, "SuccessfulDelete", f"Deleted pod: {name}")


async def slow_start(count: int, create: Callable[[], Awaitable[object]]) -> tuple[int, Exception | None]:
    """Call `create` `count` times, first once, then in batches twice as big as the last while all succeed.

    Returns how many succeeded and the first failure: with a quota exceeded, one request fails instead of hundreds.
    """
    succeeded, batch = 0, SLOW_START
    while succeeded < count:
        size = min(batch, count - succeeded)
        results = await each(range(size), lambda _: create(), limit=AT_ONCE)
        failures = [result for _, result in results if isinstance(result, Exception)]
        succeeded += size - len(failures)
        if failures:
            return succeeded, failures[0]
        batch *= 2
    return succeeded, None
