"""One round of a Deployment: from its ReplicaSets and the time to everything that is to be written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pilothouse.api import meta
from pilothouse.api.meta import Object
from pilothouse.api.view import json_copy
from pilothouse.api.views.deployment import DeploymentView
from pilothouse.api.views.replica_set import ReplicaSetView
from pilothouse.controllers.deployment import progress, scaling
from pilothouse.controllers.deployment.revision import (
    REVISION,
    by_age,
    find_new,
    new_replica_set,
    next_revision,
    revision_annotations,
    revision_of,
    size_annotations,
)


@dataclass(frozen=True, slots=True)
class Update:
    """A ReplicaSet as it is to be; `message` tells of a change of size."""

    replica_set: Object
    message: str = ""


@dataclass(frozen=True, slots=True)
class Actions:
    """What is to be written, in the order of the fields. `status` and `annotations` are the Deployment's, whole."""

    create: Object | None = None
    update: tuple[Update, ...] = ()
    delete: tuple[Object, ...] = ()
    status: Object = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    again_s: float | None = None


def plan(
    deployment: Mapping[str, Any],
    replica_sets: Sequence[Object],
    old_pods_remain: Callable[[Object | None], bool],
    now: float,
) -> Actions:
    """The next step of `deployment`, whose ReplicaSets are `replica_sets`.

    `old_pods_remain` tells whether pods of ReplicaSets other than the given one may still run; only Recreate asks.
    """
    return _Round(deployment, replica_sets, now).run(old_pods_remain)


class _Round:
    """Drafts of all that may change, worked on step by step; what differs from before at the end is written."""

    def __init__(self, deployment: Mapping[str, Any], replica_sets: Sequence[Object], now: float) -> None:
        self.deployment = deployment
        self.view = DeploymentView(deployment)
        self.now = now
        self.original = {meta.name_of(one): one for one in replica_sets}
        new = find_new(deployment, replica_sets)
        self.old = [dict(one) for one in by_age(replica_sets) if one is not new]
        self.new: Object | None = dict(new) if new is not None else None
        self.create: Object | None = None
        self.delete: tuple[Object, ...] = ()
        self.conditions: Sequence[Mapping[str, Any]] = self.view.conditions
        self.annotations = dict(self.view.annotations)

    def run(self, old_pods_remain: Callable[[Object | None], bool]) -> Actions:
        if self.view.is_deleting:
            return self._actions(judge=False)
        self.conditions = progress.pause_conditions(self.view, self.conditions, self.now)
        self._mark_new()
        if self.view.paused or scaling.is_resized(self.view, (self.new, *self.old)):
            self._resize(scaling.resize(self.view, self.new, self.old), tell=True)
            if self.view.paused:
                self._clean_up()
            return self._actions(judge=False)
        if self.view.is_rolling:
            self._roll()
        else:
            self._recreate(old_pods_remain)
        return self._actions(judge=True)

    def _roll(self) -> None:
        new = self._require_new()
        if up := scaling.roll_up(self.view, new, self.old):
            self._resize(up)
        elif down := scaling.roll_down(self.view, new, self.old):
            self._resize(down)
        elif progress.is_complete(self.view, self.view.status):
            self._clean_up()

    def _recreate(self, old_pods_remain: Callable[[Object | None], bool]) -> None:
        if down := {meta.name_of(one): 0 for one in scaling.active(self.old)}:
            self._resize(down)
            return
        if any(ReplicaSetView(one).status_replicas for one in self.old) or old_pods_remain(self.new):
            return
        new = self._require_new()
        self._resize({meta.name_of(new): self.view.replicas})
        if progress.is_complete(self.view, self.view.status):
            self._clean_up()

    def _mark_new(self) -> None:
        """Give the new ReplicaSet, if it exists, its revision, and the Deployment the revision it shows."""
        if self.new is None:
            return
        annotations = revision_annotations(self.deployment, self.new, next_revision(self.old))
        self.new["metadata"] = {**self.new["metadata"], "annotations": annotations}
        if ReplicaSetView(self.new).min_ready_s != self.view.min_ready_s:
            self.new["spec"] = {**self.new["spec"], "minReadySeconds": self.view.min_ready_s}
        self.annotations[REVISION] = annotations[REVISION]
        if self.view.progress_deadline_s is not None and not meta.condition_of(self.conditions, progress.PROGRESSING):
            self._progressing(progress.FOUND, f'Found new replica set "{meta.name_of(self.new)}"')

    def _require_new(self) -> Object:
        if self.new is None:
            revision = next_revision(self.old)
            self.new = self.create = new_replica_set(self.deployment, revision)
            replicas = scaling.size_of_new(self.view, [*self.old, self.new], self.new)
            self.new["spec"]["replicas"] = replicas
            self.annotations[REVISION] = str(revision)
            if self.view.progress_deadline_s is not None:
                self._progressing(progress.CREATED, f'Created new replica set "{meta.name_of(self.new)}"')
        return self.new

    def _progressing(self, reason: str, message: str) -> None:
        self.conditions = progress.set_condition(
            self.conditions, progress.PROGRESSING, "True", reason, message, self.now
        )

    def _resize(self, sizes: scaling.Sizes, *, tell: bool = False) -> None:
        """`tell` writes the Deployment's size to those whose own size stays, too."""
        for one in (*self.old, *((self.new,) if self.new is not None else ())):
            name = meta.name_of(one)
            if name in sizes and (tell or sizes[name] != scaling.size(one)):
                annotations = {**meta.annotations_of(one), **size_annotations(self.deployment)}
                one["metadata"] = {**one["metadata"], "annotations": annotations}
                one["spec"] = {**one["spec"], "replicas": sizes[name]}

    def _clean_up(self) -> None:
        limit = self.view.revision_history_limit
        if limit is None:
            return
        living = sorted((one for one in self.old if not meta.is_deleting(one)), key=revision_of)
        surplus = living[: max(0, len(living) - limit)]
        self.delete = tuple(one for one in surplus if _is_done(ReplicaSetView(one)))

    def _actions(self, *, judge: bool) -> Actions:
        new, old = self.new, self.old
        status = progress.status_of(self.view, self.conditions, new, old, self.now)
        if judge:
            status = progress.with_progress(self.view, status, new, old, self.now)
        drafts = [*old, *((new,) if new is not None and new is not self.create else ())]
        changed = [one for one in drafts if one != self.original[meta.name_of(one)]]
        return Actions(
            create=json_copy(self.create) if self.create is not None else None,
            update=tuple(Update(one, self._told(one)) for one in changed),
            delete=self.delete,
            status=status,
            annotations=self.annotations,
            again_s=progress.next_check_s(self.view, status, self.now) if judge else None,
        )

    def _told(self, one: Object) -> str:
        before, after = scaling.size(self.original[meta.name_of(one)]), scaling.size(one)
        if before == after:
            return ""
        direction = "up" if after > before else "down"
        return f"Scaled {direction} replica set {meta.name_of(one)} from {before} to {after}"


def _is_done(view: ReplicaSetView) -> bool:
    return not view.status_replicas and not view.replicas and view.generation <= view.observed_generation
