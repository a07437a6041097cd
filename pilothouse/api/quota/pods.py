"""What a pod counts for. Source: upstream `pkg/quota/v1/evaluator/core/pods.go`, component-helpers `resource/helpers.go`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pilothouse.api.meta import parse_time
from pilothouse.api.qos import BEST_EFFORT, qos_class
from pilothouse.api.quantity import Quantity
from pilothouse.api.quota.amounts import Amounts, add, read

Pod = Mapping[str, Any]
_COMPUTE = ("cpu", "memory", "ephemeral-storage")
STATIC = frozenset(
    {"count/pods", "pods", *_COMPUTE, *(f"{side}.{name}" for side in ("requests", "limits") for name in _COMPUTE)}
)
MUST_BE_GIVEN = frozenset(
    {"cpu", "memory", *(f"{side}.{name}" for side in ("requests", "limits") for name in ("cpu", "memory"))}
)
"""Where a quota bounds one of these, each container must say how much it wants."""
_PREFIXES = ("hugepages-", "requests.hugepages-", "requests.deviceclass.resource.kubernetes.io/")
_ONE = Quantity.of(1)


def is_counted(name: str) -> bool:
    """Whether a quota's resource is one that pods use."""
    if name in STATIC or name.startswith(_PREFIXES):
        return True
    return name.startswith("requests.") and "/" in name and "kubernetes.io/" not in name


def usage(pod: Pod, now: float) -> dict[str, Quantity]:
    """What the pod takes of quotas: nothing but its place in the count once it has ended."""
    used = {"count/pods": _ONE}
    if not is_charged(pod, now):
        return used
    return add(used, _compute(_total(pod, "requests"), _total(pod, "limits")))


def is_charged(pod: Pod, now: float) -> bool:
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return False
    deleted, grace = pod["metadata"].get("deletionTimestamp"), pod["metadata"].get("deletionGracePeriodSeconds")
    return deleted is None or grace is None or now <= parse_time(deleted) + grace


def is_terminating(pod: Pod) -> bool:
    """Whether the pod will end by itself: it has an active deadline."""
    deadline = pod["spec"].get("activeDeadlineSeconds")
    return deadline is not None and deadline >= 0


def missing(pod: Pod, required: Collection[str]) -> str:
    """What containers fail to specify although a quota needs it: `must specify cpu for: a,b; …`, or nothing."""
    spec = pod["spec"]
    whole = spec.get("resources") or {}
    if whole.get("requests") or whole.get("limits"):
        return ""
    lacking: dict[str, set[str]] = {}
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        resources = container.get("resources") or {}
        given = _compute(read(resources.get("requests")), read(resources.get("limits")))
        for name in MUST_BE_GIVEN.intersection(required) - given.keys():
            lacking.setdefault(name, set()).add(container["name"])
    if not lacking:
        return ""
    return "must specify " + "; ".join(f"{name} for: {','.join(sorted(lacking[name]))}" for name in sorted(lacking))


def is_in_scope(requirement: Mapping[str, Any], pod: Pod) -> bool:
    spec = pod["spec"]
    match requirement["scopeName"]:
        case "Terminating":
            return is_terminating(pod)
        case "NotTerminating":
            return not is_terminating(pod)
        case "BestEffort":
            return qos_class(spec) == BEST_EFFORT
        case "NotBestEffort":
            return qos_class(spec) != BEST_EFFORT
        case "PriorityClass":
            name = spec.get("priorityClassName")
            return satisfies(requirement, [name] if name else [])
        case "CrossNamespacePodAffinity":
            return _crosses_namespaces(spec.get("affinity") or {})
    return False


def satisfies(requirement: Mapping[str, Any], names: Collection[str]) -> bool:
    """Whether any of the `names` that an object has for a scope satisfies a requirement."""
    values = requirement.get("values") or ()
    match requirement.get("operator", "Exists"):
        case "Exists":
            return bool(names)
        case "DoesNotExist":
            return not names
        case "In":
            return any(name in values for name in names)
        case "NotIn":
            return not names or any(name not in values for name in names)
    return False


def _crosses_namespaces(affinity: Mapping[str, Any]) -> bool:
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(kind) or {}
        terms = list(rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ())
        weighted = rules.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        terms += [each.get("podAffinityTerm") or {} for each in weighted]
        if any(term.get("namespaces") or term.get("namespaceSelector") is not None for term in terms):
            return True
    return False


def _compute(requests: Amounts, limits: Amounts) -> dict[str, Quantity]:
    used = {"pods": _ONE}
    for name in _COMPUTE:
        if name in requests:
            used[name] = used[f"requests.{name}"] = requests[name]
        if name in limits:
            used[f"limits.{name}"] = limits[name]
    for name, amount in requests.items():
        if name.startswith("hugepages-"):
            used[name] = used[f"requests.{name}"] = amount
        elif name not in used and is_counted(f"requests.{name}"):
            used[f"requests.{name}"] = amount
    return used


def _total(pod: Pod, side: str) -> dict[str, Quantity]:
    """The containers together, or the peak of the initialization, or what the pod says for itself; and the overhead."""
    spec = pod["spec"]
    statuses = _statuses(pod)
    total: dict[str, Quantity] = {}
    for container in spec.get("containers") or ():
        total = add(total, _of_container(container, side, statuses, _is_infeasible(pod)))
    sidecars: dict[str, Quantity] = {}
    peak: dict[str, Quantity] = {}
    for container in spec.get("initContainers") or ():
        own = _of_container(container, side, statuses, _is_infeasible(pod))
        if container.get("restartPolicy") == "Always":
            total, sidecars = add(total, own), add(sidecars, own)
            own = sidecars
        else:
            own = add(own, sidecars)
        peak = _highest((peak, own))
    total = _highest((total, peak))
    for name, amount in read((spec.get("resources") or {}).get(side)).items():
        if name in ("cpu", "memory") or name.startswith("hugepages-"):
            total[name] = amount
    for name, amount in read(spec.get("overhead")).items():
        if side == "requests" or total.get(name):
            total[name] = total[name] + amount if name in total else amount
    return total


def _of_container(
    container: Mapping[str, Any], side: str, statuses: Mapping[str, Mapping[str, Any]], is_infeasible: bool
) -> dict[str, Quantity]:
    """What a container wants, or still has while it is resized, whichever is more (KEP-1287)."""
    wanted = read((container.get("resources") or {}).get(side))
    status = statuses.get(container["name"])
    if not status or status.get("resources") is None:
        return wanted
    actual = read(status["resources"].get(side))
    allocated = read(status.get("allocatedResources")) if side == "requests" else {}
    return _highest((actual, allocated) if is_infeasible else (wanted, actual, allocated))


def _statuses(pod: Pod) -> dict[str, Mapping[str, Any]]:
    status = pod.get("status") or {}
    return {
        each["name"]: each for key in ("containerStatuses", "initContainerStatuses") for each in status.get(key) or ()
    }


def _is_infeasible(pod: Pod) -> bool:
    return any(
        condition["type"] == "PodResizePending" and condition.get("reason") == "Infeasible"
        for condition in (pod.get("status") or {}).get("conditions") or ()
    )


def _highest(lists: Iterable[Amounts]) -> dict[str, Quantity]:
    found: dict[str, Quantity] = {}
    for each in lists:
        for name, amount in each.items():
            if name not in found or amount > found[name]:
                found[name] = amount
    return found
