"""ValidatingAdmissionPolicyBinding."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import Resource

VALIDATING_ADMISSION_POLICY_BINDING = Resource(
    gvr.VALIDATING_ADMISSION_POLICY_BINDINGS,
    categories=("api-extensions",),
    unconditional_update=False,
)
