"""The status of a pod, as the kubelet and the scheduler write it. Source: `pkg/apis/core/validation/validation.go`."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pilothouse.api import names
from pilothouse.api.path import FieldError, Path, Shown, duplicate, field_forbidden, invalid
from pilothouse.api.validate.container_status import check_container_statuses, check_extended_claim
from pilothouse.api.validate.pod_update import check_annotation_changes
from pilothouse.api.validate.values import Errors, Part, check_address, check_immutable, check_name, parse_address

_SYSTEM_CONDITIONS = ("PodScheduled", "Ready", "Initialized")
_NOT_AGAIN = "may not be transitioned to non-terminated state"
_STATUS = Path("status")
_CONDITIONS = _STATUS.child("conditions")
_QOS_CLASS = _STATUS.child("qosClass")
_ADDRESSES = {field: _STATUS.child(field) for field in ("podIPs", "hostIPs")}


def validate_pod_status_update(new: Part, old: Part) -> list[FieldError]:
    """Faults in a change of a pod's status."""
    errors: Errors = []
    check_annotation_changes(new["metadata"], old["metadata"], errors)
    status, before = new.get("status") or {}, old.get("status") or {}
    spec, spec_before = new.get("spec") or {}, old.get("spec") or {}
    for i, condition in enumerate(status.get("conditions") or ()):
        _check_condition(condition, i, errors)
    if spec.get("nodeName") != spec_before.get("nodeName"):
        errors.append(field_forbidden(_STATUS.child("nodeName"), "may not be changed directly"))
    nominated = status.get("nominatedNodeName")
    if nominated and nominated != before.get("nominatedNodeName"):
        here = _STATUS.child("nominatedNodeName")
        check_name(names.dns_subdomain, nominated, here, errors)
        if spec_before.get("nodeName"):
            errors.append(field_forbidden(here, "may not be set on pods that are already bound to a node"))
    if status.get("observedGeneration", 0) < 0:
        shown = status["observedGeneration"]
        errors.append(invalid(_STATUS.child("observedGeneration"), shown, "must be a non-negative integer"))
    check_immutable(status.get("qosClass"), before.get("qosClass"), _QOS_CLASS, errors)
    for field, containers in (
        ("containerStatuses", spec_before.get("containers")),
        ("initContainerStatuses", spec_before.get("initContainers")),
        ("ephemeralContainerStatuses", None),
    ):
        if before.get(field):
            _check_transitions(status.get(field) or (), before[field], containers, spec_before, field, errors)
    _check_claim_statuses(status, spec, errors)
    if (extended := status.get("extendedResourceClaimStatus")) is not None:
        check_extended_claim(extended, spec, errors)
    _check_addresses(status, before, errors)
    check_container_statuses(status, spec, errors)
    return errors


def _check_condition(condition: Part, i: int, errors: Errors) -> None:
    if condition.get("observedGeneration", 0) < 0:
        here, shown = _CONDITIONS.index(i).child("observedGeneration"), condition["observedGeneration"]
        errors.append(invalid(here, shown, "must be a non-negative integer"))
    if condition.get("type") not in _SYSTEM_CONDITIONS:
        check_name(names.label_key, condition.get("type", ""), _CONDITIONS.index(i).child("Type"), errors)


def _check_transitions(
    now: Sequence[Part], then: Sequence[Part], containers: Sequence[Part] | None, spec: Part, field: str, errors: Errors
) -> None:
    """A container that has ended runs again only if its policy lets it. `containers` is None for those that never do."""
    if not any("terminated" in (each.get("state") or ()) for each in then):
        return
    if containers is not None and _may_restart_all(spec):
        return
    running = {each.get("name") for each in now if "terminated" not in (each.get("state") or ())}
    for i, status in enumerate(then):
        ended = (status.get("state") or {}).get("terminated")
        if ended is None or status.get("name") not in running:
            continue
        container = next((each for each in containers or () if each.get("name") == status.get("name")), None)
        if container is None or not _should_restart(container, spec, ended.get("exitCode", 0)):
            errors.append(field_forbidden(_STATUS.child(field).index(i).child("state"), _NOT_AGAIN))


def _may_restart_all(spec: Part) -> bool:
    """Whether some container's end can make all containers start again."""
    return any(
        rule.get("action") == "RestartAllContainers"
        for field in ("initContainers", "containers")
        for container in spec.get(field) or ()
        for rule in container.get("restartPolicyRules") or ()
    )


def _should_restart(container: Part, spec: Part, exit_code: int) -> bool:
    for rule in container.get("restartPolicyRules") or ():
        codes = rule.get("exitCodes") or {}
        if (exit_code in (codes.get("values") or ())) is (codes.get("operator") == "In"):
            return True
    policy = container.get("restartPolicy") or spec.get("restartPolicy", "Always")
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def _check_claim_statuses(status: Part, spec: Part, errors: Errors) -> None:
    seen: set[str] = set()
    known = {claim.get("name") for claim in spec.get("resourceClaims") or ()}
    for i, claim in enumerate(status.get("resourceClaimStatuses") or ()):
        here, name = _STATUS.child("resourceClaimStatuses").index(i), claim.get("name", "")
        if name not in known:
            errors.append(invalid(here.child("name"), name, "must match the name of an entry in `spec.resourceClaims`"))
        if name in seen:
            errors.append(duplicate(here.child("name"), name))
        seen.add(name)
        if chosen := claim.get("resourceClaimName"):
            check_name(names.dns_subdomain, chosen, here.child("resourceClaimName"), errors)


def _check_addresses(status: Part, before: Part, errors: Errors) -> None:
    for field, here in _ADDRESSES.items():
        listed = status.get(field)
        if not listed or listed == before.get(field):
            continue
        addresses = [each.get("ip", "") for each in listed]
        if field == "hostIPs" and status.get("hostIP", "") != addresses[0]:
            errors.append(invalid(here.index(0).child("ip"), addresses[0], "must be equal to `hostIP`"))
        kept = [each.get("ip", "") for each in before.get(field) or ()]
        for i, address in enumerate(addresses):
            check_address(address, here.index(i), errors, kept)
        families = {parsed.version for address in addresses if (parsed := parse_address(address)) is not None}
        if len(addresses) > 1 and (len(families) < 2 or len(addresses) > 2):
            values = Shown(json.dumps([{"IP": each} for each in addresses], separators=(",", ":")))
            errors.append(invalid(here, values, "may specify no more than one IP for each IP family"))
