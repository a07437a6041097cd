"""What scheduling needs of a pod, read from the object once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pilothouse.api.meta import UID, Object
from pilothouse.api.placement import Amounts, HostPort, host_ports, pod_requests
from pilothouse.api.selector import LabelSelector, from_object
from pilothouse.api.views.pod import PodView

DEFAULT_CPU_MILLI = 100
DEFAULT_MEMORY_BYTES = 200 * 1024 * 1024
"""What a container without requests counts for in scores, so that such pods spread too."""

Object_ = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AffinityTerm:
    """A pod (anti-)affinity term: pods of `namespaces` (or of those that `namespace_selector` matches) with `selector`."""

    selector: LabelSelector
    namespaces: frozenset[str]
    namespace_selector: LabelSelector | None
    topology_key: str
    weight: int = 0


@dataclass(frozen=True, slots=True)
class SpreadConstraint:
    """A topology spread constraint. `is_hard` for DoNotSchedule."""

    topology_key: str
    max_skew: int
    min_domains: int
    selector: LabelSelector
    is_hard: bool
    honors_affinity: bool
    honors_taints: bool


@dataclass(frozen=True, slots=True)
class PodInfo:
    """A pod as the scheduler sees it; made by `read_pod`."""

    obj: Object
    uid: UID
    key: str
    namespace: str
    labels: Mapping[str, str]
    spec: Mapping[str, Any]
    node_name: str
    priority: int
    requests: Amounts
    scored_cpu_milli: int
    scored_memory_bytes: int
    ports: frozenset[HostPort]
    tolerations: Sequence[Object_]
    required_affinity: Sequence[AffinityTerm]
    required_anti_affinity: Sequence[AffinityTerm]
    preferred_affinity: Sequence[AffinityTerm]
    preferred_anti_affinity: Sequence[AffinityTerm]
    spread: Sequence[SpreadConstraint]
    images: Sequence[str]
    claims: Sequence[str]
    """Names of the PersistentVolumeClaims that it mounts."""

    @property
    def is_gated(self) -> bool:
        return bool(self.spec.get("schedulingGates"))


def read_pod(obj: Object) -> PodInfo:
    pod = PodView(obj)
    spec = pod.spec
    affinity = spec.get("affinity") or {}
    attract, repel = affinity.get("podAffinity") or {}, affinity.get("podAntiAffinity") or {}
    required, preferred = (
        "requiredDuringSchedulingIgnoredDuringExecution",
        "preferredDuringSchedulingIgnoredDuringExecution",
    )
    cpu, memory = _scored(spec)
    return PodInfo(
        obj=obj,
        uid=pod.uid,
        key=pod.key,
        namespace=pod.namespace,
        labels=pod.labels,
        spec=spec,
        node_name=pod.node_name,
        priority=pod.priority,
        requests=pod_requests(spec),
        scored_cpu_milli=cpu,
        scored_memory_bytes=memory,
        ports=host_ports(spec),
        tolerations=spec.get("tolerations") or (),
        required_affinity=_terms(attract.get(required), pod),
        required_anti_affinity=_terms(repel.get(required), pod),
        preferred_affinity=_weighted(attract.get(preferred), pod),
        preferred_anti_affinity=_weighted(repel.get(preferred), pod),
        spread=[_constraint(item, pod) for item in spec.get("topologySpreadConstraints") or ()],
        images=[container["image"] for container in pod.containers if container.get("image")],
        claims=_claims(pod),
    )


def _claims(pod: PodView) -> list[str]:
    names = []
    for volume in pod.spec.get("volumes") or ():
        if claim := volume.get("persistentVolumeClaim"):
            names.append(claim["claimName"])
        elif volume.get("ephemeral"):
            names.append(f"{pod.name}-{volume['name']}")
    return names


def _scored(spec: Mapping[str, Any]) -> tuple[int, int]:
    """Requests for scoring, where a container without any counts for the defaults."""
    cpu = memory = 0
    for container in spec.get("containers") or ():
        requests = pod_requests({"containers": [container]})
        cpu += requests.get("cpu", DEFAULT_CPU_MILLI)
        memory += requests.get("memory", DEFAULT_MEMORY_BYTES)
    return cpu, memory


def _terms(items: Sequence[Object_] | None, pod: PodView, weight: int = 0) -> list[AffinityTerm]:
    return [_term(item, pod, weight) for item in items or ()]


def _weighted(items: Sequence[Object_] | None, pod: PodView) -> list[AffinityTerm]:
    return [_term(item["podAffinityTerm"], pod, item["weight"]) for item in items or ()]


def _term(item: Object_, pod: PodView, weight: int) -> AffinityTerm:
    namespaces, namespace_selector = item.get("namespaces") or (), item.get("namespaceSelector")
    return AffinityTerm(
        selector=from_object(_with_pod_labels(item, pod)),
        namespaces=frozenset(namespaces or (() if namespace_selector is not None else (pod.namespace,))),
        namespace_selector=from_object(namespace_selector) if namespace_selector is not None else None,
        topology_key=item["topologyKey"],
        weight=weight,
    )


def _constraint(item: Object_, pod: PodView) -> SpreadConstraint:
    return SpreadConstraint(
        topology_key=item["topologyKey"],
        max_skew=item["maxSkew"],
        min_domains=item.get("minDomains") or 1,
        selector=from_object(_with_pod_labels(item, pod)),
        is_hard=item.get("whenUnsatisfiable") == "DoNotSchedule",
        honors_affinity=item.get("nodeAffinityPolicy", "Honor") == "Honor",
        honors_taints=item.get("nodeTaintsPolicy", "Ignore") == "Honor",
    )


def _with_pod_labels(item: Object_, pod: PodView) -> Object_ | None:
    """The label selector with `matchLabelKeys` and `mismatchLabelKeys` (KEP-3633, KEP-3243) filled in from the pod."""
    selector: Object_ | None = item.get("labelSelector")
    if selector is None:
        return None
    expressions = list(selector.get("matchExpressions") or ())
    for keys, operator in (("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")):
        expressions += [
            {"key": key, "operator": operator, "values": [pod.labels[key]]}
            for key in item.get(keys) or ()
            if key in pod.labels
        ]
    return {**selector, "matchExpressions": expressions}
