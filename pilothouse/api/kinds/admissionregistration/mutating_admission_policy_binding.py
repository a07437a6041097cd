"""MutatingAdmissionPolicyBinding."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import Resource

MUTATING_ADMISSION_POLICY_BINDING = Resource(
    gvr.MUTATING_ADMISSION_POLICY_BINDINGS,
    categories=("api-extensions",),
    unconditional_update=False,
)
