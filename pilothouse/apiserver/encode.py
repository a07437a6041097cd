"""How an object is stored: as JSON that begins with its kind, version and metadata, without its resourceVersion.

The store's revision of the key is the resourceVersion; `pilothouse.store.cached.splice` puts it back into the bytes.
"""

from __future__ import annotations

import orjson

from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object

_LEADING = ("kind", "apiVersion", "metadata")


def encode(obj: Object, gvr: GVR) -> bytes:
    """The bytes to store for `obj`, which loses its `metadata.resourceVersion`."""
    metadata = obj["metadata"]
    metadata.pop("resourceVersion", None)
    ordered = {"kind": gvr.kind, "apiVersion": gvr.api_version, "metadata": metadata}
    for key, value in obj.items():
        if key not in _LEADING:
            ordered[key] = value
    return orjson.dumps(ordered)
