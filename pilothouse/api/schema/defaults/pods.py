"""Defaults of Pods and pod templates that depend on other fields."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pilothouse.api import quantity
from pilothouse.api.meta import Object
from pilothouse.kit.remembered import remembered

_HUGE_PAGES = "hugepages-"
_NAME_PART = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_DOMAIN = rf"(?:{_NAME_PART}(?:\.{_NAME_PART})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_PATH_PART = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_reference = re.compile(
    rf"(?:{_DOMAIN}/)?(?P<path>{_PATH_PART}(?:/{_PATH_PART})*)(?::(?P<tag>[\w][\w.-]{{0,127}}))?"
    r"(?P<digest>@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9A-Fa-f]{32,})?",
    re.ASCII,
).fullmatch
_LONGEST_PATH = 255
"""With the `library/` that stands before a name without a slash."""
_is_identifier = re.compile("[a-f0-9]{64}").fullmatch


@remembered(1024)
def image_pull_policy(image: str) -> str:
    """Always for an image whose tag is `latest` or that names neither tag nor digest; else, and for what is no image, IfNotPresent."""
    first, slash, _ = image.partition("/")
    # Without a domain in front, all is the path: `localhost/a` and `x.y/a` have one, `Library/a` has none.
    has_domain = slash and (first == "localhost" or any(c in first for c in ".:") or first != first.lower())
    found = _reference(image if has_domain else f"docker.io/{image}")
    if found is None or _is_identifier(image) or len(found["path"]) + 8 * (not slash) > _LONGEST_PATH:
        return "IfNotPresent"
    tag = found["tag"] or ("" if found["digest"] else "latest")
    return "Always" if tag == "latest" else "IfNotPresent"


def _container(container: Object) -> None:
    if not container.get("imagePullPolicy"):
        container["imagePullPolicy"] = image_pull_policy(container.get("image", ""))


def _volume(volume: Object) -> None:
    if len(volume) == 1 and "name" in volume:
        volume["emptyDir"] = {}
    image = volume.get("image")
    if image is not None and not image.get("pullPolicy"):
        image["pullPolicy"] = image_pull_policy(image.get("reference", ""))


def _pod_spec(spec: Object) -> None:
    if account := spec.get("serviceAccountName") or spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    elif "serviceAccount" in spec:
        del spec["serviceAccount"]


def _template(template: Object) -> None:
    """A pod that is said to have no overhead is refused; a template that says so is written without it."""
    spec = template.get("spec")
    if spec and spec.get("overhead") == {}:
        del spec["overhead"]


def _pod_status(status: Object) -> None:
    """`podIP` is the first of `podIPs`; where they differ, `podIP` is right."""
    address = status.get("podIP")
    addresses = status.get("podIPs")
    if address and (not addresses or addresses[0].get("ip") != address):
        status["podIPs"] = [{"ip": address}]
    elif addresses and not address:
        status["podIP"] = addresses[0].get("ip", "")


def _pod(pod: Object) -> None:
    spec = pod.get("spec")
    if spec is None:
        return
    containers = [*spec.get("containers", ()), *spec.get("initContainers", ())]
    for container in containers:
        _requests_from_limits(container)
    if "resources" in spec:
        _pod_resources(spec)
    spec.setdefault("enableServiceLinks", True)
    if spec.get("terminationGracePeriodSeconds", 0) < 0:
        spec["terminationGracePeriodSeconds"] = 1
    if spec.get("hostNetwork"):
        for container in containers:
            for port in container.get("ports", ()):
                if not port.get("hostPort") and port.get("containerPort"):
                    port["hostPort"] = port["containerPort"]


def _requests_from_limits(container: Object) -> None:
    resources = container.get("resources")
    limits = resources.get("limits") if resources else None
    if resources is not None and limits:
        resources["requests"] = {**limits, **(resources.get("requests") or {})}


def _pod_resources(spec: Object) -> None:
    """Resources of the pod as a whole (KEP-2837): huge pages from the containers' limits, requests from theirs, the rest from
    the limits."""
    resources = spec["resources"]
    limits: dict[str, str] = dict(resources.get("limits") or {})
    requests: dict[str, str] = dict(resources.get("requests") or {})
    if not limits and not requests:
        return
    for name, amount in _aggregate(spec, "limits").items():
        if name.startswith(_HUGE_PAGES) and name not in requests:
            limits.setdefault(name, amount)
    if limits:
        resources["limits"] = limits
        for name, amount in _aggregate(spec, "requests").items():
            if name in ("cpu", "memory"):
                requests.setdefault(name, amount)
        for name, amount in limits.items():
            if name in ("cpu", "memory") or name.startswith(_HUGE_PAGES):
                requests.setdefault(name, amount)
    if requests:
        resources["requests"] = requests


def _aggregate(spec: Mapping[str, Any], which: str) -> dict[str, str]:
    """What the containers of a pod need together: the sum of those that run side by side, or the largest that runs before them."""
    total: dict[str, quantity.Quantity] = {}
    _add(total, (_of(container, which) for container in spec.get("containers", ())))
    sidecars: dict[str, quantity.Quantity] = {}
    peak: dict[str, quantity.Quantity] = {}
    for container in spec.get("initContainers", ()):
        own = _of(container, which)
        if container.get("restartPolicy") == "Always":
            _add(total, (own,))
            _add(sidecars, (own,))
            now = dict(sidecars)
        else:
            now = dict(sidecars)
            _add(now, (own,))
        for name, amount in now.items():
            if name not in peak or peak[name] < amount:
                peak[name] = amount
    for name, amount in peak.items():
        if name not in total or total[name] < amount:
            total[name] = amount
    return {name: str(amount) for name, amount in total.items()}


def _of(container: Mapping[str, Any], which: str) -> Mapping[str, str]:
    return (container.get("resources") or {}).get(which) or {}


def _add(total: dict[str, quantity.Quantity], amounts: Iterable[Mapping[str, str]]) -> None:
    for amount_of in amounts:
        for name, text in amount_of.items():
            amount = quantity.parse(text)
            total[name] = total[name] + amount if name in total else amount


def _to_milli(resources: Object) -> None:
    """Amounts finer than a thousandth are rounded up."""
    for which in ("limits", "requests"):
        amounts = resources.get(which)
        if amounts:
            for name, text in amounts.items():
                if text.endswith(("n", "u")):
                    amounts[name] = str(quantity.Quantity.of_milli(quantity.to_milli(text)))


RULES: dict[str, tuple[Callable[[Object], None], ...]] = {
    "core.v1.Container": (_container,),
    "core.v1.EphemeralContainer": (_container,),
    "core.v1.Pod": (_pod,),
    "core.v1.PodSpec": (_pod_spec,),
    "core.v1.PodStatus": (_pod_status,),
    "core.v1.PodTemplateSpec": (_template,),
    "core.v1.ResourceRequirements": (_to_milli,),
    "core.v1.Volume": (_volume,),
}
