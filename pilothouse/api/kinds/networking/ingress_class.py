"""IngressClass."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NONE, View, at, is_default_class, text
from pilothouse.api.resource import Column, MetadataChecks, Resource
from pilothouse.kit.deferred import Deferred


def _name(obj: View, now: float) -> str:
    default = is_default_class(obj, "ingressclass.kubernetes.io/is-default-class")
    return f"{obj['metadata']['name']}{' (default)' if default else ''}"


def _parameters(obj: View, now: float) -> str:
    parameters = at(obj, "spec", "parameters")
    if not parameters:
        return NONE
    group = f".{parameters['apiGroup']}" if "apiGroup" in parameters else ""
    return f"{parameters.get('kind', '')}{group}/{parameters.get('name', '')}"


INGRESS_CLASS = Resource(
    gvr.INGRESS_CLASSES,
    metadata_checks=MetadataChecks.BOTH,
    columns=(
        Column("Name", _name, format="name"),
        text("Controller", "spec", "controller"),
        Column("Parameters", _parameters),
        AGE,
    ),
    validate=Deferred("pilothouse.api.validate.ingress", "validate_ingress_class"),
    validate_update=Deferred("pilothouse.api.validate.ingress", "validate_ingress_class_update"),
)
