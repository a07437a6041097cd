"""LimitRanger: a namespace's LimitRanges fill in and bound what pods and claims ask for.

Source: `plugin/pkg/admission/limitranger`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pilothouse.api import gvr as kinds
from pilothouse.api.meta import Object, is_deleting
from pilothouse.api.quantity import Quantity, parse
from pilothouse.apiserver.admission.plugin import Plugin, forbidden
from pilothouse.apiserver.attributes import Attributes
from pilothouse.apiserver.objects import Objects

ANNOTATION = "kubernetes.io/limit-ranger"
Amounts = Mapping[str, Any]


class LimitRanger(Plugin):
    name = "LimitRanger"
    resources = frozenset({"pods", "persistentvolumeclaims"})
    subresources = frozenset({"", "resize"})

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def mutate(self, attributes: Attributes) -> None:
        if attributes.resource.gvr.plural != "pods" or not _applies(attributes) or attributes.obj is None:
            return
        for limit_range in await self._objects.list(kinds.LIMIT_RANGES, attributes.namespace):
            _fill_in(attributes.obj, _limits(limit_range))

    async def validate(self, attributes: Attributes) -> None:
        if not _applies(attributes) or attributes.obj is None:
            return
        for limit_range in await self._objects.list(kinds.LIMIT_RANGES, attributes.namespace):
            if attributes.resource.gvr.plural == "pods":
                errors = list(pod_faults(_limits(limit_range), attributes.obj))
            else:
                errors = list(claim_faults(_limits(limit_range), attributes.obj))
            if errors:
                unique = list(dict.fromkeys(errors))
                raise forbidden(attributes, unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]")


def _applies(attributes: Attributes) -> bool:
    if attributes.old is not None and is_deleting(attributes.old):
        return False
    if attributes.resource.gvr.plural == "pods" and attributes.operation == "UPDATE":
        return attributes.subresource == "resize"
    return not attributes.subresource


def _limits(limit_range: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return (limit_range.get("spec") or {}).get("limits") or []


def _fill_in(pod: Object, limits: list[Mapping[str, Any]]) -> None:
    """Give containers the defaults that they lack, and say so in an annotation."""
    requests: dict[str, Any] = {}
    maxima: dict[str, Any] = {}
    for limit in limits:
        if limit.get("type") == "Container":
            requests |= limit.get("defaultRequest") or {}
            maxima |= limit.get("default") or {}
    if not requests and not maxima:
        return
    notes = []
    for key, title in (("containers", "container"), ("initContainers", "init container")):
        for container in pod["spec"].get(key) or ():
            resources = dict(container.get("resources") or {})
            for field, defaults, what in (("requests", requests, "request"), ("limits", maxima, "limit")):
                present = resources.get(field) or {}
                added = {name: value for name, value in defaults.items() if name not in present}
                if added:
                    resources[field] = {**present, **added}
                    notes.append(f"{', '.join(sorted(added))} {what} for {title} {container['name']}")
            container["resources"] = resources
    if notes:
        annotations = pod["metadata"].get("annotations") or {}
        pod["metadata"]["annotations"] = {**annotations, ANNOTATION: "LimitRanger plugin set: " + "; ".join(notes)}


def claim_faults(limits: list[Mapping[str, Any]], claim: Mapping[str, Any]) -> Iterator[str]:
    """What a PersistentVolumeClaim violates."""
    requests = ((claim.get("spec") or {}).get("resources") or {}).get("requests") or {}
    for limit in limits:
        if limit.get("type") == "PersistentVolumeClaim":
            for name, bound in (limit.get("min") or {}).items():
                yield from _below(limit["type"], name, bound, requests, {})
            for name, bound in (limit.get("max") or {}).items():
                if name not in requests:
                    yield f"maximum {name} usage per {limit['type']} is {parse(str(bound))}.  No request is specified"
                elif _value(requests[name]) > _value(bound):
                    yield _usage("maximum", name, limit["type"], bound, "request", requests[name])


def pod_faults(limits: list[Mapping[str, Any]], pod: Mapping[str, Any]) -> Iterator[str]:
    """What a pod and its containers violate."""
    spec = pod["spec"]
    for limit in limits:
        subjects: list[tuple[Amounts, Amounts]] = []
        if limit.get("type") == "Container":
            for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
                resources = container.get("resources") or {}
                subjects.append((resources.get("requests") or {}, resources.get("limits") or {}))
        elif limit.get("type") == "Pod":
            subjects.append((_total(spec, "requests"), _total(spec, "limits")))
        for requests, maxima in subjects:
            for name, bound in (limit.get("min") or {}).items():
                yield from _below(limit["type"], name, bound, requests, maxima)
            for name, bound in (limit.get("max") or {}).items():
                yield from _above(limit["type"], name, bound, requests, maxima)
            for name, bound in (limit.get("maxLimitRequestRatio") or {}).items():
                yield from _ratio(limit["type"], name, bound, requests, maxima)


def _below(type_: str, name: str, bound: Any, requests: Amounts, maxima: Amounts) -> Iterator[str]:
    if name not in requests:
        yield f"minimum {name} usage per {type_} is {parse(str(bound))}.  No request is specified"
    elif _value(requests[name]) < _value(bound):
        yield _usage("minimum", name, type_, bound, "request", requests[name])
    elif name in maxima and _value(maxima[name]) < _value(bound):
        yield _usage("minimum", name, type_, bound, "limit", maxima[name])


def _above(type_: str, name: str, bound: Any, requests: Amounts, maxima: Amounts) -> Iterator[str]:
    if name not in maxima:
        yield f"maximum {name} usage per {type_} is {parse(str(bound))}.  No limit is specified"
    elif _value(maxima[name]) > _value(bound):
        yield _usage("maximum", name, type_, bound, "limit", maxima[name])
    elif name in requests and _value(requests[name]) > _value(bound):
        yield _usage("maximum", name, type_, bound, "request", requests[name])


def _ratio(type_: str, name: str, bound: Any, requests: Amounts, maxima: Amounts) -> Iterator[str]:
    head = f"{name} max limit to request ratio per {type_} is {parse(str(bound))}, but"
    if not _value(requests.get(name, 0)):
        yield f"{head} no request is specified or request is 0"
    elif not _value(maxima.get(name, 0)):
        yield f"{head} no limit is specified or limit is 0"
    elif _value(maxima[name]).nano * 10**9 > _value(bound).nano * _value(requests[name]).nano:
        yield f"{head} provided ratio is {_value(maxima[name]).nano / _value(requests[name]).nano:.6f}"


def _usage(extreme: str, name: str, type_: str, bound: Any, what: str, given: Any) -> str:
    return f"{extreme} {name} usage per {type_} is {parse(str(bound))}, but {what} is {parse(str(given))}"


def _value(amount: Any) -> Quantity:
    return parse(str(amount))


def _total(spec: Mapping[str, Any], field: str) -> dict[str, Any]:
    """What a pod asks for as a whole: its main containers and sidecars together, or an init container's peak if that is more."""
    total: dict[str, Quantity] = {}
    sidecars: dict[str, Quantity] = {}
    peak: dict[str, Quantity] = {}
    for container in spec.get("containers") or ():
        _add(total, _amounts(container, field))
    for container in spec.get("initContainers") or ():
        amounts = _amounts(container, field)
        _add(amounts, sidecars)
        if container.get("restartPolicy") == "Always":
            _add(total, _amounts(container, field))
            sidecars = amounts
        for name, value in amounts.items():
            peak[name] = max(peak.get(name, value), value)
    for name, value in peak.items():
        total[name] = max(total.get(name, value), value)
    shown = {name: str(value) for name, value in total.items()}
    return shown | ((spec.get("resources") or {}).get(field) or {})


def _amounts(container: Mapping[str, Any], field: str) -> dict[str, Quantity]:
    amounts = (container.get("resources") or {}).get(field) or {}
    return {name: _value(value) for name, value in amounts.items()}


def _add(into: dict[str, Quantity], amounts: Mapping[str, Quantity]) -> None:
    for name, value in amounts.items():
        into[name] = into[name] + value if name in into else value
