"""How many pods each ReplicaSet of a Deployment should have. All functions are pure; sizes are `{name: replicas}`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import floor

from pilothouse.api import meta
from pilothouse.api.meta import Object
from pilothouse.api.views.deployment import DeploymentView
from pilothouse.api.views.replica_set import ReplicaSetView
from pilothouse.controllers.deployment.revision import DESIRED_REPLICAS, MAX_REPLICAS, by_age

Sizes = Mapping[str, int]


def size(replica_set: Object) -> int:
    return ReplicaSetView(replica_set).replicas


def total(replica_sets: Iterable[Object]) -> int:
    return sum(size(one) for one in replica_sets)


def active(replica_sets: Iterable[Object | None]) -> list[Object]:
    return [one for one in replica_sets if one is not None and size(one) > 0]


def size_of_new(view: DeploymentView, everything: Sequence[Object], new: Object) -> int:
    """How large the new ReplicaSet may be now, given the room that `maxSurge` leaves."""
    if not view.is_rolling:
        return view.replicas
    room = view.replicas + view.max_surge_allowed - total(everything)
    if room <= 0:
        return size(new)
    return size(new) + min(room, view.replicas - size(new))


def roll_up(view: DeploymentView, new: Object, old: Sequence[Object]) -> Sizes:
    """The next step of the new ReplicaSet; empty if there is none."""
    if size(new) == view.replicas:
        return {}
    wanted = view.replicas if size(new) > view.replicas else size_of_new(view, [*old, new], new)
    return {} if wanted == size(new) else {meta.name_of(new): wanted}


def roll_down(view: DeploymentView, new: Object, old: Sequence[Object]) -> Sizes:
    """The next step of the old ReplicaSets: first what is not available anyway, then as many as may be missing."""
    living = by_age(active(old))
    if not living:
        return {}
    min_available = view.replicas - view.max_unavailable
    unavailable_new = size(new) - ReplicaSetView(new).available_replicas
    budget = total([*old, new]) - min_available - unavailable_new
    if budget <= 0:
        return {}
    sizes = {meta.name_of(one): size(one) for one in living}
    for one in living:
        unhealthy = size(one) - ReplicaSetView(one).available_replicas
        step = min(budget, max(unhealthy, 0))
        sizes[meta.name_of(one)] -= step
        budget -= step
    spare = sum(ReplicaSetView(one).available_replicas for one in [*living, new]) - min_available
    for one in living:
        if spare <= 0:
            break
        step = min(sizes[meta.name_of(one)], spare)
        sizes[meta.name_of(one)] -= step
        spare -= step
    return {meta.name_of(one): sizes[meta.name_of(one)] for one in living if sizes[meta.name_of(one)] != size(one)}


def is_resized(view: DeploymentView, replica_sets: Iterable[Object | None]) -> bool:
    """Whether the Deployment's size was changed since its ReplicaSets were last told."""
    told = (_annotated(one, DESIRED_REPLICAS) for one in active(replica_sets))
    return any(desired is not None and desired != view.replicas for desired in told)


def resize(view: DeploymentView, new: Object | None, old: Sequence[Object]) -> Sizes:
    """Sizes after a change of the Deployment's: in proportion, so that a rollout under way goes neither forward nor back.

    ReplicaSets whose size stays are listed too where they must be told the new size.
    """
    living = active([*old, new])
    if len(living) <= 1:
        only = living[0] if living else new if new is not None else by_age(old)[-1] if old else None
        return {} if only is None or size(only) == view.replicas else {meta.name_of(only): view.replicas}
    if new is not None and _is_saturated(view, new):
        return {meta.name_of(one): 0 for one in active(old)}
    if not view.is_rolling:
        return {}
    to_add = (view.replicas + view.max_surge if view.replicas else 0) - total(living)
    # Of equals the newer grow and the older shrink first.
    living = by_age(living)
    if to_add > 0:
        living.reverse()
    living.sort(key=lambda one: -size(one))
    sizes, added = {}, 0
    for one in living:
        share = _share(view, one, to_add, added)
        sizes[meta.name_of(one)] = size(one) + share
        added += share
    largest = meta.name_of(living[0])
    sizes[largest] = max(0, sizes[largest] + to_add - added)
    return sizes


def _share(view: DeploymentView, one: Object, to_add: int, added: int) -> int:
    if to_add in (0, added):
        return 0
    fraction = _fraction(view, one)
    return min(fraction, to_add - added) if to_add > 0 else max(fraction, to_add - added)


def _fraction(view: DeploymentView, one: Object) -> int:
    if view.replicas == 0:
        return -size(one)
    before = _annotated(one, MAX_REPLICAS) or int(view.status.get("replicas", 0))
    if not before:
        return 0
    return floor(size(one) * (view.replicas + view.max_surge) / before + 0.5) - size(one)


def _is_saturated(view: DeploymentView, new: Object) -> bool:
    return (
        size(new) == view.replicas
        and _annotated(new, DESIRED_REPLICAS) == view.replicas
        and ReplicaSetView(new).available_replicas == view.replicas
    )


def _annotated(replica_set: Object, annotation: str) -> int | None:
    text = meta.annotations_of(replica_set).get(annotation, "")
    return int(text) if text.isdecimal() and int(text) < 2**31 else None
