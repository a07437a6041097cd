"""MutatingAdmissionPolicy."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import Resource

MUTATING_ADMISSION_POLICY = Resource(
    gvr.MUTATING_ADMISSION_POLICIES,
    categories=("api-extensions",),
    unconditional_update=False,
)
