"""PriorityClass."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, flag, number, text
from pilothouse.api.meta import Object
from pilothouse.api.resource import Resource
from pilothouse.kit.deferred import Deferred


def _prepare_create(draft: Object) -> None:
    """Nothing that generation would count can change."""
    draft["metadata"]["generation"] = 1


PRIORITY_CLASS = Resource(
    gvr.PRIORITY_CLASSES,
    short_names=("pc",),
    has_generation=False,
    columns=(
        NAME,
        number("Value", "value"),
        flag("Global-Default", "globalDefault"),
        AGE,
        text("PreemptionPolicy", "preemptionPolicy"),
    ),
    prepare_create=_prepare_create,
    validate=Deferred("pilothouse.api.validate.policy", "validate_priority_class"),
    ratchets=True,
    validate_update=Deferred("pilothouse.api.validate.policy", "validate_priority_class_update"),
)
