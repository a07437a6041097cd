"""ValidatingAdmissionPolicy."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import STATUS, Resource

VALIDATING_ADMISSION_POLICY = Resource(
    gvr.VALIDATING_ADMISSION_POLICIES,
    categories=("api-extensions",),
    subresources=(STATUS,),
    unconditional_update=False,
)
