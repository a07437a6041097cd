"""Variables whose type is a kind's schema, so that the compiler finds what cannot be: the type checking of policies.

A kind becomes a message of the library's type system, each of its structs one of its own. What has no such type (an int or a string,
any JSON, lists of lists) stays dynamic. Nothing is evaluated with these types.

Source: apiserver `cel/openapi`, `policy/validating/typechecking.go`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, struct_pb2, timestamp_pb2

from pilothouse.api.cel.environment import Environment
from pilothouse.api.cel.messages import files_of, map_values
from pilothouse.api.schema.types import ListOf, MapOf, Scalar, Struct, Type, struct_of

PACKAGE = "typed"
_FIELD = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "string": _FIELD.TYPE_STRING,
    "boolean": _FIELD.TYPE_BOOL,
    "int32": _FIELD.TYPE_INT64,
    "int64": _FIELD.TYPE_INT64,
    "double": _FIELD.TYPE_DOUBLE,
    "byte": _FIELD.TYPE_BYTES,
}
_MESSAGES = {"time": ".google.protobuf.Timestamp", "micro-time": ".google.protobuf.Timestamp"}
_ANY = ".google.protobuf.Value"
_is_identifier = re.compile(r"[A-Za-z_][A-Za-z0-9_]*").fullmatch


def typed_environment(variables: Mapping[str, str], objects: Mapping[str, Struct]) -> Environment:
    """An environment in which the variables `objects` have types, beside plain `variables`."""
    messages = _Messages()
    named = {name: messages.message(struct) for name, struct in objects.items()}
    return Environment({**variables, **named}, files=messages.files)


class _Messages:
    """The messages of structs, in one file."""

    def __init__(self) -> None:
        self._file = descriptor_pb2.FileDescriptorProto(name="typed.proto", package=PACKAGE, syntax="proto3")
        imported = files_of(struct_pb2, timestamp_pb2)
        self._file.dependency.extend(file.name for file in imported)
        self.files = [*imported, self._file]
        self._names: dict[int, str] = {}
        self._structs: list[Struct] = []
        """Kept, so that no id is given twice."""

    def message(self, struct: Struct) -> str:
        """The full name of a struct's message."""
        name = self._names.get(id(struct))
        if name is not None:
            return name
        short = f"T{len(self._names)}_{re.sub(r'[^A-Za-z0-9]', '_', struct.go_name)}"
        name = self._names[id(struct)] = f"{PACKAGE}.{short}"
        self._structs.append(struct)
        message = descriptor_pb2.DescriptorProto(name=short)
        fields = {"apiVersion": Scalar("string"), "kind": Scalar("string")} if struct.kinds else {}
        every: dict[str, Type] = {**fields, **{key: found.type for key, found in struct.fields.items()}}
        seen: set[str] = set()
        for key, type_ in every.items():
            folded = key.lower().replace("_", "")
            if _is_identifier(key) and folded not in seen:
                seen.add(folded)
                self._field(message, name, key, type_)
        self._file.message_type.append(message)
        return name

    def _field(self, message: Any, owner: str, key: str, type_: Type) -> None:
        field = message.field.add(name=key, number=len(message.field) + 1, label=_FIELD.LABEL_OPTIONAL)
        if isinstance(type_, ListOf) and not isinstance(type_.item, ListOf | MapOf):
            field.label = _FIELD.LABEL_REPEATED
            self._set(field, type_.item)
        elif isinstance(type_, MapOf) and not isinstance(type_.value, ListOf | MapOf):
            self._set(map_values(field, message, owner), type_.value)
        else:
            self._set(field, type_)

    def _set(self, field: Any, type_: Type) -> None:
        if isinstance(type_, Scalar) and type_.name in _SCALARS:
            field.type = _SCALARS[type_.name]
            return
        field.type = _FIELD.TYPE_MESSAGE
        struct = None if isinstance(type_, Scalar | ListOf | MapOf) else struct_of(type_)
        if struct is not None and not struct.preserves_unknown:
            field.type_name = f".{self.message(struct)}"
        else:
            field.type_name = _MESSAGES.get(type_.name, _ANY) if isinstance(type_, Scalar) else _ANY
