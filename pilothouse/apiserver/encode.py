"""How an object is stored: as JSON that begins with its kind, version and metadata, without its resourceVersion.

The store's revision of the key is the resourceVersion; `pilothouse.store.cached.splice` puts it back into the bytes.
"""

from __future__ import annotations

import orjson

from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object
from pilothouse.api.status import BadRequest

_LEADING = ("kind", "apiVersion", "metadata")


def encode(obj: Object, gvr: GVR) -> bytes:
    """The bytes to store for `obj`, which loses its `metadata.resourceVersion`. Raises BadRequest if it is nested too deeply."""
    metadata = obj["metadata"]
    metadata.pop("resourceVersion", None)
    ordered = {"kind": gvr.kind, "apiVersion": gvr.api_version, "metadata": metadata}
    for key, value in obj.items():
        if key not in _LEADING:
            ordered[key] = value
    try:
        return orjson.dumps(ordered)
    except orjson.JSONEncodeError as error:
        raise BadRequest(f"the object cannot be written as JSON: {error}") from None
