"""Kinds that keep pods running: Deployment, ReplicaSet, StatefulSet, DaemonSet, ReplicationController; and their history.

Source: `pkg/apis/apps/validation`.
"""

from __future__ import annotations

from typing import Any

from pilothouse.api import names, selector
from pilothouse.api.path import FieldError, Path, Shown, field_forbidden, invalid, not_supported, required
from pilothouse.api.status import BadRequest
from pilothouse.api.validate.claim import check_claim_spec
from pilothouse.api.validate.metadata import check_label_selector
from pilothouse.api.validate.pod import check_pod_template, check_template_labels
from pilothouse.api.validate.shown import label_selector, maybe, shown
from pilothouse.api.validate.values import (
    IMMUTABLE,
    Errors,
    Part,
    check_choice,
    check_immutable_field,
    check_int_or_percent,
    check_name,
    check_not_negative,
    check_not_over_100_percent,
    percent_of,
)

_SPEC = Path("spec")
_STATUS = Path("status")
_NO_MATCH = "`selector` does not match template `labels`"
_TOO_MANY = "cannot be greater than status.replicas"
_STATEFUL_CHANGES = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
_STATEFUL_MUTABLE = {
    "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
}  # fmt: skip


_ROLLING = {"MaxUnavailable": 0, "MaxSurge": 0}
_STRATEGY = {"Type": "", "RollingUpdate": maybe(_ROLLING)}
_PARTITION = {"Partition": 0, "MaxUnavailable": None}


def _shown_stateful(strategy: Part) -> Shown:
    return shown(strategy, {"Type": "", "RollingUpdate": maybe(_PARTITION)})


def _check_selector(
    spec: Part, kind: str, errors: Errors, *, unreadable: str | None = "invalid label selector"
) -> bool:
    """The selector must be there and not empty. Says whether it can be read; `unreadable` is what is said if not."""
    path, chosen = _SPEC.child("selector"), spec.get("selector")
    if chosen is None:
        errors.append(required(path))
        return True
    check_label_selector(chosen, path, errors)
    if _is_empty(chosen):
        errors.append(invalid(path, label_selector(chosen), f"empty selector is invalid for {kind}"))
    try:
        selector.from_object(chosen)
    except BadRequest:
        if unreadable is not None:
            errors.append(invalid(path, label_selector(chosen), unreadable))
        return False
    return True


def _check_template(spec: Part, kind: str, errors: Errors, *, template: Part | None = None) -> None:
    """The template's labels must match, and its pods must run for ever. `template` stands in for the spec's own."""
    path = _SPEC.child("template")
    given: Part = spec.get("template") or {}
    labels = (given.get("metadata") or {}).get("labels") or {}
    if not _matches(spec.get("selector"), labels, kind):
        errors.append(invalid(path.child("metadata", "labels"), labels or None, _NO_MATCH))
    if kind == "DaemonSet" and _is_empty(spec.get("selector")):
        text = "empty selector is invalid for daemonset"
        errors.append(invalid(_SPEC.child("selector"), label_selector(spec["selector"]), text))
    check_pod_template(given if template is None else template, path, errors)
    if kind == "StatefulSet":
        check_template_labels(given, path, errors)
    pod = given.get("spec") or {}
    if pod.get("restartPolicy") != "Always":
        errors.append(not_supported(path.child("spec", "restartPolicy"), pod.get("restartPolicy", ""), ("Always",)))
    if "activeDeadlineSeconds" in pod:
        text = f"activeDeadlineSeconds in {kind} is not Supported"
        errors.append(field_forbidden(path.child("spec", "activeDeadlineSeconds"), text))


def _is_empty(chosen: Part | None) -> bool:
    return chosen is not None and not chosen.get("matchLabels") and not chosen.get("matchExpressions")


def _matches(chosen: Part | None, labels: Part, kind: str) -> bool:
    """Whether the template's pods are selected. A DaemonSet without a selector selects none; other kinds have said so by now."""
    try:
        found = selector.from_object(chosen)
    except BadRequest:
        if kind == "DaemonSet":
            return True
        raise
    if kind == "DaemonSet" and chosen is None:
        return False
    return found.is_everything or found.matches(labels)


def _check_counts(status: Part, fields: tuple[str, ...], errors: Errors) -> None:
    for field in fields:
        check_not_negative(status, field, _STATUS, errors)


