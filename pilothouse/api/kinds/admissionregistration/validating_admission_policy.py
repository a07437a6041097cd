"""ValidatingAdmissionPolicy."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, count, param_kind
from pilothouse.api.kinds.status_reset import clears_status
from pilothouse.api.resource import STATUS, Column, MetadataChecks, Resource
from pilothouse.kit.deferred import Deferred

VALIDATING_ADMISSION_POLICY = Resource(
    gvr.VALIDATING_ADMISSION_POLICIES,
    metadata_checks=MetadataChecks.AS_NEW,
    knows_finalizers=False,
    categories=("api-extensions",),
    subresources=(STATUS,),
    unconditional_update=False,
    columns=(NAME, count("Validations", "spec", "validations"), Column("ParamKind", param_kind), AGE),
    prepare_create=clears_status(gvr.VALIDATING_ADMISSION_POLICIES),
    validate=Deferred("pilothouse.api.validate.admission_policy", "validate_policy"),
    validate_status_update=Deferred("pilothouse.api.validate.admission_policy", "validate_policy_status_update"),
)
