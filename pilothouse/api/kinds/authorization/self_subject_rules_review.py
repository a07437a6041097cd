"""SelfSubjectRulesReview."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import CREATE_ONLY, Resource

SELF_SUBJECT_RULES_REVIEW = Resource(
    gvr.SELF_SUBJECT_RULES_REVIEWS,
    verbs=CREATE_ONLY,
)
