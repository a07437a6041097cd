"""The resize of a running pod: cpu and memory may change, nothing else. Source: `pkg/apis/core/validation/validation.go`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilothouse.api.path import FieldError, Path, field_forbidden, invalid
from pilothouse.api.qos import qos_class
from pilothouse.api.validate.pod import MIRROR, validate_pod
from pilothouse.api.validate.pod_update import check_annotation_changes
from pilothouse.api.validate.values import Errors, Part

_RESIZABLE = ("cpu", "memory")
_ONLY = "only cpu and memory resources are mutable"
_SPEC = Path("spec")
_NONE: Mapping[str, Any] = {}


def validate_pod_resize(new: Part, old: Part) -> list[FieldError]:
    """Faults in a change through the subresource `resize`. The whole pod is checked as well."""
    errors = validate_pod(new)
    check_annotation_changes(new["metadata"], old["metadata"], errors)
    spec, before = new.get("spec") or _NONE, old.get("spec") or _NONE
    if MIRROR in (old["metadata"].get("annotations") or ()):
        return [field_forbidden(Path("[]"), "static pods cannot be resized")]
    if (before.get("os") or _NONE).get("name") == "windows":
        return [field_forbidden(Path("[]"), "windows pods cannot be resized")]
    was = (old.get("status") or _NONE).get("qosClass") or qos_class(before)
    if qos_class(spec) != was:
        shown = (new.get("status") or _NONE).get("qosClass", "")
        errors.append(invalid(_SPEC, shown, "Pod QOS Class may not change as a result of resizing"))
    if not _node_can_resize(old):
        errors.append(field_forbidden(_SPEC, "Pod running on node without support for resize"))
    undone = dict(spec)
    if spec.get("resources") or before.get("resources"):
        _check_pod_level(undone, before, errors)
    if _order_changes(spec, before, errors):
        return errors
    for field in ("initContainers", "containers"):
        if field in spec:
            undone[field] = _undone_containers(field, spec, before, errors)
    if not errors and undone != before:
        errors.append(field_forbidden(_SPEC, _ONLY))
    return errors


def _node_can_resize(pod: Part) -> bool:
    """Whether the kubelet reports what a running container has, as those do that can change it."""
    for status in (pod.get("status") or _NONE).get("containerStatuses") or ():
        if "running" in (status.get("state") or ()):
            return "resources" in status
    return True


def _check_pod_level(undone: dict[str, Any], before: Part, errors: Errors) -> None:
    path = _SPEC.child("resources")
    now, then = undone.get("resources"), before.get("resources")
    if then is not None:
        if now is None:
            errors.append(field_forbidden(path, "pod-level resources cannot be removed"))
            return
        for kind in ("requests", "limits"):
            if _removed(now.get(kind), then.get(kind)):
                text = f"pod-level resource {kind} cannot be removed"
                errors.append(field_forbidden(path.child(kind), text))
    kept = _with_amounts_of(now or _NONE, then or _NONE)
    if then is None and not kept:
        undone.pop("resources", None)
    else:
        undone["resources"] = kept
    if undone.get("resources") != then:
        errors.append(field_forbidden(_SPEC, f"{_ONLY} at pod-level"))


def _order_changes(spec: Part, before: Part, errors: Errors) -> bool:
    count = len(errors)
    for field in ("containers", "initContainers"):
        now, then = spec.get(field) or (), before.get(field) or ()
        if len(now) != len(then):
            errors.append(field_forbidden(_SPEC.child(field), f"{field} may not be added or removed on resize"))
            continue
        for i, (container, old) in enumerate(zip(now, then, strict=True)):
            if container.get("name") != old.get("name"):
                text = f"{field} may not be renamed or reordered on resize"
                errors.append(field_forbidden(_SPEC.child(field).index(i).child("name"), text))
    return len(errors) != count


def _undone_containers(field: str, spec: Part, before: Part, errors: Errors) -> list[dict[str, Any]]:
    """The containers with cpu and memory as they were; appends what else is at fault."""
    undone = []
    for i, (container, old) in enumerate(zip(spec[field], before.get(field) or (), strict=True)):
        path = _SPEC.child(field).index(i)
        now, then = container.get("resources") or _NONE, old.get("resources") or _NONE
        restarts = any(each.get("restartPolicy") == "RestartContainer" for each in container.get("resizePolicy") or ())
        if field == "initContainers" and restarts and container != old and container.get("restartPolicy") != "Always":
            text = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized"
            errors.append(field_forbidden(path, text))
        for kind in ("requests", "limits"):
            if _removed(now.get(kind), then.get(kind)):
                errors.append(field_forbidden(path.child("resources", kind), f"resource {kind} cannot be removed"))
        # Upstream forgets the claims, so that a container which has some cannot be resized.
        amounts = {kind: part for kind, part in _with_amounts_of(now, then).items() if kind != "claims"}
        kept = {**container, "resources": amounts}
        if "resources" not in old and not kept["resources"]:
            del kept["resources"]
        if kept != old:
            if field == "containers":
                errors.append(field_forbidden(_SPEC, _ONLY))
            else:
                text = "only cpu and memory resources for init or sidecar containers are mutable"
                errors.append(field_forbidden(path, text))
        undone.append(kept)
    return undone


def _removed(now: Part | None, then: Part | None) -> bool:
    return any(name not in (now or ()) for name in then or ())


def _with_amounts_of(now: Part, then: Part) -> dict[str, Any]:
    """`now` with the cpu and memory of `then`."""
    result = dict(now)
    for kind in ("requests", "limits"):
        amounts = {name: value for name, value in (now.get(kind) or {}).items() if name not in _RESIZABLE}
        amounts.update({name: value for name, value in (then.get(kind) or {}).items() if name in _RESIZABLE})
        if amounts:
            result[kind] = amounts
        else:
            result.pop(kind, None)
    return result
