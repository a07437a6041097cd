"""Secret."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, count, text, value_of
from pilothouse.api.resource import Resource

SECRET = Resource(
    gvr.SECRETS,
    has_generation=False,
    secret=True,
    selectable={"type": value_of("type")},
    columns=(NAME, text("Type", "type"), count("Data", "data", type="string"), AGE),
)
