"""RuntimeClass: a pod gets the overhead and the node constraints of the runtime it names.

Source: `plugin/pkg/admission/runtimeclass`.
"""

from __future__ import annotations

import json

from pilothouse.api import gvr as kinds
from pilothouse.api.names import path_segment
from pilothouse.api.status import StatusError
from pilothouse.apiserver.admission.plugin import WHOLE_OBJECTS, Plugin, forbidden
from pilothouse.apiserver.attributes import Attributes
from pilothouse.apiserver.objects import Objects


class RuntimeClass(Plugin):
    name = "RuntimeClass"
    operations = frozenset({"CREATE"})
    resources = frozenset({"pods"})
    subresources = WHOLE_OBJECTS

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def mutate(self, attributes: Attributes) -> None:
        if attributes.obj is None:
            return
        spec = attributes.obj["spec"]
        name = spec.get("runtimeClassName")
        if name is None:
            return
        if not name:
            raise StatusError("resource name may not be empty", code=500)
        found = await self._objects.get(kinds.RUNTIME_CLASSES, "", name)
        if found is None:
            if messages := path_segment(name):
                shown = json.dumps(name, ensure_ascii=False)
                raise StatusError(f"invalid resource name {shown}: [{' '.join(messages)}]", code=500)
            raise forbidden(attributes, f'pod rejected: RuntimeClass "{name}" not found')
        overhead = (found.get("overhead") or {}).get("podFixed")
        if spec.get("overhead") and spec["overhead"] != overhead:
            raise forbidden(attributes, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
        if overhead:
            spec["overhead"] = dict(overhead)
        scheduling = found.get("scheduling") or {}
        if wanted := scheduling.get("nodeSelector"):
            present = spec.get("nodeSelector") or {}
            for key, value in wanted.items():
                if present.get(key, value) != value:
                    raise forbidden(
                        attributes,
                        f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = "
                        f"{present[key]}",
                    )
            spec["nodeSelector"] = {**present, **wanted}
        if added := scheduling.get("tolerations"):
            present = spec.get("tolerations") or []
            spec["tolerations"] = [*present, *(toleration for toleration in added if toleration not in present)]

    async def validate(self, attributes: Attributes) -> None:
        """An overhead comes from the class alone, also where a webhook changed it."""
        if attributes.subresource or attributes.obj is None or "overhead" not in attributes.obj["spec"]:
            return
        spec = attributes.obj["spec"]
        name = spec.get("runtimeClassName")
        found = (await self._objects.get(kinds.RUNTIME_CLASSES, "", name) if name else None) or {}
        if found.get("overhead") is None:
            raise forbidden(
                attributes, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
            )
        if (found["overhead"].get("podFixed") or {}) != spec["overhead"]:
            raise forbidden(attributes, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
