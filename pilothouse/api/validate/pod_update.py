"""What may change in a pod, and what may be added to it. Source: `pkg/apis/core/validation/validation.go`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pilothouse.api import names
from pilothouse.api.path import FieldError, Path, field_forbidden, invalid, required
from pilothouse.api.validate.container import check_image_trimmed
from pilothouse.api.validate.difference import difference
from pilothouse.api.validate.pod import MIRROR, validate_pod
from pilothouse.api.validate.scheduling import check_tolerations
from pilothouse.api.validate.shown import NODE_SELECTOR_TERM, shown, shown_list
from pilothouse.api.validate.values import Errors, Part

_APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
_UPDATABLE = (
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to "
    "existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_METADATA = Path("metadata")
_SPEC = Path("spec")


def validate_changed_pod(new: Part, old: Part) -> list[FieldError]:
    """Faults in a pod that takes the place of `old`, and in the change.

    Most changes are of labels, owners and finalizers: then the spec and the annotations are what they were found to be before.
    """
    if new.get("spec") == old.get("spec") and new["metadata"].get("annotations") == old["metadata"].get("annotations"):
        return []
    return [*validate_pod(new), *validate_pod_update(new, old)]


def validate_pod_update(new: Part, old: Part) -> list[FieldError]:
    """Faults in a change of a pod through the pod itself: hardly anything of its spec may change."""
    errors: Errors = []
    check_annotation_changes(new["metadata"], old["metadata"], errors)
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    if spec == before:
        return errors
    for field in ("containers", "initContainers"):
        now, then = spec.get(field) or (), before.get(field) or ()
        if len(now) != len(then):
            errors.append(field_forbidden(_SPEC.child(field), "pod updates may not add or remove containers"))
            return errors
        for i, container in enumerate(now):
            if not container.get("image"):
                errors.append(required(_SPEC.child(field).index(i).child("image")))
            check_image_trimmed(container, _SPEC.child(field).index(i), errors)
    if not _check_deadline(spec, before, errors):
        return errors
    _check_tolerations(spec.get("tolerations") or (), before.get("tolerations") or (), errors)
    _check_gates(spec.get("schedulingGates") or (), before.get("schedulingGates") or (), errors)
    unchanged = _with_allowed_changes_undone(spec, before)
    if before.get("schedulingGates"):
        unchanged = _check_gated_placement(unchanged, before, errors)
    if unchanged != before:
        text = f"pod updates may not change fields other than {_UPDATABLE}\n{difference(before, unchanged)}"
        errors.append(field_forbidden(_SPEC, text))
    return errors


def check_annotation_changes(new: Part, old: Part, errors: Errors) -> None:
    """AppArmor and mirror annotations stay as they are; takes the metadata of both."""
    now: Mapping[str, str] = new.get("annotations") or {}
    then: Mapping[str, str] = old.get("annotations") or {}
    if now == then:
        return
    path = _METADATA.child("annotations")
    for key, value in then.items():
        if now.get(key) == value:
            continue
        if key.startswith(_APP_ARMOR):
            errors.append(field_forbidden(path.key(key), "may not remove or update AppArmor annotations"))
        if key == MIRROR:
            errors.append(field_forbidden(path.key(key), "may not remove or update mirror pod annotation"))
    for key in now:
        if key in then:
            continue
        if key.startswith(_APP_ARMOR):
            errors.append(field_forbidden(path.key(key), "may not add AppArmor annotations"))
        if key == MIRROR:
            errors.append(field_forbidden(path.key(key), "may not add mirror pod annotation"))


def _check_deadline(spec: Part, before: Part, errors: Errors) -> bool:
    """A deadline may be set and shortened. Says whether the rest is worth looking at."""
    path = _SPEC.child("activeDeadlineSeconds")
    now, then = spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")
    if now is None:
        if then is not None:
            errors.append(invalid(path, None, "must not update from a positive integer to nil value"))
        return True
    if not 0 <= now <= 2**31 - 1:
        errors.append(invalid(path, now, names.between(0, 2**31 - 1)))
        return False
    if then is not None and then < now:
        errors.append(invalid(path, now, "must be less than or equal to previous value"))
        return False
    return True


def _check_tolerations(now: Sequence[Part], then: Sequence[Part], errors: Errors) -> None:
    """Tolerations may be added, and how long they hold may change."""
    kept = [_without(toleration, "tolerationSeconds") for toleration in now]
    if any(_without(toleration, "tolerationSeconds") not in kept for toleration in then):
        text = "existing toleration can not be modified except its tolerationSeconds"
        errors.append(field_forbidden(_SPEC.child("tolerations"), text))
    elif now != then:
        check_tolerations(now, _SPEC.child("tolerations"), errors)


def _check_gates(now: Sequence[Part], then: Sequence[Part], errors: Errors) -> None:
    known = {gate.get("name") for gate in then}
    for i, gate in enumerate(now):
        if gate.get("name") not in known:
            text = f"only deletion is allowed, but found new scheduling gate '{gate.get('name', '')}'"
            errors.append(field_forbidden(_SPEC.child("schedulingGates").index(i).child("name"), text))


def _without(part: Part, field: str) -> dict[str, Any]:
    return {key: value for key, value in part.items() if key != field}


def _put(spec: dict[str, Any], before: Part, field: str) -> None:
    """Give `spec` the field as it was."""
    if field in before:
        spec[field] = before[field]
    else:
        spec.pop(field, None)


def _with_allowed_changes_undone(spec: Part, before: Part) -> dict[str, Any]:
    undone = dict(spec)
    for field in ("containers", "initContainers"):
        if field in spec:
            undone[field] = [
                {**container, "image": old.get("image")}
                for container, old in zip(spec[field], before.get(field) or (), strict=True)
            ]
    for field in ("activeDeadlineSeconds", "schedulingGates", "tolerations"):
        _put(undone, before, field)
    if before.get("terminationGracePeriodSeconds", 0) < 0 and spec.get("terminationGracePeriodSeconds") == 1:
        undone["terminationGracePeriodSeconds"] = before["terminationGracePeriodSeconds"]
    return undone


def _check_gated_placement(spec: dict[str, Any], before: Part, errors: Errors) -> dict[str, Any]:
    """A pod that waits at a gate may be placed more narrowly than before; returns `spec` without that change."""
    undone = dict(spec)
    now, then = spec.get("nodeSelector") or {}, before.get("nodeSelector") or {}
    if any(now.get(key) != value for key, value in then.items()):
        text = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
        errors.append(invalid(_SPEC.child("nodeSelector"), now, text))
    _put(undone, before, "nodeSelector")
    affinity, affinity_then = spec.get("affinity") or {}, before.get("affinity") or {}
    node, node_then = affinity.get("nodeAffinity"), affinity_then.get("nodeAffinity")
    if node != node_then:
        _check_terms(node or {}, node_then or {}, errors)
        merged = _without(affinity, "nodeAffinity")
        if node_then is not None:
            merged["nodeAffinity"] = node_then
        undone["affinity"] = merged
        if not merged and "affinity" not in before:
            del undone["affinity"]
    return undone


def _check_terms(affinity: Part, before: Part, errors: Errors) -> None:
    now = (affinity.get(_REQUIRED) or {}).get("nodeSelectorTerms") or []
    then = (before.get(_REQUIRED) or {}).get("nodeSelectorTerms") or []
    path = _SPEC.child("affinity", "nodeAffinity", _REQUIRED, "nodeSelectorTerms")
    if not then:
        return
    if len(now) != len(then):
        text = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        errors.append(invalid(path, shown_list(now, NODE_SELECTOR_TERM) if now else None, text))
        return
    for i, (term, old) in enumerate(zip(now, then, strict=True)):
        grown = bool(old) or not term
        for field in ("matchExpressions", "matchFields"):
            kept = old.get(field) or []
            grown = grown and (term.get(field) or [])[: len(kept)] == kept
        if not grown:
            errors.append(
                invalid(
                    path.index(i),
                    shown(term, NODE_SELECTOR_TERM),
                    "only additions are allowed (no mutations or deletions)",
                )
            )


def validate_ephemeral_containers_update(new: Part, old: Part) -> list[FieldError]:
    """Faults in a change through the subresource `ephemeralcontainers`: containers may only be added. The whole pod is checked as well."""
    errors = validate_pod(new)
    check_annotation_changes(new["metadata"], old["metadata"], errors)
    if MIRROR in (old["metadata"].get("annotations") or ()):
        return [field_forbidden(Path("[]"), "static pods do not support ephemeral containers")]
    path = _SPEC.child("ephemeralContainers")
    now = {each.get("name"): each for each in (new.get("spec") or {}).get("ephemeralContainers") or ()}
    for container in (old.get("spec") or {}).get("ephemeralContainers") or ():
        name = container.get("name", "")
        if name not in now:
            errors.append(field_forbidden(path, f'existing ephemeral containers "{name}" may not be removed\n'))
        elif now[name] != container:
            text = f'existing ephemeral containers "{name}" may not be changed\n{difference(container, now[name])}'
            errors.append(field_forbidden(path, text))
    return errors
