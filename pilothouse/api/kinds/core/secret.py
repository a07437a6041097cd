"""Secret."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, count, text, value_of
from pilothouse.api.resource import Resource
from pilothouse.kit.deferred import Deferred

SECRET = Resource(
    gvr.SECRETS,
    has_generation=False,
    secret=True,
    selectable={"type": value_of("type")},
    columns=(NAME, text("Type", "type"), count("Data", "data", type="string"), AGE),
    validate=Deferred("pilothouse.api.validate.config", "validate_secret"),
    validate_update=Deferred("pilothouse.api.validate.config", "validate_secret_update"),
)
