"""What all objects share: keys, owners, conditions, timestamps.

Objects are plain dicts as decoded from JSON. The functions here read them, or return new values; none changes its argument
unless its docstring says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NewType

from pilothouse.api.gvr import GVR

Object = dict[str, Any]
"""An API object as JSON decodes it."""

UID = NewType("UID", str)
NodeName = NewType("NodeName", str)


def name_of(obj: Mapping[str, Any]) -> str:
    name: str = obj["metadata"]["name"]
    return name


def namespace_of(obj: Mapping[str, Any]) -> str:
    """The object's namespace; empty for a cluster-scoped object."""
    namespace: str = obj["metadata"].get("namespace", "")
    return namespace


def uid_of(obj: Mapping[str, Any]) -> UID:
    return UID(obj["metadata"].get("uid", ""))


def key_of(obj: Mapping[str, Any]) -> str:
    """`namespace/name`, or `name` for a cluster-scoped object."""
    return join_key(namespace_of(obj), name_of(obj))


def join_key(namespace: str, name: str) -> str:
    return f"{namespace}/{name}" if namespace else name


def split_key(key: str) -> tuple[str, str]:
    """`(namespace, name)` of a key; the namespace is empty for a cluster-scoped object."""
    namespace, separator, name = key.rpartition("/")
    return (namespace, name) if separator else ("", key)


def labels_of(obj: Mapping[str, Any]) -> Mapping[str, str]:
    labels: Mapping[str, str] = obj["metadata"].get("labels") or {}
    return labels


def annotations_of(obj: Mapping[str, Any]) -> Mapping[str, str]:
    annotations: Mapping[str, str] = obj["metadata"].get("annotations") or {}
    return annotations


def is_deleting(obj: Mapping[str, Any]) -> bool:
    return "deletionTimestamp" in obj["metadata"]


# Owners


def owners_of(obj: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    owners: Sequence[Mapping[str, Any]] = obj["metadata"].get("ownerReferences") or ()
    return owners


def controller_of(obj: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The owner reference with `controller: true`, if there is one."""
    return next((owner for owner in owners_of(obj) if owner.get("controller")), None)


def is_controlled_by(obj: Mapping[str, Any], owner: Mapping[str, Any]) -> bool:
    controller = controller_of(obj)
    return controller is not None and controller.get("uid") == uid_of(owner)


def controller_reference(owner: Mapping[str, Any], gvr: GVR) -> Object:
    """The owner reference by which `owner`, of kind `gvr`, controls an object."""
    return {
        "apiVersion": gvr.api_version,
        "kind": gvr.kind,
        "name": name_of(owner),
        "uid": uid_of(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def object_reference(obj: Mapping[str, Any], gvr: GVR) -> Object:
    """The ObjectReference by which an event names `obj`."""
    reference = {"kind": gvr.kind, "name": name_of(obj), "uid": uid_of(obj), "apiVersion": gvr.api_version}
    if namespace := namespace_of(obj):
        reference["namespace"] = namespace
    if revision := obj["metadata"].get("resourceVersion"):
        reference["resourceVersion"] = revision
    return reference


# Conditions


def condition_of(conditions: Iterable[Mapping[str, Any]] | None, type_: str) -> Mapping[str, Any] | None:
    return next((condition for condition in conditions or () if condition["type"] == type_), None)


def is_condition_true(conditions: Iterable[Mapping[str, Any]] | None, type_: str) -> bool:
    condition = condition_of(conditions, type_)
    return condition is not None and condition["status"] == "True"


def with_condition(
    conditions: Sequence[Mapping[str, Any]] | None, condition: Mapping[str, Any], now: float
) -> list[Object]:
    """`conditions` with `condition` put in the place of the one of its type, or added at the end.

    `lastTransitionTime` becomes `now` if the status changes and stays otherwise.
    """
    previous = condition_of(conditions, condition["type"])
    changed = previous is None or previous["status"] != condition["status"]
    since = format_time(now) if changed or previous is None else previous.get("lastTransitionTime", format_time(now))
    updated = {**condition, "lastTransitionTime": since}
    if previous is None:
        return [*(dict(other) for other in conditions or ()), updated]
    return [updated if other is previous else dict(other) for other in conditions or ()]


# Timestamps


def format_time(seconds: float) -> str:
    """`metav1.Time`: RFC 3339 in UTC with whole seconds."""
    return _format_second(int(seconds))


@lru_cache(maxsize=16)
def _format_second(second: int) -> str:
    # Not strftime, whose %Y does not pad the years before 1000: clients send year 1 as their zero time.
    return datetime.fromtimestamp(second, UTC).isoformat().removesuffix("+00:00") + "Z"


def format_micro_time(seconds: float) -> str:
    """`metav1.MicroTime`: RFC 3339 in UTC with microseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def parse_time(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 timestamp. Raises ValueError."""
    return datetime.fromisoformat(text).timestamp()
