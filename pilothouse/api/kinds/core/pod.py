"""Pod. Source: upstream `pkg/registry/core/pod/strategy.go` and the pod's table in `pkg/printers`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilothouse.api import gvr
from pilothouse.api.kinds import disabled_fields, pod_warnings
from pilothouse.api.kinds.columns import AGE, NAME, NONE, View, at, flag_of, value_of, wide
from pilothouse.api.kinds.core import pod_state
from pilothouse.api.meta import Object
from pilothouse.api.resource import STATUS, Column, MetadataChecks, Resource, Subresource
from pilothouse.kit.deferred import Deferred

_GATED = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "SchedulingGated",
    "message": "Scheduling is blocked due to non-empty scheduling gates",
}


def _prepare_create(draft: Object) -> None:
    from pilothouse.api.qos import qos_class

    spec = draft.setdefault("spec", {})
    status: Object = {"phase": "Pending", "qosClass": qos_class(spec)}
    if spec.get("schedulingGates"):
        now = draft["metadata"].get("creationTimestamp")
        status["conditions"] = [{**_GATED, "lastProbeTime": None, "lastTransitionTime": now}]
    draft["status"] = status
    if account := spec.get("serviceAccountName"):
        spec["serviceAccount"] = account
    labels = draft["metadata"].get("labels") or {}
    for constraint in spec.get("topologySpreadConstraints") or ():
        _merge_label_keys(constraint, labels)
    affinity = spec.get("affinity") or {}
    for which in ("podAffinity", "podAntiAffinity"):
        terms = affinity.get(which) or {}
        for term in terms.get("requiredDuringSchedulingIgnoredDuringExecution") or ():
            _merge_label_keys(term, labels)
        for preferred in terms.get("preferredDuringSchedulingIgnoredDuringExecution") or ():
            _merge_label_keys(preferred.get("podAffinityTerm") or {}, labels)


def _merge_label_keys(term: Object, labels: Mapping[str, str]) -> None:
    """`matchLabelKeys` and `mismatchLabelKeys` become requirements on the pod's own values (KEP-3633, KEP-3243)."""
    label_selector = term.get("labelSelector")
    if label_selector is None:
        return
    for keys, operator in (("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")):
        for key in term.get(keys) or ():
            if key in labels:
                requirement = {"key": key, "operator": operator, "values": [labels[key]]}
                label_selector["matchExpressions"] = [*(label_selector.get("matchExpressions") or ()), requirement]


def _prepare_update(draft: Object, old: View) -> None:
    """That there is no overhead is refused of a new pod only."""
    spec = draft.get("spec")
    if spec and spec.get("overhead") == {}:
        del spec["overhead"]


def _prepare_status_update(draft: Object, old: View) -> None:
    """Owners are not for the status; what an old kubelet forgets stays."""
    owners = old["metadata"].get("ownerReferences")
    if owners is None:
        draft["metadata"].pop("ownerReferences", None)
    else:
        draft["metadata"]["ownerReferences"] = owners
    status, before = draft.setdefault("status", {}), old.get("status") or {}
    for key in ("qosClass", "observedGeneration"):
        if not status.get(key) and before.get(key):
            status[key] = before[key]
    observed = {condition["type"]: condition.get("observedGeneration") for condition in before.get("conditions") or ()}
    for condition in status.get("conditions") or ():
        if not condition.get("observedGeneration") and (generation := observed.get(condition.get("type"))):
            condition["observedGeneration"] = generation


def _grace_period_s(pod: View, requested: int | None) -> int:
    """Nothing waits for a pod that is on no node or has ended. Else the client's word counts more than the pod's."""
    if not at(pod, "spec", "nodeName") or at(pod, "status", "phase") in ("Failed", "Succeeded"):
        return 0
    period = requested if requested is not None else at(pod, "spec", "terminationGracePeriodSeconds") or 0
    return 1 if period < 0 else int(period)


def _pod_ip(pod: View) -> str:
    addresses = at(pod, "status", "podIPs")
    return str(addresses[0].get("ip", "")) if addresses else ""


