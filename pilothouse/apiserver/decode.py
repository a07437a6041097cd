"""Request bodies become objects. Source: apimachinery `pkg/runtime/serializer/json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object
from pilothouse.api.schema.duplicates import duplicate_fields
from pilothouse.api.status import BadRequest
from pilothouse.apiserver.errors import unsupported_media_type
from pilothouse.apiserver.negotiate import JSON, PROTOBUF, YAML

READABLE = (JSON, YAML, PROTOBUF)
_FORMATS = {PROTOBUF: PROTOBUF, "": JSON, JSON: JSON, YAML: YAML, "text/yaml": YAML, "application/x-yaml": YAML}


def media_type(headers: Mapping[str, str]) -> str:
    """The Content-Type without its parameters."""
    content_type = headers.get("content-type", "")
    return content_type.partition(";")[0].strip().lower() if content_type else ""


def decode(body: bytes, headers: Mapping[str, str], kind: str) -> tuple[Object, list[str]]:
    """The object in a request's body, and the paths of the keys that stand twice in one of its maps.

    `kind` is what the request expects, for messages. Raises BadRequest, UnsupportedMediaType.
    """
    format_ = JSON if headers.get("content-type") == JSON else _FORMATS.get(media_type(headers))
    if format_ is None:
        raise unsupported_media_type(READABLE)
    if format_ is YAML:
        return _decode_yaml(body, kind)
    if format_ is PROTOBUF:
        return _decode_protobuf(body, kind), []
    try:
        obj = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise unrecognized(kind, f"couldn't get version/kind; json parse error: {error}", body) from None
    if not isinstance(obj, dict):
        raise unrecognized(
            kind,
            f"couldn't get version/kind; json parse error: json: cannot unmarshal {_json_type(obj)} into Go value",
            body,
        )
    try:
        return obj, duplicate_fields(body, obj)
    except (orjson.JSONEncodeError, RecursionError):
        # What is nested deeper than can be written is not worth reading either.
        raise unrecognized(kind, "json parse error: exceeded max depth", body) from None


def check_identity(obj: Object, expected: GVR, *, strict_version: bool = True) -> None:
    """Check `apiVersion` and `kind` against what the path names; fill them in where they are missing. Raises BadRequest."""
    kind = obj.get("kind") or expected.kind
    api_version = obj.get("apiVersion") or expected.api_version
    if kind != expected.kind:
        version = str(api_version).rpartition("/")[2]
        raise BadRequest(
            f'{kind} in version "{version}" cannot be handled as a {expected.kind}: '
            f'no kind "{kind}" is expected here, only "{expected.kind}" of {expected.api_version}'
        )
    if api_version != expected.api_version and strict_version:
        raise BadRequest(
            f"the API version in the data ({api_version}) does not match the expected API version ({expected.api_version})"
        )
    obj["kind"] = expected.kind
    obj["apiVersion"] = expected.api_version


def _decode_yaml(body: bytes, kind: str) -> tuple[Object, list[str]]:
    from pilothouse.apiserver import yaml

    try:
        obj, duplicates = yaml.load(body)
    except ValueError as error:
        raise unrecognized(kind, f"couldn't get version/kind; error converting YAML to JSON: {error}", body) from None
    if not isinstance(obj, dict):
        raise unrecognized(kind, "couldn't get version/kind; the YAML document is not a map", body)
    return obj, [duplicate.key for duplicate in duplicates]


def _decode_protobuf(body: bytes, kind: str) -> Object:
    from pilothouse.api.codec import protobuf

    try:
        return protobuf.decode(body)
    except protobuf.MalformedMessage as error:
        raise unrecognized(kind, str(error), body) from None


def unrecognized(kind: str, why: str, body: bytes) -> BadRequest:
    return BadRequest(f"the object provided is unrecognized (must be of type {kind}): {why} ({_summary(body)})")


def _summary(body: bytes, limit: int = 30) -> str:
    if not body:
        return "<empty>"
    cut = " ..." if len(body) > limit else ""
    if body.startswith(b"{"):
        return body[:limit].decode(errors="replace") + cut
    return body[:limit].hex() + cut


def _json_type(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "number"