def _check_at_most(status: Part, fields: tuple[str, ...], errors: Errors, *, ready: str = "readyReplicas") -> None:
    """No count may be larger than `replicas`, nor may more be available than are ready."""
    for field in fields:
        if status.get(field, 0) > status.get("replicas", 0):
            errors.append(invalid(_STATUS.child(field), status.get(field, 0), _TOO_MANY))
    if status.get("availableReplicas", 0) > status.get("readyReplicas", 0):
        text = f"cannot be greater than {ready}"
        errors.append(invalid(_STATUS.child("availableReplicas"), status.get("availableReplicas", 0), text))


def _check_collisions(new: Part, old: Part, errors: Errors) -> None:
    now, then = new.get("collisionCount", 0), old.get("collisionCount")
    if then is not None and now < then:
        errors.append(invalid(_STATUS.child("collisionCount"), now, "cannot be decremented"))


def _share(value: int | str) -> int:
    """The number in a number or percentage; 0 for what is neither."""
    share = percent_of(value)
    if (
        share is None
        and isinstance(value, str)
        and value.removeprefix("-").isascii()
        and value.removeprefix("-").isdigit()
    ):
        return int(value)
    return share if share is not None else value if isinstance(value, int) else 0


# Deployment


def validate_deployment(deployment: Part) -> list[FieldError]:
    errors: Errors = []
    spec = deployment.get("spec") or {}
    check_not_negative(spec, "replicas", _SPEC, errors)
    if _check_selector(spec, "deployment", errors):
        _check_template(spec, "ReplicaSet", errors)
    _check_deployment_strategy(spec.get("strategy") or {}, _SPEC.child("strategy"), errors)
    for field in ("minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"):
        check_not_negative(spec, field, _SPEC, errors)
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline <= spec.get("minReadySeconds", 0):
        text = "must be greater than minReadySeconds"
        errors.append(invalid(_SPEC.child("progressDeadlineSeconds"), deadline, text))
    return errors


def _check_deployment_strategy(strategy: Part, path: Path, errors: Errors) -> None:
    kind, rolling = strategy.get("type", ""), strategy.get("rollingUpdate")
    here = path.child("rollingUpdate")
    if kind == "Recreate":
        if rolling is not None:
            text = "may not be specified when strategy `type` is 'Recreate'"
            errors.append(field_forbidden(here, text))
    elif kind == "RollingUpdate":
        if rolling is None:
            errors.append(required(here, "this should be defaulted and never be nil"))
            return
        unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
        check_int_or_percent(unavailable, here.child("maxUnavailable"), errors)
        check_int_or_percent(surge, here.child("maxSurge"), errors)
        if _share(unavailable) == 0 and _share(surge) == 0:
            text = "may not be 0 when `maxSurge` is 0"
            errors.append(invalid(here.child("maxUnavailable"), unavailable, text))
        check_not_over_100_percent(unavailable, here.child("maxUnavailable"), errors)
    else:
        errors.append(not_supported(path, shown(strategy, _STRATEGY), ("Recreate", "RollingUpdate")))


def validate_selector_update(new: Part, old: Part) -> list[FieldError]:
    """The selector of a Deployment, ReplicaSet or DaemonSet stays for good."""
    errors: Errors = []
    now, then = (new.get("spec") or {}).get("selector"), (old.get("spec") or {}).get("selector")
    if now != then:
        errors.append(invalid(_SPEC.child("selector"), label_selector(now), IMMUTABLE))
    return errors


def validate_deployment_status_update(new: Part, old: Part) -> list[FieldError]:
    errors: Errors = []
    status = new.get("status") or {}
    limited = ("updatedReplicas", "readyReplicas", "availableReplicas")
    counts = (
        "observedGeneration",
        "replicas",
        *limited,
        "unavailableReplicas",
        "terminatingReplicas",
        "collisionCount",
    )
    _check_counts(status, counts, errors)
    _check_at_most(status, limited, errors)
    _check_collisions(status, old.get("status") or {}, errors)
    return errors


# ReplicaSet and ReplicationController


def validate_replica_set(replica_set: Part) -> list[FieldError]:
    errors: Errors = []
    spec = replica_set.get("spec") or {}
    check_not_negative(spec, "replicas", _SPEC, errors)
    check_not_negative(spec, "minReadySeconds", _SPEC, errors)
    if _check_selector(spec, "deployment", errors):
        _check_template(spec, "ReplicaSet", errors)
    return errors


