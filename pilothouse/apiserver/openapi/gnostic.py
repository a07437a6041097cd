"""An OpenAPI 2 document as protobuf, in the messages that gnostic declares: what kubectl and client-go ask `/openapi/v2` for. Pure.

The table below says which field of a document is which field of a message; what it does not name, a message cannot carry. Vendor
extensions, defaults and the members of enums travel as text, which is YAML to the reader, and JSON is YAML.
Source: gnostic-models `openapiv2/OpenAPIv2.proto`; numbers are part of the format and never change.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple

import orjson

from pilothouse.api.codec.wire import delimited, tag, varint

MEDIA_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
OLD_MEDIA_TYPE = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
"""What client-go asks for; the answer is of MEDIA_TYPE."""

_TABLE = """\
Document swagger=1:s info=2:Info host=3:s basePath=4:s schemes=5:*s consumes=6:*s produces=7:*s paths=8:Paths \
definitions=9:Schemas parameters=10:Parameters responses=11:SharedResponses security=12:*Requirement \
securityDefinitions=13:Securities tags=14:*Tag externalDocs=15:Docs x-=16:Any
Info title=1:s version=2:s description=3:s termsOfService=4:s contact=5:Contact license=6:License x-=7:Any
Contact name=1:s url=2:s email=3:s x-=4:Any
License name=1:s url=2:s x-=3:Any
Docs description=1:s url=2:s x-=3:Any
Tag name=1:s description=2:s externalDocs=3:Docs x-=4:Any
Requirement *=1:Strings
Securities *=1:Security
ApiKey type=1:s name=2:s in=3:s description=4:s x-=5:Any
Basic type=1:s description=2:s x-=3:Any
Paths x-=1:Any *=2:Path
Path $ref=1:s get=2:Operation put=3:Operation post=4:Operation delete=5:Operation options=6:Operation head=7:Operation \
patch=8:Operation parameters=9:*ParameterOrReference x-=10:Any
Operation tags=1:*s summary=2:s description=3:s externalDocs=4:Docs operationId=5:s produces=6:*s consumes=7:*s \
parameters=8:*ParameterOrReference responses=9:Responses schemes=10:*s deprecated=11:t security=12:*Requirement x-=13:Any
Reference $ref=1:s description=2:s
Parameters *=1:Parameter
Body description=1:s name=2:s in=3:s required=4:t schema=5:Schema x-=6:Any
Header required=1:t in=2:s description=3:s name=4:s type=5:s format=6:s items=7:Items collectionFormat=8:s default=9:Any \
maximum=10:d exclusiveMaximum=11:t minimum=12:d exclusiveMinimum=13:t maxLength=14:i minLength=15:i pattern=16:s maxItems=17:i \
minItems=18:i uniqueItems=19:t enum=20:*Any multipleOf=21:d x-=22:Any
Query required=1:t in=2:s description=3:s name=4:s allowEmptyValue=5:t type=6:s format=7:s items=8:Items collectionFormat=9:s \
default=10:Any maximum=11:d exclusiveMaximum=12:t minimum=13:d exclusiveMinimum=14:t maxLength=15:i minLength=16:i pattern=17:s \
maxItems=18:i minItems=19:i uniqueItems=20:t enum=21:*Any multipleOf=22:d x-=23:Any
Items type=1:s format=2:s items=3:Items collectionFormat=4:s default=5:Any maximum=6:d exclusiveMaximum=7:t minimum=8:d \
exclusiveMinimum=9:t maxLength=10:i minLength=11:i pattern=12:s maxItems=13:i minItems=14:i uniqueItems=15:t enum=16:*Any \
multipleOf=17:d x-=18:Any
SharedResponses *=1:Response
Responses *=1:ResponseOrReference x-=2:Any
Response description=1:s schema=2:ResponseSchema x-=5:Any
Schemas *=1:Schema
Schema $ref=1:s format=2:s title=3:s description=4:s default=5:Any multipleOf=6:d maximum=7:d exclusiveMaximum=8:t minimum=9:d \
exclusiveMinimum=10:t maxLength=11:i minLength=12:i pattern=13:s maxItems=14:i minItems=15:i uniqueItems=16:t maxProperties=17:i \
minProperties=18:i required=19:*s enum=20:*Any additionalProperties=21:Additional type=22:Strings items=23:SchemaItems \
allOf=24:*Schema properties=25:Schemas discriminator=26:s readOnly=27:t externalDocs=29:Docs example=30:Any x-=31:Any
"""


class _Field(NamedTuple):
    key: str
    """What the document calls it; empty for a field that holds all keys that have no field of their own."""
    prefix: bytes
    """Tag of the field."""
    kind: str
    repeated: bool


class _Message(NamedTuple):
    fields: tuple[_Field, ...]
    keys: frozenset[str]
    is_extensible: bool


def encode(document: Mapping[str, Any]) -> bytes:
    """The message `Document` of a document in JSON's form."""
    return _encode("Document", document)


