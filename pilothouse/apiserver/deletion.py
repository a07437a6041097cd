"""What a deletion does to one object, decided from the object, the options and the time alone.

Source: apiserver `pkg/registry/rest/delete.go`, `pkg/registry/generic/registry/store.go`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pilothouse.api.meta import Object, format_time, parse_time
from pilothouse.api.resource import Dependents, Resource
from pilothouse.api.status import conflict
from pilothouse.apiserver.options import DeleteOptions

ORPHAN_FINALIZER = "orphan"
FOREGROUND_FINALIZER = "foregroundDeletion"


class Step(Enum):
    REMOVE = "remove"
    """Take the object out of the store."""
    MARK = "mark"
    """Write the object with its deletion's marks; a finalizer or the kubelet removes it later."""
    MARK_THEN_REMOVE = "mark, then remove"
    """Graceful deletion with a period of zero: watchers see the marks first."""
    NOTHING = "nothing"
    """The deletion is under way and the request would not shorten it."""


@dataclass(frozen=True, slots=True)
class DeletePlan:
    """What to do. `metadata` is that of the object after it, for MARK and MARK_THEN_REMOVE."""

    step: Step
    metadata: Object


def check_preconditions(resource: Resource, metadata: Mapping[str, Any], revision: str, options: DeleteOptions) -> None:
    """Raises Conflict if the object is not the one that the client means."""
    gvr = resource.gvr
    if options.uid is not None and options.uid != metadata.get("uid"):
        why = (
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({metadata.get('uid', '')}). "
            "The object might have been deleted and then recreated"
        )
        raise conflict(gvr.kind, gvr.group, metadata["name"], why)
    if options.resource_version is not None and options.resource_version != revision:
        why = (
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match the ResourceVersion in record "
            f"({revision}). The object might have been modified"
        )
        raise conflict(gvr.kind, gvr.group, metadata["name"], why)


def plan_deletion(resource: Resource, obj: Mapping[str, Any], options: DeleteOptions, now: float) -> DeletePlan:
    """`obj` is what is stored."""
    metadata: Object = dict(obj["metadata"])
    requested = options.grace_period_s
    if requested is not None and requested < 0:
        requested = 1
    graceful = False
    if resource.grace_period_s is not None:
        if "deletionTimestamp" in metadata:
            present = metadata.get("deletionGracePeriodSeconds") or 0
            if present:
                present = max(present, 1)
                if requested is None or requested >= present:
                    return DeletePlan(Step.NOTHING, metadata)
                _shorten(metadata, present, requested, now)
                graceful = True
        else:
            grace = resource.grace_period_s(obj, requested)
            metadata["deletionTimestamp"] = format_time(now + grace)
            metadata["deletionGracePeriodSeconds"] = grace
            _count_change(metadata)
            graceful = True
    finalizers = _finalizers(resource, metadata.get("finalizers") or (), options)
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)
    is_held = resource.is_held(obj)
    if graceful:
        stays = finalizers or is_held or metadata["deletionGracePeriodSeconds"] > 0
        return DeletePlan(Step.MARK if stays else Step.MARK_THEN_REMOVE, metadata)
    if not finalizers and not is_held:
        return DeletePlan(Step.REMOVE, metadata)
    if "deletionTimestamp" not in metadata:
        _count_change(metadata)
        metadata["deletionTimestamp"] = format_time(now)
    elif parse_time(metadata["deletionTimestamp"]) > now:
        metadata["deletionTimestamp"] = format_time(now)
    if finalizers:
        metadata["deletionGracePeriodSeconds"] = 0
    return DeletePlan(Step.MARK, metadata)


def is_removed_by_update(resource: Resource, new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Whether an update takes away the last that kept a deleted object."""
    metadata = old["metadata"]
    return (
        "deletionTimestamp" in metadata
        and not new["metadata"].get("finalizers")
        and not metadata.get("deletionGracePeriodSeconds")
        and not resource.is_held(new)
    )


def _shorten(metadata: Object, present: int, grace: int, now: float) -> None:
    end = parse_time(metadata["deletionTimestamp"]) - present + grace
    if end < now:
        end = now
        if grace:
            grace = 1
    metadata["deletionTimestamp"] = format_time(end)
    metadata["deletionGracePeriodSeconds"] = grace


def _finalizers(resource: Resource, present: Sequence[str], options: DeleteOptions) -> list[str]:
    orphan, foreground = _propagation(resource.dependents, present, options)
    finalizers = [name for name in present if name not in (ORPHAN_FINALIZER, FOREGROUND_FINALIZER)]
    if orphan:
        finalizers.append(ORPHAN_FINALIZER)
    if foreground:
        finalizers.append(FOREGROUND_FINALIZER)
    return list(present) if set(finalizers) == set(present) else finalizers


def _propagation(dependents: Dependents, present: Sequence[str], options: DeleteOptions) -> tuple[bool, bool]:
    """Whether dependents are orphaned, and whether they are deleted first.

    Options count more than finalizers already there, and these more than what the kind does by itself.
    """
    if dependents is Dependents.NONE:
        return False, False
    if options.orphan_dependents is not None:
        return options.orphan_dependents, False
    if options.propagation is not None:
        return options.propagation == "Orphan", options.propagation == "Foreground"
    for name in present:
        if name == ORPHAN_FINALIZER:
            return True, False
        if name == FOREGROUND_FINALIZER:
            return False, True
    return dependents is Dependents.ORPHANED, False


def _count_change(metadata: Object) -> None:
    if metadata.get("generation", 0) > 0:
        metadata["generation"] += 1