def validate_replica_set_status_update(new: Part, old: Part) -> list[FieldError]:
    """Also for a ReplicationController."""
    errors: Errors = []
    status = new.get("status") or {}
    limited = ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")
    _check_counts(status, ("replicas", *limited, "observedGeneration", "terminatingReplicas"), errors)
    _check_at_most(status, limited, errors)
    return errors


def validate_replication_controller(controller: Part) -> list[FieldError]:
    errors: Errors = []
    spec = dict(controller.get("spec") or {})
    check_not_negative(spec, "minReadySeconds", _SPEC, errors)
    if not spec.get("selector"):
        errors.append(required(_SPEC.child("selector")))
    if "replicas" not in spec:
        errors.append(required(_SPEC.child("replicas")))
    check_not_negative(spec, "replicas", _SPEC, errors)
    if "template" not in spec:
        errors.append(required(_SPEC.child("template")))
        return errors
    spec["selector"] = {"matchLabels": spec.get("selector") or {}}
    try:
        _check_template(spec, "ReplicationController", errors)
    except BadRequest:
        # A selector that no label can match is not told as such.
        labels = (spec["template"].get("metadata") or {}).get("labels")
        errors.append(invalid(_SPEC.child("template", "metadata", "labels"), labels, _NO_MATCH))
        spec["selector"] = {}
        _check_template(spec, "ReplicationController", errors)
    return errors


# StatefulSet


def validate_stateful_set(stateful_set: Part) -> list[FieldError]:
    errors: Errors = []
    spec = stateful_set.get("spec") or {}
    policy = spec.get("podManagementPolicy", "")
    if not policy:
        errors.append(required(_SPEC.child("podManagementPolicy")))
    elif policy not in ("OrderedReady", "Parallel"):
        text = "must be 'OrderedReady' or 'Parallel'"
        errors.append(invalid(_SPEC.child("podManagementPolicy"), policy, text))
    _check_stateful_strategy(spec.get("updateStrategy") or {}, _SPEC.child("updateStrategy"), errors)
    retention = spec.get("persistentVolumeClaimRetentionPolicy")
    if retention is not None:
        for field in ("whenDeleted", "whenScaled"):
            here = _SPEC.child("persistentVolumeClaimRetentionPolicy", field)
            check_choice(retention.get(field, ""), ("Retain", "Delete"), here, errors)
    if "resourceVersion" not in stateful_set["metadata"]:
        for i, claim in enumerate(spec.get("volumeClaimTemplates") or ()):
            check_claim_spec(
                claim.get("spec") or {}, _SPEC.child("volumeClaimTemplates").index(i).child("spec"), errors
            )
        if service := spec.get("serviceName"):
            check_name(names.dns_label, service, _SPEC.child("serviceName"), errors)
    check_not_negative(spec, "replicas", _SPEC, errors)
    check_not_negative(spec, "minReadySeconds", _SPEC, errors)
    start = (spec.get("ordinals") or {}).get("start", 0)
    check_not_negative({"ordinals.start": start}, "ordinals.start", _SPEC, errors)
    if _check_selector(spec, "statefulset", errors, unreadable=""):
        _check_template(spec, "StatefulSet", errors, template=_with_claims(spec))
    return errors


