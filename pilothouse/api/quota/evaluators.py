"""For each kind of object: which resources of a quota it uses, how much of them, and when its scopes hold.

Every kind that is created in namespaces counts under `count/<plural>.<group>`; a few count for more. Source: upstream
`pkg/quota/v1/evaluator/core`, apiserver `pkg/quota/v1/generic`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from pilothouse.api.quantity import Quantity
from pilothouse.api.quota import pods
from pilothouse.api.quota.amounts import add, masked, read

Object = Mapping[str, Any]
IGNORED = frozenset(
    {
        "bindings",
        "componentstatuses",
        "events",
        "events.events.k8s.io",
        "tokenreviews.authentication.k8s.io",
        "selfsubjectreviews.authentication.k8s.io",
        "subjectaccessreviews.authorization.k8s.io",
        "selfsubjectaccessreviews.authorization.k8s.io",
        "localsubjectaccessreviews.authorization.k8s.io",
        "selfsubjectrulesreviews.authorization.k8s.io",
    }
)
_ALIASES = {
    "configmaps": "configmaps",
    "resourcequotas": "resourcequotas",
    "replicationcontrollers": "replicationcontrollers",
    "secrets": "secrets",
}
_BY_CLASS = ".storageclass.storage.k8s.io/"
_BY_DEVICE_CLASS = ".deviceclass.resource.k8s.io/devices"
_MAX_DEVICES = 32
_ONE, _NONE = Quantity.of(1), Quantity(0)


class Evaluator:
    """Counts objects of a group resource."""

    needs_objects = False
    """Whether `usage` looks at more than an object's metadata."""

    def __init__(self, group_resource: str) -> None:
        self.group_resource = group_resource
        self._names = {f"count/{group_resource}", _ALIASES.get(group_resource, f"count/{group_resource}")}

    def handles(self, operation: str, subresource: str, new: Object, old: Object | None) -> bool:
        """Whether a write can use more than there was used."""
        return operation == "CREATE" and not subresource

    def is_counted(self, name: str) -> bool:
        """Whether objects use the resource `name` of a quota."""
        return name in self._names

    def matching(self, names: Iterable[str]) -> set[str]:
        return {name for name in names if self.is_counted(name)}

    def missing(self, obj: Object, required: Collection[str]) -> str:
        """What the object fails to say for a quota that bounds `required`; empty if nothing."""
        return ""

    def is_in_scope(self, requirement: Mapping[str, Any], obj: Object) -> bool:
        return False

    def usage(self, obj: Object, now: float) -> dict[str, Quantity]:
        return dict.fromkeys(self._names, _ONE)

    def frees(self, old: Object, new: Object, now: float) -> bool:
        """Whether an update may have made less used."""
        return False

    def matches(self, quota: Object, names: Collection[str], obj: Object) -> bool:
        """Whether a quota that bounds `names` bears on the object."""
        return bool(self.matching(names)) and all(self.is_in_scope(each, obj) for each in scopes_of(quota))


class Pods(Evaluator):
    needs_objects = True

    def handles(self, operation: str, subresource: str, new: Object, old: Object | None) -> bool:
        if subresource:
            return subresource == "resize" and operation == "UPDATE"
        if operation == "UPDATE":
            return old is not None and pods.is_terminating(new) != pods.is_terminating(old)
        return operation == "CREATE"

    def is_counted(self, name: str) -> bool:
        return pods.is_counted(name)

    def missing(self, obj: Object, required: Collection[str]) -> str:
        return pods.missing(obj, required)

    def is_in_scope(self, requirement: Mapping[str, Any], obj: Object) -> bool:
        return pods.is_in_scope(requirement, obj)

    def usage(self, obj: Object, now: float) -> dict[str, Quantity]:
        return pods.usage(obj, now)

    def frees(self, old: Object, new: Object, now: float) -> bool:
        if pods.is_terminating(old) != pods.is_terminating(new):
            return True
        if pods.is_charged(old, now) and not pods.is_charged(new, now):
            return True
        return _resources(old) != _resources(new)


class Services(Evaluator):
    needs_objects = True
    _NAMES = frozenset({"count/services", "services", "services.nodeports", "services.loadbalancers"})

    def handles(self, operation: str, subresource: str, new: Object, old: Object | None) -> bool:
        return not subresource and operation in ("CREATE", "UPDATE")

    def is_counted(self, name: str) -> bool:
        return name in self._NAMES

    def usage(self, obj: Object, now: float) -> dict[str, Quantity]:
        spec = obj.get("spec") or {}
        ports: Sequence[Mapping[str, Any]] = spec.get("ports") or ()
        node_ports, balancers = 0, 0
        if spec.get("type") == "NodePort":
            node_ports = len(ports)
        elif spec.get("type") == "LoadBalancer":
            balancers = 1
            explicit = spec.get("allocateLoadBalancerNodePorts") is False
            node_ports = sum(1 for port in ports if port.get("nodePort")) if explicit else len(ports)
        return {
            "count/services": _ONE,
            "services": _ONE,
            "services.nodeports": Quantity.of(node_ports),
            "services.loadbalancers": Quantity.of(balancers),
        }

    def frees(self, old: Object, new: Object, now: float) -> bool:
        def type_of(service: Object) -> str:
            type_ = str((service.get("spec") or {}).get("type"))
            return type_ if type_ in ("NodePort", "LoadBalancer") else ""

        return type_of(old) != type_of(new)


