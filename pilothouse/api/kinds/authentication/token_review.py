"""TokenReview."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import CREATE_ONLY, Resource

TOKEN_REVIEW = Resource(
    gvr.TOKEN_REVIEWS,
    verbs=CREATE_ONLY,
)
