"""Fields of features that v1.36 has but leaves off: what is written loses them, unless the object had them before.

Source: upstream `pkg/api/pod/util.go` (`dropDisabledFields`), `pkg/features`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pilothouse.api.kinds.columns import View, at
from pilothouse.api.meta import Object

_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_PROJECTIONS = ("clusterTrustBundle", "podCertificate")


def of_pods(*path: str) -> Callable[[Object, View | None], None]:
    """A `drop_disabled` hook for the pod, or the pod template, at a path."""

    def drop(draft: Object, old: View | None) -> None:
        spec = at(draft, *path, "spec")
        before = (at(old, *path, "spec") if old else None) or {}
        if spec and spec != before:
            _drop(spec, before)

    return drop


def of_stateful_set(draft: Object, old: View | None) -> None:
    """The template's, and how many pods of a rolling update may be unavailable."""
    _of_template(draft, old)
    rolling = at(draft, "spec", "updateStrategy", "rollingUpdate")
    before = at(old, "spec", "updateStrategy", "rollingUpdate") if old else None
    if rolling and "maxUnavailable" in rolling and "maxUnavailable" not in (before or ()):
        del rolling["maxUnavailable"]


_of_template = of_pods("spec", "template")


def of_node(draft: Object, old: View | None) -> None:
    """Configuration from ConfigMaps, which no kubelet takes any more."""
    for part, field in (("spec", "configSource"), ("status", "config")):
        held = draft.get(part) or {}
        if field in held and not at(old or {}, part, field):
            del held[field]


def of_claim(draft: Object, old: View | None) -> None:
    """Data from another namespace."""
    if at(draft, "spec", "dataSourceRef", "namespace") and not at(old or {}, "spec", "dataSourceRef"):
        del draft["spec"]["dataSourceRef"]


def _drop(spec: Object, before: View) -> None:
    if "schedulingGroup" in spec and "schedulingGroup" not in before:
        del spec["schedulingGroup"]
    sources = [source for volume in spec.get("volumes") or () for source in _projected(volume)]
    if sources:
        had = {key for volume in before.get("volumes") or () for source in _projected(volume) for key in source}
        for source in sources:
            for key in _PROJECTIONS:
                if key in source and key not in had:
                    del source[key]
    holders = [each for each in _containers(spec) if "stopSignal" in (each.get("lifecycle") or ())]
    if holders and not any("stopSignal" in (each.get("lifecycle") or ()) for each in _containers(before)):
        for container in holders:
            del container["lifecycle"]["stopSignal"]
            if not container["lifecycle"]:
                del container["lifecycle"]


def _projected(volume: View) -> list[Any]:
    return (volume.get("projected") or {}).get("sources") or []


def _containers(spec: View) -> Iterator[Any]:
    for field in _CONTAINERS:
        yield from spec.get(field) or ()
