"""The object in a request's body, in the form in which a registry takes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilothouse.api.meta import Object
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.decode import decode
from pilothouse.apiserver.endpoint import Endpoint
from pilothouse.apiserver.options import WriteOptions


def read_object(call: Call, endpoint: Endpoint, options: WriteOptions) -> Object:
    """Decoded, checked against the schema, defaulted and in the stored version. Raises BadRequest, UnsupportedMediaType."""
    request = call.request
    obj, duplicates = decode(request.body, request.headers, endpoint.gvr.kind)
    endpoint.identify(obj, request.body)
    return load(obj, call, endpoint, options, duplicates)


def load(
    obj: Object,
    call: Call,
    endpoint: Endpoint,
    options: WriteOptions,
    duplicates: list[str] | tuple[()] = (),
    like: Mapping[str, Any] | None = None,
) -> Object:
    """The same for an object that is decoded already. What is the very same in `like`, a stored object, needs no second look."""
    metadata = obj.setdefault("metadata", {})
    if metadata is None:
        obj["metadata"] = metadata = {}
    if isinstance(metadata, dict):
        if metadata.get("managedFields") == []:
            # The other way to say that ownership is to be forgotten; an empty list would be left out.
            metadata["managedFields"] = [{}]
        if metadata.get("resourceVersion") == "0":
            # The other way to name none.
            del metadata["resourceVersion"]
    call.warnings += endpoint.schema.load(obj, strict=options.field_validation, duplicates=duplicates, like=like)
    obj.setdefault("metadata", {})
    stored = endpoint.to_stored(obj, like)
    if call.recorded is not None:
        # With its defaults, in the version that the client speaks.
        call.recorded(stored if endpoint.gvr == endpoint.resource.gvr else obj)
    return stored
