"""ValidatingAdmissionPolicyBinding."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, param_reference, text
from pilothouse.api.resource import Column, MetadataChecks, Resource
from pilothouse.kit.deferred import Deferred

VALIDATING_ADMISSION_POLICY_BINDING = Resource(
    gvr.VALIDATING_ADMISSION_POLICY_BINDINGS,
    metadata_checks=MetadataChecks.AS_NEW,
    knows_finalizers=False,
    categories=("api-extensions",),
    unconditional_update=False,
    columns=(NAME, text("PolicyName", "spec", "policyName"), Column("ParamRef", param_reference), AGE),
    validate=Deferred("pilothouse.api.validate.admission_policy", "validate_binding"),
)