_OVER = {"Succeeded": "The pod has completed successfully.", "Failed": "The pod failed."}


def _row_conditions(pod: View) -> list[Object]:
    phase = at(pod, "status", "phase")
    if phase not in _OVER:
        return []
    return [{"type": "Completed", "status": "True", "reason": phase, "message": _OVER[phase]}]


def _readiness_gates(pod: View) -> str:
    gates = at(pod, "spec", "readinessGates") or ()
    if not gates:
        return NONE
    states = {condition["type"]: condition["status"] for condition in reversed(at(pod, "status", "conditions") or ())}
    met = sum(states.get(gate.get("conditionType")) == "True" for gate in gates)
    return f"{met}/{len(gates)}"


def _summary(what: str) -> Any:
    return lambda pod, now: getattr(pod_state.summary(pod, now), what)


def _warnings(pod: View) -> list[str]:
    """Of a new pod only: people seldom change one by hand, and components do so often."""
    named = pod_warnings.of_name(pod, is_pod=True)
    return named + pod_warnings.of_pod(pod.get("spec") or {}, pod["metadata"])


POD = Resource(
    gvr.PODS,
    metadata_checks=MetadataChecks.BOTH,
    short_names=("po",),
    categories=("all",),
    subresources=(
        Subresource("attach", ("create", "get"), kind="PodAttachOptions", version="v1"),
        Subresource("binding", ("create",), kind="Binding", version="v1"),
        Subresource("ephemeralcontainers"),
        Subresource("eviction", ("create",), kind="Eviction", group="policy", version="v1"),
        Subresource("exec", ("create", "get"), kind="PodExecOptions", version="v1"),
        Subresource("log", ("get",)),
        Subresource("portforward", ("create", "get"), kind="PodPortForwardOptions", version="v1"),
        Subresource(
            "proxy",
            ("create", "delete", "get", "patch", "update"),
            kind="PodProxyOptions",
            version="v1",
            passes_methods=True,
        ),
        Subresource("resize"),
        STATUS,
    ),
    selectable={
        "spec.nodeName": value_of("spec", "nodeName"),
        "spec.host": value_of("spec", "nodeName"),
        "spec.restartPolicy": value_of("spec", "restartPolicy"),
        "spec.schedulerName": value_of("spec", "schedulerName"),
        "spec.serviceAccountName": value_of("spec", "serviceAccountName"),
        "spec.hostNetwork": flag_of("spec", "hostNetwork"),
        "status.phase": value_of("status", "phase"),
        "status.podIP": _pod_ip,
        "status.podIPs": _pod_ip,
        "status.nominatedNodeName": value_of("status", "nominatedNodeName"),
    },
    row_conditions=_row_conditions,
    columns=(
        NAME,
        Column("Ready", _summary("ready"), description="How many containers are ready, of how many."),
        Column("Status", _summary("status"), description="The pod's state, by its containers'."),
        Column("Restarts", _summary("restarts"), description="How often containers were restarted, and when last."),
        AGE,
        wide("IP", lambda pod: _pod_ip(pod) or NONE, "The pod's address."),
        wide("Node", lambda pod: at(pod, "spec", "nodeName") or NONE, "The node it runs on."),
        wide("Nominated Node", lambda pod: at(pod, "status", "nominatedNodeName") or NONE, "Where room is being made."),
        wide("Readiness Gates", _readiness_gates, "How many readiness gates are met, of how many."),
    ),
    drop_disabled=disabled_fields.of_pods(),
    prepare_create=_prepare_create,
    prepare_update=_prepare_update,
    prepare_status_update=_prepare_status_update,
    validate=Deferred("pilothouse.api.validate.pod", "validate_pod"),
    validate_update=Deferred("pilothouse.api.validate.pod_update", "validate_changed_pod"),
    ratchets=True,
    validate_status_update=Deferred("pilothouse.api.validate.pod_status", "validate_pod_status_update"),
    grace_period_s=_grace_period_s,
    returns_deleted=True,
    warnings=_warnings,
)