def _with_claims(spec: Part) -> dict[str, Any]:
    """The template as its pods will be: with the volumes of the claims, and with host names that the controller sets."""
    template = dict(spec.get("template") or {})
    pod = {key: value for key, value in (template.get("spec") or {}).items() if key not in ("hostname", "subdomain")}
    listed = spec.get("volumeClaimTemplates") or ()
    claims = list(dict.fromkeys((claim.get("metadata") or {}).get("name", "") for claim in listed))
    if claims:
        own = [volume for volume in pod.get("volumes") or () if volume.get("name") not in claims]
        pod["volumes"] = [*({"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims), *own]
    template["spec"] = pod
    return template


def _check_stateful_strategy(strategy: Part, path: Path, errors: Errors) -> None:
    kind, rolling = strategy.get("type", ""), strategy.get("rollingUpdate")
    here = path.child("rollingUpdate")
    if not kind:
        errors.append(required(path))
    elif kind == "OnDelete":
        if rolling is not None:
            text = "only allowed for updateStrategy 'RollingUpdate'"
            errors.append(invalid(here, shown(rolling, _PARTITION), text))
    elif kind != "RollingUpdate":
        errors.append(invalid(path, _shown_stateful(strategy), "must be 'RollingUpdate' or 'OnDelete'"))
    elif rolling is not None:
        check_not_negative(rolling, "partition", here, errors)
        unavailable = rolling.get("maxUnavailable")
        if unavailable is not None:
            check_int_or_percent(unavailable, here.child("maxUnavailable"), errors)
            if _share(unavailable) == 0:
                errors.append(invalid(here.child("maxUnavailable"), unavailable, "cannot be 0"))
            check_not_over_100_percent(unavailable, here.child("maxUnavailable"), errors)


def validate_stateful_set_update(new: Part, old: Part) -> list[FieldError]:
    now, then = new.get("spec") or {}, old.get("spec") or {}
    fields = ({*now} | {*then}) - _STATEFUL_MUTABLE
    if all(now.get(field) == then.get(field) for field in fields):
        return []
    return [field_forbidden(_SPEC, _STATEFUL_CHANGES)]


def validate_stateful_set_status_update(new: Part, old: Part) -> list[FieldError]:
    errors: Errors = []
    status = new.get("status") or {}
    limited = ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
    _check_counts(status, ("replicas", *limited, "observedGeneration", "collisionCount"), errors)
    _check_at_most(status, limited, errors, ready="status.readyReplicas")
    _check_collisions(status, old.get("status") or {}, errors)
    return errors


# DaemonSet


def validate_daemon_set(daemon_set: Part) -> list[FieldError]:
    errors: Errors = []
    spec = daemon_set.get("spec") or {}
    if (chosen := spec.get("selector")) is not None:
        check_label_selector(chosen, _SPEC.child("selector"), errors)
    _check_template(spec, "DaemonSet", errors)
    check_not_negative(spec, "minReadySeconds", _SPEC, errors)
    strategy, path = spec.get("updateStrategy") or {}, _SPEC.child("updateStrategy")
    kind, rolling = strategy.get("type", ""), strategy.get("rollingUpdate")
    if kind == "RollingUpdate":
        if rolling is None:
            errors.append(required(path.child("rollingUpdate")))
        else:
            _check_daemon_rolling(rolling, path.child("rollingUpdate"), errors)
    elif kind != "OnDelete":
        errors.append(not_supported(path, shown(strategy, _STRATEGY), ("RollingUpdate", "OnDelete")))
    check_not_negative(spec, "revisionHistoryLimit", _SPEC, errors)
    return errors


def _check_daemon_rolling(rolling: Part, path: Path, errors: Errors) -> None:
    unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    for field, value in (("maxUnavailable", unavailable), ("maxSurge", surge)):
        check_int_or_percent(value, path.child(field), errors)
        check_not_over_100_percent(value, path.child(field), errors)
    if _share(unavailable) and _share(surge):
        errors.append(invalid(path.child("maxSurge"), surge, "may not be set when maxUnavailable is non-zero"))
    elif not _share(unavailable) and not _share(surge):
        errors.append(required(path.child("maxUnavailable"), "cannot be 0 when maxSurge is 0"))


def validate_daemon_set_status_update(new: Part, old: Part) -> list[FieldError]:
    errors: Errors = []
    status = new.get("status") or {}
    counts = (
        "currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady", "observedGeneration",
        "updatedNumberScheduled", "numberAvailable", "numberUnavailable", "collisionCount",
    )  # fmt: skip
    _check_counts(status, counts, errors)
    _check_collisions(status, old.get("status") or {}, errors)
    return errors


# ControllerRevision and PodTemplate


def validate_controller_revision(revision: Part) -> list[FieldError]:
    errors: Errors = []
    check_not_negative(revision, "revision", Path(), errors)
    if "resourceVersion" not in revision["metadata"]:
        data = revision.get("data")
        if data is None:
            errors.append(required(Path("data"), "data is mandatory"))
        elif not isinstance(data, dict):
            errors.append(required(Path("data"), "data must be a valid JSON object"))
    return errors


def validate_controller_revision_update(new: Part, old: Part) -> list[FieldError]:
    errors: Errors = []
    check_immutable_field(new, old, "data", Path(), errors)
    return errors


def validate_pod_template(template: Part) -> list[FieldError]:
    errors: Errors = []
    check_pod_template(template.get("template") or {}, Path("template"), errors)
    return errors
