"""Keeps as many pods as a ReplicaSet or a ReplicationController wants.

Source: upstream `pkg/controller/replicaset`. Both kinds are one controller under two declarations (`ReplicaKind`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pilothouse.api import meta, selector, status
from pilothouse.api.gvr import GVR, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS
from pilothouse.api.meta import Object
from pilothouse.api.selector import LabelSelector
from pilothouse.api.views.replica_set import ReplicaSetView
from pilothouse.controllers import pods
from pilothouse.controllers.expectations import Expectations
from pilothouse.controllers.runtime import Context, Controller
from pilothouse.kit.log import get_logger
from pilothouse.kit.tasks import each

BURST_REPLICAS = 500
FAILURE = "ReplicaFailure"
PODS_PER_SECOND_OF_DELAY = 10_000
MIN_DELAY_S = 0.005
MAX_DELAY_S = 0.25

log = get_logger("pilothouse.controllers.replicaset")


@dataclass(frozen=True, slots=True)
class ReplicaKind:
    """What differs between the kinds."""

    gvr: GVR
    selector: Callable[[ReplicaSetView], LabelSelector]
    component: str
    """The source of its events."""
    counts_terminating: bool
    """Whether its status has `terminatingReplicas`."""


def _select_by_object(view: ReplicaSetView) -> LabelSelector:
    return selector.from_object(view.selector)


def _select_by_map(view: ReplicaSetView) -> LabelSelector:
    labels = view.selector or (view.template.get("metadata") or {}).get("labels")
    return selector.from_map(labels) if labels else selector.from_object(None)


REPLICA_SET = ReplicaKind(REPLICA_SETS, _select_by_object, "replicaset-controller", counts_terminating=True)
REPLICATION_CONTROLLER = ReplicaKind(
    REPLICATION_CONTROLLERS, _select_by_map, "replication-controller", counts_terminating=False
)


@dataclass(frozen=True, slots=True)
class Actions:
    """What to do to the pods."""

    create: int = 0
    delete: tuple[Object, ...] = ()


def plan(owner: Mapping[str, Any], active: Sequence[Object], related: Sequence[Object], now: float) -> Actions:
    """How to come from the `active` pods to as many as wanted, at most `BURST_REPLICAS` at a time.

    `related` are the pods of all ReplicaSets of the same owner: of several pods on one node, one is deleted first.
    """
    view = ReplicaSetView(owner)
    if view.is_deleting:
        return Actions()
    surplus = len(active) - view.replicas
    if surplus < 0:
        return Actions(create=min(-surplus, BURST_REPLICAS))
    surplus = min(surplus, BURST_REPLICAS)
    chosen = active if surplus == len(active) else pods.deletion_order(active, related, now)
    return Actions(delete=tuple(chosen[:surplus]))


def status_of(
    owner: Mapping[str, Any], active: Sequence[Object], terminating: int | None, failure: Exception | None, now: float
) -> Object:
    """The status of `owner` with these pods. `terminating` None leaves that count out; `failure` is why not all could be done."""
    view = ReplicaSetView(owner)
    template_labels = selector.from_map((view.template.get("metadata") or {}).get("labels") or {})
    ready = [pod for pod in active if pods.ready_since(pod) is not None]
    counts = {
        "fullyLabeledReplicas": sum(template_labels.matches(meta.labels_of(pod)) for pod in active),
        "readyReplicas": len(ready),
        "availableReplicas": sum(pods.is_available(pod, view.min_ready_s, now) for pod in ready),
    }
    result: Object = {"replicas": len(active)} | {name: count for name, count in counts.items() if count}
    if terminating is not None:
        result["terminatingReplicas"] = terminating
    result["observedGeneration"] = view.generation
    if conditions := _conditions(view, len(active), failure, now):
        result["conditions"] = conditions
    return result


def _conditions(view: ReplicaSetView, count: int, failure: Exception | None, now: float) -> list[Object]:
    present = meta.condition_of(view.conditions, FAILURE)
    kept = [dict(condition) for condition in view.conditions if condition["type"] != FAILURE]
    if failure is None:
        return kept
    if present is not None:
        return [*kept, dict(present)]
    condition = {
        "type": FAILURE,
        "status": "True",
        "lastTransitionTime": meta.format_time(now),
        "reason": "FailedCreate" if count < view.replicas else "FailedDelete",
        "message": failure.message if isinstance(failure, status.StatusError) else str(failure),
    }
    return [*kept, condition]


class ReplicaSetController(Controller):
    """The control loop of one of the kinds."""

    name = "replicaset-controller"
    account = "replicaset-controller"
    kind = REPLICA_SET

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._gvr = self.kind.gvr
        self._expectations = Expectations(context.clock)
        self._control = pods.PodControl(self.client, context.recorder(self.kind.component), self._gvr)
        self._sizes: dict[str, int] = {}
        self._owners = pods.index_by_controller(context.informers.of(self._gvr))
        self._pods = pods.index_by_controller(context.informers.of(PODS))
        self.follow(self._owners, self._owner_changed)
        self.follow(self._pods, self._pod_changed)

    async def reconcile(self, key: str) -> float | None:
        owner = self._owners.get(key)
        if owner is None:
            self._expectations.forget(key)
            self._sizes.pop(key, None)
            return None
        view = ReplicaSetView(owner)
        selects = self.kind.selector(view)
        candidates = pods.candidates(self._pods, owner)
        waiting_s = self._expectations.remaining_s(key)
        claimed = pods.claim(owner, selects, [pod for pod in candidates if pods.is_active(pod)])
        active = await pods.settle_claim(self.client, owner, self._gvr, claimed, PODS)
        self._sizes[key] = len(active)
        failure: Exception | None = None
        if waiting_s <= 0 and not view.is_deleting:
            failure = await self._act(key, owner, plan(owner, active, self._related(owner), self.clock.now()))
        terminating = None
        if self.kind.counts_terminating:
            terminating = sum(
                pods.is_terminating(pod) and meta.is_controlled_by(pod, owner) and selects.matches(meta.labels_of(pod))
                for pod in candidates
            )
        now = self.clock.now()
        new_status = status_of(owner, active, terminating, failure, now)
        if not _same_status(view.status, new_status):
            await self.client.update_status(self._gvr, {**owner, "status": new_status})
        if failure is not None:
            raise failure
        waits = [waiting_s] if waiting_s > 0 else []
        if view.min_ready_s and new_status.get("readyReplicas") != new_status.get("availableReplicas"):
            waits.append(pods.next_availability_s(active, view.min_ready_s, now) or view.min_ready_s)
        return min(waits, default=None)

    async def _act(self, key: str, owner: Object, actions: Actions) -> Exception | None:
        """Carry out `actions`; returns the first failure."""
        if actions.create:
            self._expectations.expect_creations(key, actions.create)
            succeeded, failure = await pods.slow_start(actions.create, lambda: self._create(owner))
            for _ in range(actions.create - succeeded):
                self._expectations.creation_observed(key)
            return failure
        if not actions.delete:
            return None
        self._expectations.expect_deletions(key, [meta.uid_of(pod) for pod in actions.delete])
        failure = None
        for pod, result in await each(actions.delete, lambda pod: self._control.delete(owner, pod), limit=pods.AT_ONCE):
            if isinstance(result, Exception):
                self._expectations.deletion_observed(key, meta.uid_of(pod))
                if not isinstance(result, status.NotFound):
                    failure = failure or result
        return failure

    async def _create(self, owner: Object) -> None:
        try:
            await self._control.create(owner, pods.pod_of(ReplicaSetView(owner).template, owner, self._gvr))
        except status.StatusError as error:
            # In a namespace that is going every creation fails, and none is wanted any more.
            if not pods.is_namespace_terminating(error):
                raise

    def _related(self, owner: Object) -> list[Object]:
        """The pods of all that have the same owner as `owner`."""
        controller = meta.controller_of(owner)
        siblings = [owner] if controller is None else self._owners.by_index(pods.BY_CONTROLLER, controller["uid"])
        return [pod for one in siblings for pod in self._pods.by_index(pods.BY_CONTROLLER, meta.uid_of(one))]

    # Hearing

    def _owner_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None and old is not None:
            self._expectations.forget(meta.key_of(old))
        self.enqueue(old, new)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            self._pod_gone(old)
            return
        if meta.is_deleting(new):
            self._pod_gone(new)
            if old is not None and old["metadata"].get("labels") != new["metadata"].get("labels"):
                self._pod_gone(old)
            return
        owner = self._owner_of(new)
        before = meta.controller_of(old) if old is not None else None
        former = self._owner_of(old) if old is not None and before != meta.controller_of(new) else None
        if former is not None:
            self.queue.add(meta.key_of(former))
        if owner is not None:
            key = meta.key_of(owner)
            if old is None:
                self._expectations.creation_observed(key)
            self._pods_of_changed(key)
        elif meta.controller_of(new) is None and (
            old is None or before is not None or old["metadata"].get("labels") != new["metadata"].get("labels")
        ):
            self._orphan_changed(new)

    def _pod_gone(self, pod: Object | None) -> None:
        if pod is None or (owner := self._owner_of(pod)) is None:
            return
        key = meta.key_of(owner)
        self._expectations.deletion_observed(key, meta.uid_of(pod))
        self._pods_of_changed(key)

    def _pods_of_changed(self, key: str) -> None:
        # Counting the pods of a large set for each that changes would cost the square of its size: changes are taken together.
        delay_s = min(self._sizes.get(key, 0) / PODS_PER_SECOND_OF_DELAY, MAX_DELAY_S)
        self.queue.add_after(key, delay_s if delay_s >= MIN_DELAY_S else 0)

    def _owner_of(self, pod: Object) -> Object | None:
        controller = meta.controller_of(pod)
        if controller is None or controller["kind"] != self._gvr.kind:
            return None
        owner = self._owners.get(meta.join_key(meta.namespace_of(pod), controller["name"]))
        return owner if owner is not None and meta.uid_of(owner) == controller["uid"] else None

    def _orphan_changed(self, pod: Object) -> None:
        namespace, labels = meta.namespace_of(pod), meta.labels_of(pod)
        if not labels:
            return
        for owner in self._owners.list():
            if meta.namespace_of(owner) == namespace and self.kind.selector(ReplicaSetView(owner)).matches(labels):
                self.queue.add(meta.key_of(owner))


class ReplicationControllerController(ReplicaSetController):
    """The control loop of ReplicationControllers."""

    name = "replicationcontroller-controller"
    account = "replication-controller"
    kind = REPLICATION_CONTROLLER


def _same_status(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    names = {*old, *new}
    return all((old.get(name) or 0) == (new.get(name) or 0) for name in names) and (
        ("terminatingReplicas" in old) == ("terminatingReplicas" in new)
    )
