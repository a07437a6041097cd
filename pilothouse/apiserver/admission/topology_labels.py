"""PodTopologyLabels: a pod that is bound learns the zone and region of its node.

Source: KEP-4742, `plugin/pkg/admission/podtopologylabels`.
"""

from __future__ import annotations

from pilothouse.api import gvr as kinds
from pilothouse.api.meta import labels_of
from pilothouse.apiserver.admission.plugin import Plugin
from pilothouse.apiserver.attributes import Attributes
from pilothouse.apiserver.objects import Objects

LABELS = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone")


class PodTopologyLabels(Plugin):
    name = "PodTopologyLabels"
    operations = frozenset({"CREATE"})
    resources = frozenset({"pods"})
    subresources = frozenset({"", "binding"})

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def mutate(self, attributes: Attributes) -> None:
        draft = attributes.obj
        if draft is None:
            return
        if attributes.subresource == "binding":
            target = draft.get("target") or {}
            node_name = target.get("name") if target.get("kind") == "Node" else None
        else:
            node_name = (draft.get("spec") or {}).get("nodeName")
        node = await self._objects.get(kinds.NODES, "", node_name) if node_name else None
        if node is None:
            return
        labels = labels_of(node)
        if copied := {key: labels[key] for key in LABELS if key in labels}:
            metadata = draft.setdefault("metadata", {})
            metadata["labels"] = {**(metadata.get("labels") or {}), **copied}
