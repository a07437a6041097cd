"""What pods may learn of themselves: fields (`fieldRef`) and resources (`resourceFieldRef`), for the environment and for files.

Source: `pkg/fieldpath`, `pkg/api/v1/resource/helpers.go` (ExtractContainerResourceValue).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pilothouse.api import quantity
from pilothouse.api.view import View
from pilothouse.api.views.pod import PodView

_SUBSCRIPT = re.compile(r"^(metadata\.(?:labels|annotations))\['(.*)'\]$")
_KEY_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"})


class UnknownField(Exception):
    """There is no such field to refer to."""


def field_value(pod: PodView, path: str, pod_ips: Sequence[str] = (), host_ips: Sequence[str] = ()) -> str:
    """The text of a field of a pod. Raises UnknownField."""
    if subscript := _SUBSCRIPT.match(path):
        values = pod.labels if subscript[1] == "metadata.labels" else pod.annotations
        return values.get(subscript[2], "")
    values_by_path = {
        "metadata.name": lambda: pod.name,
        "metadata.namespace": lambda: pod.namespace,
        "metadata.uid": lambda: str(pod.uid),
        "metadata.labels": lambda: _lines(pod.labels),
        "metadata.annotations": lambda: _lines(pod.annotations),
        "spec.nodeName": lambda: pod.node_name,
        "spec.serviceAccountName": lambda: str(pod.spec.get("serviceAccountName", "")),
        "status.podIP": lambda: pod_ips[0] if pod_ips else "",
        "status.podIPs": lambda: ",".join(pod_ips),
        "status.hostIP": lambda: host_ips[0] if host_ips else "",
        "status.hostIPs": lambda: ",".join(host_ips),
    }
    if path not in values_by_path:
        raise UnknownField(f"unsupported fieldPath: {path}")
    return values_by_path[path]()


def resource_value(reference: Mapping[str, Any], container: Mapping[str, Any], allocatable: Mapping[str, Any]) -> str:
    """A container's limit or request, in units of the divisor, rounded up. A limit that is not set is what the node can give.

    Raises UnknownField.
    """
    name = reference["resource"]
    kind, _, resource = name.partition(".")
    if kind not in ("limits", "requests") or not resource:
        raise UnknownField(f"unsupported container resource : {name}")
    resources = container.get("resources") or {}
    value = (resources.get(kind) or {}).get(resource)
    if value is None and kind == "limits" and resource in ("cpu", "memory", "ephemeral-storage"):
        value = allocatable.get(resource)
    if value is None:
        value = "0"
    divisor = reference.get("divisor") or "0"
    unit_milli = quantity.to_milli(divisor) or 1000
    if resource == "cpu":
        return str(-(-quantity.to_milli(value) // unit_milli))
    return str(-(-quantity.to_int(value) * 1000 // unit_milli))


def container_named(pod: PodView, name: str) -> Mapping[str, Any] | None:
    """A container or init container of a pod."""
    return next((each for each in (*pod.containers, *pod.init_containers) if each["name"] == name), None)


def allocatable_of(node: Mapping[str, Any] | None) -> Mapping[str, Any]:
    allocatable: Mapping[str, Any] = (View(node).status.get("allocatable") or {}) if node is not None else {}
    return allocatable


def _lines(values: Mapping[str, str]) -> str:
    """`key="value"` lines in the order of the keys, as upstream's FormatMap."""
    return "\n".join(f'{key}="{value.translate(_KEY_ESCAPES)}"' for key, value in sorted(values.items()))
