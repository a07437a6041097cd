"""PodTemplate."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds import disabled_fields, pod_warnings
from pilothouse.api.kinds.columns import NAME, View, at, labels
from pilothouse.api.resource import Column, Resource
from pilothouse.kit.deferred import Deferred


def _of_containers(key: str) -> Column:
    def cell(obj: View, now: float) -> str:
        return ",".join(container.get(key, "") for container in at(obj, "template", "spec", "containers") or ())

    return Column("Containers" if key == "name" else "Images", cell)


def _labels(obj: View, now: float) -> str:
    return labels(at(obj, "template", "metadata", "labels"))


POD_TEMPLATE = Resource(
    gvr.POD_TEMPLATES,
    columns=(NAME, _of_containers("name"), _of_containers("image"), Column("Pod Labels", _labels)),
    returns_deleted=True,
    warnings=pod_warnings.of_template("template"),
    update_warnings=pod_warnings.of_changed_template("template"),
    drop_disabled=disabled_fields.of_pods("template"),
    validate=Deferred("pilothouse.api.validate.workload", "validate_pod_template"),
)
