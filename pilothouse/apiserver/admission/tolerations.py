"""DefaultTolerationSeconds: pods stay five minutes on a node that is not ready or not reachable.

Source: `plugin/pkg/admission/defaulttolerationseconds`.
"""

from __future__ import annotations

from pilothouse.apiserver.admission.plugin import WHOLE_OBJECTS, Plugin
from pilothouse.apiserver.attributes import Attributes

DEFAULT_S = 300
_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


class DefaultTolerationSeconds(Plugin):
    name = "DefaultTolerationSeconds"
    resources = frozenset({"pods"})
    subresources = WHOLE_OBJECTS

    async def mutate(self, attributes: Attributes) -> None:
        if attributes.obj is None:
            return
        spec = attributes.obj["spec"]
        tolerations = spec.get("tolerations") or []
        missing = [
            taint
            for taint in _TAINTS
            if not any(
                (not toleration.get("key") or toleration["key"] == taint)
                and toleration.get("effect", "") in ("", "NoExecute")
                for toleration in tolerations
            )
        ]
        if missing:
            added = [
                {"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": DEFAULT_S}
                for taint in missing
            ]
            spec["tolerations"] = [*tolerations, *added]
