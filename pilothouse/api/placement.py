"""Where a pod may run: its requests, its ports, node selectors, taints and tolerations. Shared by scheduler and kubelet.

Amounts are whole numbers: milli-CPUs for `cpu`, units (bytes, pieces) for everything else. Source: component-helpers
`resource/helpers.go`, `scheduling/corev1`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pilothouse.api.quantity import to_int, to_milli

Amounts = dict[str, int]
POD_LEVEL_RESOURCES = frozenset({"cpu", "memory"})


class HostPort(NamedTuple):
    ip: str
    protocol: str
    port: int


def amounts(quantities: Mapping[str, Any] | None) -> Amounts:
    """A resource list in whole numbers."""
    if not quantities:
        return {}
    return {name: to_milli(value) if name == "cpu" else to_int(value) for name, value in quantities.items()}


def pod_requests(spec: Mapping[str, Any]) -> Amounts:
    """What a pod asks of a node: its containers together, or the largest moment of its initialization, plus overhead.

    Sidecars (init containers that always restart) count on from where they start. Requests of the pod itself (KEP-2837) take
    precedence over those of its containers.
    """
    total = _total(spec, "requests")
    if overhead := spec.get("overhead"):
        _add(total, amounts(overhead))
    return total


def pod_limits(spec: Mapping[str, Any]) -> Amounts:
    """What a pod may use at most, summed up in the same way. Overhead is added only to what is limited."""
    total = _total(spec, "limits")
    for name, amount in amounts(spec.get("overhead")).items():
        if total.get(name):
            total[name] += amount
    return total


def _total(spec: Mapping[str, Any], side: str) -> Amounts:
    total: Amounts = {}
    for container in spec.get("containers") or ():
        _add(total, _of_container(container, side))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("initContainers") or ():
        own = _of_container(container, side)
        if container.get("restartPolicy") == "Always":
            _add(total, own)
            _add(sidecars, own)
            _raise(peak, sidecars)
        else:
            moment = dict(sidecars)
            _add(moment, own)
            _raise(peak, moment)
    _raise(total, peak)
    for name, amount in amounts((spec.get("resources") or {}).get(side)).items():
        if name in POD_LEVEL_RESOURCES or name.startswith("hugepages-"):
            total[name] = amount
    return total


def _of_container(container: Mapping[str, Any], side: str) -> Amounts:
    resources = container.get("resources")
    return amounts(resources.get(side)) if resources else {}


def _add(total: Amounts, more: Amounts) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, 0) + amount


def _raise(total: Amounts, other: Amounts) -> None:
    for name, amount in other.items():
        if amount > total.get(name, 0):
            total[name] = amount


def host_ports(spec: Mapping[str, Any]) -> frozenset[HostPort]:
    """The ports of the node that a pod's containers, sidecars included, want."""
    found: set[HostPort] = set()
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    for container in (*(spec.get("containers") or ()), *sidecars):
        for port in container.get("ports") or ():
            if number := port.get("hostPort"):
                found.add(HostPort(port.get("hostIP") or "0.0.0.0", port.get("protocol") or "TCP", number))
    return frozenset(found)


def ports_conflict(wanted: Collection[HostPort], used: Collection[HostPort]) -> bool:
    """Whether a port is taken; the unspecified address conflicts with every address."""
    return any(
        want.port == use.port
        and want.protocol == use.protocol
        and (want.ip == use.ip or "0.0.0.0" in (want.ip, use.ip))
        for want in wanted
        for use in used
    )


# Taints


def tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    """Whether one toleration matches one taint."""
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return True
    return bool(toleration.get("value", "") == taint.get("value", ""))


def untolerated_taint(
    taints: Iterable[Mapping[str, Any]], tolerations: Sequence[Mapping[str, Any]], effects: Collection[str]
) -> Mapping[str, Any] | None:
    """The first taint with one of `effects` that nothing tolerates."""
    for taint in taints:
        if taint.get("effect") in effects and not any(tolerates(toleration, taint) for toleration in tolerations):
            return taint
    return None


# Node selectors


def requirement_matches(requirement: Mapping[str, Any], value: str | None) -> bool:
    """Whether a label's value, None if there is no such label, satisfies a node selector requirement."""
    operator, values = requirement["operator"], requirement.get("values") or ()
    if operator == "In":
        return value is not None and value in values
    if operator == "NotIn":
        return value is None or value not in values
    if operator == "Exists":
        return value is not None
    if operator == "DoesNotExist":
        return value is None
    if value is None or not values:
        return False
    try:
        number, bound = int(value), int(values[0])
    except ValueError:
        return False
    return number > bound if operator == "Gt" else operator == "Lt" and number < bound


def term_matches(term: Mapping[str, Any], labels: Mapping[str, str], node_name: str) -> bool:
    """Whether a node satisfies all of a node selector term. A term without requirements matches nothing."""
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    return all(requirement_matches(item, labels.get(item["key"])) for item in expressions) and all(
        item["key"] == "metadata.name" and requirement_matches(item, node_name) for item in fields
    )


def node_affinity_matches(spec: Mapping[str, Any], labels: Mapping[str, str], node_name: str) -> bool:
    """Whether a node satisfies a pod's nodeSelector and its required node affinity."""
    selector = spec.get("nodeSelector") or {}
    if any(labels.get(key) != value for key, value in selector.items()):
        return False
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if required is None:
        return True
    return any(term_matches(term, labels, node_name) for term in required.get("nodeSelectorTerms") or ())
