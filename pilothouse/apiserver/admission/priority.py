"""Priority: a pod's priority and preemption policy come from its PriorityClass.

Source: `plugin/pkg/admission/priority`.
"""

from __future__ import annotations

from pilothouse.api import gvr as kinds
from pilothouse.api.meta import Object, name_of
from pilothouse.apiserver.admission.plugin import WHOLE_OBJECTS, Plugin, forbidden
from pilothouse.apiserver.attributes import Attributes
from pilothouse.apiserver.objects import Objects

PREEMPT = "PreemptLowerPriority"


class Priority(Plugin):
    name = "Priority"
    resources = frozenset({"pods", "priorityclasses.scheduling.k8s.io"})
    subresources = WHOLE_OBJECTS

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def mutate(self, attributes: Attributes) -> None:
        if attributes.resource.gvr.plural != "pods" or attributes.obj is None:
            return
        spec = attributes.obj["spec"]
        if attributes.operation == "UPDATE":
            old = (attributes.old or {}).get("spec") or {}
            for field in ("priority", "preemptionPolicy"):
                if spec.get(field) is None and old.get(field) is not None:
                    spec[field] = old[field]
            return
        name, value, policy = "", 0, PREEMPT
        if not spec.get("priorityClassName"):
            if (default := await self._default()) is not None:
                name, value, policy = name_of(default), default["value"], default.get("preemptionPolicy") or PREEMPT
                spec["priorityClassName"] = name
        else:
            name = spec["priorityClassName"]
            found = await self._objects.get(kinds.PRIORITY_CLASSES, "", name)
            if found is None:
                raise forbidden(attributes, f"no PriorityClass with name {name} was found")
            value, policy = found["value"], found.get("preemptionPolicy") or PREEMPT
        if spec.get("priority") not in (None, value):
            raise forbidden(
                attributes,
                f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; priority admission "
                f"controller computed {value} from the given PriorityClass name",
            )
        if spec.get("preemptionPolicy") not in (None, policy):
            raise forbidden(
                attributes,
                f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) must not be provided in pod spec; "
                f"priority admission controller computed {policy} from the given PriorityClass name",
            )
        spec["priority"], spec["preemptionPolicy"] = value, policy

    async def validate(self, attributes: Attributes) -> None:
        """There is one global default at most."""
        if (
            attributes.resource.gvr.plural == "pods"
            or attributes.obj is None
            or not attributes.obj.get("globalDefault")
        ):
            return
        default = await self._default()
        if default is not None and name_of(default) != attributes.obj["metadata"].get("name"):
            raise forbidden(
                attributes,
                f"PriorityClass {name_of(default)} is already marked as default. Only one default can exist",
            )

    async def _default(self) -> Object | None:
        """The global default; of several, the one with the lowest value."""
        defaults = [found for found in await self._objects.list(kinds.PRIORITY_CLASSES) if found.get("globalDefault")]
        return min(defaults, key=lambda found: int(found["value"]), default=None)
