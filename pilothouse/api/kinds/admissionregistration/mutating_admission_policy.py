"""MutatingAdmissionPolicy."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, count, param_kind
from pilothouse.api.resource import Column, MetadataChecks, Resource
from pilothouse.kit.deferred import Deferred

MUTATING_ADMISSION_POLICY = Resource(
    gvr.MUTATING_ADMISSION_POLICIES,
    metadata_checks=MetadataChecks.AS_NEW,
    knows_finalizers=False,
    categories=("api-extensions",),
    unconditional_update=False,
    columns=(NAME, count("Mutations", "spec", "mutations"), Column("ParamKind", param_kind), AGE),
    validate=Deferred("pilothouse.api.validate.admission_policy", "validate_mutating_policy"),
)
