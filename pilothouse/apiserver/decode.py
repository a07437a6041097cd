"""Request bodies become objects. Source: apimachinery `pkg/runtime/serializer/json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object
from pilothouse.api.schema import schema_of
from pilothouse.api.schema.duplicates import duplicate_fields
from pilothouse.api.status import BadRequest
from pilothouse.apiserver.errors import unsupported_media_type
from pilothouse.apiserver.negotiate import JSON, PROTOBUF, YAML

_SCHEME = "pkg/api/legacyscheme/scheme.go:30"
"""Where upstream says that it looks kinds up."""
_FORMER = {("policy/v1beta1", "Eviction"): "policy/v1"}
"""Versions that are served no longer but still understood."""
READABLE = (JSON, YAML, PROTOBUF)
_FORMATS = {PROTOBUF: PROTOBUF, "": JSON, JSON: JSON, YAML: YAML}


def media_type(headers: Mapping[str, str]) -> str:
    """The Content-Type without its parameters."""
    content_type = headers.get("content-type", "")
    return content_type.partition(";")[0].strip().lower() if content_type else ""


def _has_sound_parameters(content_type: str) -> bool:
    return all("=" in parameter for parameter in content_type.rstrip("; ").split(";")[1:])


def decode(body: bytes, headers: Mapping[str, str], kind: str) -> tuple[Object, list[str]]:
    """The object in a request's body, and the paths of the keys that stand twice in one of its maps.

    `kind` is what the request expects, for messages; empty where they are not to say it. Raises BadRequest, UnsupportedMediaType.
    """
    content_type = headers.get("content-type", "")
    format_ = JSON if content_type == JSON else _FORMATS.get(media_type(headers))
    if format_ is None or (";" in content_type and not _has_sound_parameters(content_type)):
        raise unsupported_media_type(READABLE)
    if format_ is YAML:
        return _decode_yaml(body, kind)
    if format_ is PROTOBUF:
        return _decode_protobuf(body, kind), []
    try:
        obj = orjson.loads(body)
    except orjson.JSONDecodeError:
        obj, body = _decode_unusual(body, kind)
    if not isinstance(obj, dict):
        return _no_object(obj, kind, body), []
    try:
        return obj, duplicate_fields(body, obj)
    except (orjson.JSONEncodeError, RecursionError):
        # What is nested deeper than can be written is not worth reading either.
        raise unrecognized(kind, "json parse error: exceeded max depth", body) from None


def check_identity(obj: Object, expected: GVR, body: bytes = b"") -> None:
    """Check `apiVersion` and `kind` against what the path names; fill them in where they are missing. Raises BadRequest."""
    kind = obj.get("kind") or expected.kind
    api_version = obj.get("apiVersion") or expected.api_version
    if kind != expected.kind or api_version != expected.api_version:
        if not isinstance(kind, str) or not isinstance(api_version, str):
            field, value = ("kind", kind) if isinstance(api_version, str) else ("apiVersion", api_version)
            why = f"json: cannot unmarshal {json_type(value)} into Go struct field .{field} of type string"
            raise unrecognized(expected.kind, f"couldn't get version/kind; json parse error: {why}", body)
        if _FORMER.get((api_version, kind)) != expected.api_version:
            raise _mistaken(kind, api_version, expected, body)
    obj["kind"] = expected.kind
    obj["apiVersion"] = expected.api_version


def _mistaken(kind: str, api_version: str, expected: GVR, body: bytes) -> BadRequest:
    """For an object of a kind other than the expected one, in upstream's words, which are those of its type registry."""
    if api_version.count("/") > 1:
        return unrecognized(expected.kind, f"unexpected GroupVersion string: {api_version}", body)
    version = api_version.rpartition("/")[2]
    try:
        schema_of(api_version, kind)
    except KeyError:
        why = f'no kind "{kind}" is registered for version "{api_version}" in scheme "{_SCHEME}"'
    else:
        group = expected.group.partition(".")[0] or "core"
        why = f"converting ({version}.{kind}) to ({group}.{expected.kind}): unknown conversion"
    return BadRequest(f'{kind} in version "{version}" cannot be handled as a {expected.kind}: {why}')


def _decode_unusual(body: bytes, kind: str) -> tuple[Any, bytes]:
    """A text that the fast decoder refuses, and the text of it that the other sees."""
    from pilothouse.api import json_text

    try:
        return json_text.decode(body), body.decode(errors="replace").encode()
    except json_text.Fault as fault:
        raise unrecognized(kind, f"couldn't get version/kind; json parse error: {fault}", body) from None


def _no_object(value: Any, kind: str, body: bytes) -> Object:
    """What stands for a body that is none: an empty object for null. Raises BadRequest for anything else."""
    if value is None:
        return {}
    raise unrecognized(kind, without_kind(value), body)


def without_kind(value: Any) -> str:
    """Why a document says no kind: it is no object."""
    return (
        f"couldn't get version/kind; json parse error: json: cannot unmarshal {json_type(value)} into Go value of type "
        r'struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }'
    )


def _decode_yaml(body: bytes, kind: str) -> tuple[Object, list[str]]:
    from pilothouse.apiserver import yaml

    try:
        obj, duplicates = yaml.load(body)
    except ValueError as error:
        raise unrecognized(kind, f"yaml: {error}", body) from None
    if not isinstance(obj, dict):
        return _no_object(obj, kind, body), []
    return obj, [duplicate.key for duplicate in duplicates]


def _decode_protobuf(body: bytes, kind: str) -> Object:
    from pilothouse.api.codec import protobuf

    try:
        return protobuf.decode(body)
    except protobuf.UnknownKind as error:
        version = error.api_version.rpartition("/")[2]
        raise BadRequest(
            f'{error.kind} in version "{version}" cannot be handled as a {kind}: no kind "{error.kind}" is registered for version '
            f'"{error.api_version}" in scheme "{_SCHEME}"'
        ) from None
    except protobuf.MalformedMessage as error:
        raise unrecognized(kind, str(error), body) from None


def unrecognized(kind: str, why: str, body: bytes) -> BadRequest:
    if not kind:
        return BadRequest(why)
    return BadRequest(f"the object provided is unrecognized (must be of type {kind}): {why} ({_summary(body)})")


def _summary(body: bytes, limit: int = 30) -> str:
    if not body:
        return "<empty>"
    cut = " ..." if len(body) > limit else ""
    if body.startswith(b"{"):
        return body[:limit].decode(errors="replace") + cut
    return body[:limit].hex() + cut


def json_type(value: Any) -> str:
    """What upstream calls the type of a decoded value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, dict):
        return "object"
    return "array" if isinstance(value, list) else "number"
