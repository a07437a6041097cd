"""Defaults of apps, batch and autoscaling kinds that depend on other fields."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from pilothouse.api.meta import Object
from pilothouse.api.status import BadRequest
from pilothouse.api.views.daemon_set import TEMPLATE_GENERATION

_is_number = re.compile("[-+]?[0-9]+").fullmatch
_MAX_INT32 = 0x7FFFFFFF
_DEFAULT_CPU_UTILIZATION = 80
_SCALE_UP: dict[str, Any] = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ],
}
_SCALE_DOWN: dict[str, Any] = {
    "selectPolicy": "Max",
    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
}


def _deployment(deployment: Object) -> None:
    strategy = deployment.setdefault("spec", {}).setdefault("strategy", {})
    if _or_else(strategy, "type", "RollingUpdate") == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")


def _daemon_set(daemon_set: Object) -> None:
    metadata = daemon_set.setdefault("metadata", {})
    metadata["annotations"] = annotations = {TEMPLATE_GENERATION: "0", **(metadata.get("annotations") or {})}
    if annotations[TEMPLATE_GENERATION] != "0":
        _check_generation(annotations[TEMPLATE_GENERATION])
    strategy = daemon_set.setdefault("spec", {}).setdefault("updateStrategy", {})
    if _or_else(strategy, "type", "RollingUpdate") == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)


def _check_generation(text: str) -> None:
    """The field that became an annotation is a number still. Raises BadRequest."""
    why = "" if _is_number(text) else "invalid syntax"
    if not why and not -(2**63) <= int(text) < 2**63:
        why = "value out of range"
    if why:
        shown = json.dumps(text, ensure_ascii=False)
        text = f'DaemonSet in version "v1" cannot be handled as a DaemonSet: strconv.ParseInt: parsing {shown}: {why}'
        raise BadRequest(text)


def _stateful_set(stateful_set: Object) -> None:
    strategy = stateful_set.setdefault("spec", {}).setdefault("updateStrategy", {})
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
        strategy.setdefault("rollingUpdate", {})
    if strategy["type"] == "RollingUpdate" and "rollingUpdate" in strategy:
        strategy["rollingUpdate"].setdefault("partition", 0)
    for template in stateful_set["spec"].get("volumeClaimTemplates") or ():
        template["apiVersion"], template["kind"] = "v1", "PersistentVolumeClaim"


def _job(job: Object) -> None:
    spec = job.setdefault("spec", {})
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", _MAX_INT32 if "backoffLimitPerIndex" in spec else 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("podReplacementPolicy", "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed")
    spec.setdefault("manualSelector", False)
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    metadata = job.setdefault("metadata", {})
    if labels and not metadata.get("labels"):
        metadata["labels"] = labels


def _autoscaler(spec: Object) -> None:
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": _DEFAULT_CPU_UTILIZATION}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    behavior = spec.get("behavior")
    if behavior is not None:
        behavior["scaleUp"] = _scaling_rules(_SCALE_UP, behavior.get("scaleUp"))
        behavior["scaleDown"] = _scaling_rules(_SCALE_DOWN, behavior.get("scaleDown"))


def _scaling_rules(default: Object, given: Object | None) -> Object:
    rules: Object = {**default, "policies": [dict(policy) for policy in default["policies"]]}
    return {**rules, **(given or {})}


def _or_else(obj: Object, key: str, value: str) -> str:
    """The text of a field, set to `value` first if it is empty."""
    if not obj.get(key):
        obj[key] = value
    return str(obj[key])


RULES: dict[str, tuple[Callable[[Object], None], ...]] = {
    "apps.v1.DaemonSet": (_daemon_set,),
    "apps.v1.Deployment": (_deployment,),
    "apps.v1.StatefulSet": (_stateful_set,),
    "autoscaling.v2.HorizontalPodAutoscalerSpec": (_autoscaler,),
    "batch.v1.Job": (_job,),
}