def _encode(name: str, value: Any) -> bytes:
    choose = _CHOICES.get(name)
    if choose is not None:
        return choose(value)
    message = _message(name)
    parts: list[bytes] = []
    for field in message.fields:
        if field.key in ("x-", "*"):
            named = (item for item in value.items() if item[0] not in message.keys and _is_for(message, field, item[0]))
            _add_named(parts, field, named)
            continue
        found = value.get(field.key)
        if found is None:
            continue
        if field.repeated:
            parts += (b"%b%b" % (field.prefix, delimited(_content(field.kind, item))) for item in found)
        else:
            _add(parts, field, found)
    return b"".join(parts)


def _is_for(message: _Message, field: _Field, key: str) -> bool:
    """Whether the key belongs to the field; where there are no extensions, `x-…` is a name like any other."""
    return not message.is_extensible or key.startswith("x-") == (field.key == "x-")


def _add_named(parts: list[bytes], field: _Field, items: Iterable[tuple[str, Any]]) -> None:
    for key, value in items:
        entry = b"\n%b\x12%b" % (delimited(key.encode()), delimited(_content(field.kind, value)))
        parts.append(b"%b%b" % (field.prefix, delimited(entry)))


def _add(parts: list[bytes], field: _Field, value: Any) -> None:
    """A field that occurs once; scalars that are zero are left out."""
    match field.kind:
        case "t" | "i":
            if value:
                parts.append(field.prefix + varint(int(value)))
        case "d":
            if value:
                parts.append(field.prefix + struct.pack("<d", value))
        case "s" if not value:
            pass
        case _:
            parts.append(b"%b%b" % (field.prefix, delimited(_content(field.kind, value))))


def _content(kind: str, value: Any) -> bytes:
    return value.encode() if kind == "s" else _encode(kind, value)


def _only(number: int, name: str) -> Callable[[Any], bytes]:
    """A message that holds one of several others; here the one that it holds always."""
    prefix = tag(number, 2)
    return lambda value: prefix + delimited(_encode(name, value))


def _any(value: Any) -> bytes:
    return b"\x12" + delimited(orjson.dumps(value))


def _strings(value: str | list[str]) -> bytes:
    return b"".join(b"\n" + delimited(text.encode()) for text in ([value] if isinstance(value, str) else value))


def _additional(value: Any) -> bytes:
    if isinstance(value, bool):
        return b"\x10" + varint(int(value))
    return b"\n" + delimited(_encode("Schema", value))


def _or_reference(name: str) -> Callable[[Any], bytes]:
    plain, reference = _only(1, name), _only(2, "Reference")
    return lambda value: reference(value) if "$ref" in value else plain(value)


_BODY = _only(1, "Body")
_PLACES = {
    "header": _only(1, "Header"),
    "formData": _only(2, "Query"),
    "query": _only(3, "Query"),
    "path": _only(4, "Header"),
}
"""Parameters in forms have the fields of those in queries, and those in paths the fields of headers."""


def _parameter(value: Any) -> bytes:
    place = value["in"]
    return _BODY(value) if place == "body" else b"\x12" + delimited(_PLACES[place](value))


def _security(value: Any) -> bytes:
    """How clients prove who they are; Kubernetes' documents know two of the ways."""
    number, name = (1, "Basic") if value["type"] == "basic" else (2, "ApiKey")
    return _only(number, name)(value)


_CHOICES: Mapping[str, Callable[[Any], bytes]] = {
    "Any": _any,
    "Strings": _strings,
    "Additional": _additional,
    "SchemaItems": _only(1, "Schema"),
    "ResponseSchema": _only(1, "Schema"),
    "ResponseOrReference": _or_reference("Response"),
    "ParameterOrReference": _or_reference("Parameter"),
    "Parameter": _parameter,
    "Security": _security,
}
"""Messages that are more than a list of fields, as most that hold one of several."""


@cache
def _message(name: str) -> _Message:
    line = next(line for line in _TABLE.splitlines() if line.startswith(f"{name} "))
    fields = []
    for part in line.split()[1:]:
        key, _, description = part.partition("=")
        number, _, kind = description.partition(":")
        repeated = kind.startswith("*")
        kind = kind.removeprefix("*")
        wire_type = {"t": 0, "i": 0, "d": 1}.get(kind, 2)
        fields.append(_Field(key, tag(int(number), wire_type), kind, repeated))
    keys = frozenset(field.key for field in fields)
    return _Message(tuple(fields), keys - {"x-", "*"}, "x-" in keys)