class Claims(Evaluator):
    """PersistentVolumeClaims, also by storage class."""

    needs_objects = True
    _NAMES = ("persistentvolumeclaims", "requests.storage")

    def handles(self, operation: str, subresource: str, new: Object, old: Object | None) -> bool:
        if subresource == "status":
            return old is not None and self.frees(old, new, 0)
        return not subresource and operation in ("CREATE", "UPDATE")

    def is_counted(self, name: str) -> bool:
        return name == "count/persistentvolumeclaims" or any(
            name == known or name.endswith(_BY_CLASS + known) for known in self._NAMES
        )

    def is_in_scope(self, requirement: Mapping[str, Any], obj: Object) -> bool:
        return requirement["scopeName"] == "VolumeAttributesClass" and pods.satisfies(
            requirement, _attribute_classes(obj)
        )

    def usage(self, obj: Object, now: float) -> dict[str, Quantity]:
        used = {"count/persistentvolumeclaims": _ONE, "persistentvolumeclaims": _ONE}
        storage = read(((obj.get("spec") or {}).get("resources") or {}).get("requests")).get("storage")
        if storage is not None:
            allocated = read((obj.get("status") or {}).get("allocatedResources")).get("storage", _NONE)
            largest = max(storage, allocated)
            used["requests.storage"] = largest if largest.is_whole else Quantity.of(largest.value, largest.format)
        class_ = (obj["metadata"].get("annotations") or {}).get("volume.beta.kubernetes.io/storage-class")
        class_ = class_ or (obj.get("spec") or {}).get("storageClassName")
        if class_:
            used |= {f"{class_}{_BY_CLASS}{name}": used[name] for name in self._NAMES if name in used}
        return used

    def frees(self, old: Object, new: Object, now: float) -> bool:
        def allocated(claim: Object) -> object:
            return read((claim.get("status") or {}).get("allocatedResources")).get("storage")

        return allocated(old) != allocated(new) or _attribute_classes(old) != _attribute_classes(new)


class ResourceClaims(Evaluator):
    """ResourceClaims, with the devices they may be given, by class."""

    needs_objects = True

    def handles(self, operation: str, subresource: str, new: Object, old: Object | None) -> bool:
        return not subresource and operation in ("CREATE", "UPDATE")

    def is_counted(self, name: str) -> bool:
        return super().is_counted(name) or name.endswith(_BY_DEVICE_CLASS)

    def usage(self, obj: Object, now: float) -> dict[str, Quantity]:
        used = super().usage(obj, now)
        for request in ((obj.get("spec") or {}).get("devices") or {}).get("requests") or ():
            most: dict[str, Quantity] = {}
            for choice in request.get("firstAvailable") or [request.get("exactly") or {}]:
                if class_ := choice.get("deviceClassName"):
                    name = class_ + _BY_DEVICE_CLASS
                    every = choice.get("allocationMode") == "All"
                    count = Quantity.of(_MAX_DEVICES if every else int(choice.get("count") or 1))
                    most[name] = max(count, most.get(name, count))
            used = add(used, most)
        return used


_SPECIAL: Mapping[str, type[Evaluator]] = {
    "pods": Pods,
    "services": Services,
    "persistentvolumeclaims": Claims,
    "resourceclaims.resource.k8s.io": ResourceClaims,
}


def evaluator_of(group_resource: str) -> Evaluator | None:
    """The rules of a kind; None for one that no quota counts."""
    return None if group_resource in IGNORED else _SPECIAL.get(group_resource, Evaluator)(group_resource)


def resource_of(name: str) -> str:
    """The group resource that uses the resource `name` of a quota; empty if none does."""
    if name.startswith("count/"):
        return name.removeprefix("count/")
    if name in _ALIASES:
        return name
    for group_resource, kind in _SPECIAL.items():
        if kind(group_resource).is_counted(name):
            return group_resource
    return ""


def scopes_of(quota: Object) -> list[Mapping[str, Any]]:
    """The requirements on objects that a quota counts."""
    spec = quota.get("spec") or {}
    selected = (spec.get("scopeSelector") or {}).get("matchExpressions") or ()
    return [*({"scopeName": scope, "operator": "Exists"} for scope in spec.get("scopes") or ()), *selected]


def used_by(
    quota: Object, evaluator: Evaluator, names: Collection[str], objs: Iterable[Object], now: float
) -> dict[str, Quantity]:
    """What `objs` use of the resources `names` of a quota together."""
    used = dict.fromkeys(evaluator.matching(names), _NONE)
    scopes = scopes_of(quota)
    for obj in objs:
        if all(evaluator.is_in_scope(each, obj) for each in scopes):
            used = add(used, masked(evaluator.usage(obj, now), used))
    return used


def _resources(pod: Object) -> list[object]:
    status = pod.get("status") or {}
    both = (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ()))
    return [(each["name"], each.get("resources")) for each in both if each.get("resources") is not None]


def _attribute_classes(claim: Object) -> set[str]:
    status = claim.get("status") or {}
    found = (
        (claim.get("spec") or {}).get("volumeAttributesClassName"),
        status.get("currentVolumeAttributesClassName"),
        (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName"),
    )
    return {name for name in found if name}
