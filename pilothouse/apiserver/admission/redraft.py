"""A draft that was changed from outside: read anew as its kind's schema has it, with its defaults."""

from __future__ import annotations

from pilothouse.api import status
from pilothouse.api.meta import Object
from pilothouse.api.schema import FieldValidation, schema_of
from pilothouse.api.schema.schema import CannotBeHandled
from pilothouse.api.view import json_copy
from pilothouse.apiserver.attributes import Attributes


def redraft(attributes: Attributes, changed: Object) -> bool:
    """Let the draft be `changed`; whether it differs from what it was.

    The draft and its metadata stay the same dicts, for who prepares the write holds on to them. Unknown fields are dropped. Raises
    InternalError for an object that cannot be read.
    """
    draft = attributes.obj
    assert draft is not None
    before = json_copy(draft)
    resource = attributes.resource
    kind = draft.get("kind")
    if kind == resource.gvr.kind and changed.get("kind", kind) != kind:
        raise status.StatusError(f"converting ({changed['kind']}) to ({kind}): unknown conversion", code=500)
    try:
        if resource.read is not None and changed.get("kind", resource.gvr.kind) == resource.gvr.kind:
            resource.read(changed)
        elif "kind" in changed:
            schema = schema_of(changed.get("apiVersion", ""), changed["kind"])
            schema.load(changed, strict=FieldValidation.IGNORE)
            schema.default(changed)
            if changed["kind"] == resource.gvr.kind:
                resource.default(changed)
    except CannotBeHandled as error:
        raise status.InternalError(f"Internal error occurred: {error.why}") from None
    except (status.StatusError, KeyError) as error:
        raise status.InternalError(f"Internal error occurred: {error}") from None
    metadata = draft.get("metadata")
    draft.clear()
    draft.update(changed)
    if isinstance(metadata, dict) and isinstance(changed.get("metadata"), dict):
        metadata.clear()
        metadata.update(changed["metadata"])
        draft["metadata"] = metadata
    return draft != before
