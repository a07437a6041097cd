"""LocalSubjectAccessReview."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import CREATE_ONLY, Resource

LOCAL_SUBJECT_ACCESS_REVIEW = Resource(
    gvr.LOCAL_SUBJECT_ACCESS_REVIEWS,
    verbs=CREATE_ONLY,
)
