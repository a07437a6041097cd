"""Deployment."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds import disabled_fields, pod_warnings
from pilothouse.api.kinds.columns import AGE, NAME, View, at, template_columns
from pilothouse.api.kinds.status_reset import clears_status
from pilothouse.api.meta import Object
from pilothouse.api.resource import SCALE, STATUS, Column, Resource, ScalePaths
from pilothouse.kit.deferred import Deferred


def _ready(obj: View, now: float) -> str:
    return f"{at(obj, 'status', 'readyReplicas') or 0}/{at(obj, 'spec', 'replicas') or 0}"


def _prepare_update(draft: Object, old: View) -> None:
    """Annotations count as well: a new generation tells of those that changed."""
    if (draft["metadata"].get("annotations") or {}) != (old["metadata"].get("annotations") or {}):
        draft["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1


def _prepare_status_update(draft: Object, old: View) -> None:
    """Labels are not for the status."""
    if "labels" in old["metadata"]:
        draft["metadata"]["labels"] = old["metadata"]["labels"]
    else:
        draft["metadata"].pop("labels", None)


DEPLOYMENT = Resource(
    gvr.DEPLOYMENTS,
    short_names=("deploy",),
    categories=("all",),
    subresources=(
        SCALE,
        STATUS,
    ),
    scale=ScalePaths(),
    columns=(
        NAME,
        Column("Ready", _ready, description="How many pods are ready, of how many."),
        Column("Up-to-date", lambda obj, now: at(obj, "status", "updatedReplicas") or 0),
        Column("Available", lambda obj, now: at(obj, "status", "availableReplicas") or 0),
        AGE,
        *template_columns("spec", "template"),
    ),
    prepare_update=_prepare_update,
    prepare_status_update=_prepare_status_update,
    drop_disabled=disabled_fields.of_pods("spec", "template"),
    prepare_create=clears_status(gvr.DEPLOYMENTS),
    warnings=pod_warnings.of_template("spec", "template", names_pods=True),
    update_warnings=pod_warnings.of_changed_template("spec", "template"),
    validate=Deferred("pilothouse.api.validate.workload", "validate_deployment"),
    validate_update=Deferred("pilothouse.api.validate.workload", "validate_selector_update"),
    validate_status_update=Deferred("pilothouse.api.validate.workload", "validate_deployment_status_update"),
)
