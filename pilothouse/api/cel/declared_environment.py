"""Variables whose types are declared, so that the compiler finds fields that are not there and comparisons that cannot be.

A structure becomes a message of the library's type system. Lists of lists and maps of lists are dynamic inside.
Source: apiserver `cel/common/schemas.go`, `cel/types.go`.
"""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf import descriptor_pb2, duration_pb2, struct_pb2, timestamp_pb2

from pilothouse.api.cel.ast import Type
from pilothouse.api.cel.declared import Declared
from pilothouse.api.cel.environment import Environment
from pilothouse.api.cel.library import PACKAGES, VariableType
from pilothouse.api.cel.messages import files_of, map_values

_FIELD = descriptor_pb2.FieldDescriptorProto
_FIELD_TYPES = {
    "string": _FIELD.TYPE_STRING,
    "bool": _FIELD.TYPE_BOOL,
    "int": _FIELD.TYPE_INT64,
    "uint": _FIELD.TYPE_UINT64,
    "double": _FIELD.TYPE_DOUBLE,
    "bytes": _FIELD.TYPE_BYTES,
}
_MESSAGES = {
    "timestamp": ".google.protobuf.Timestamp",
    "duration": ".google.protobuf.Duration",
    "dyn": ".google.protobuf.Value",
}


class DeclaredEnvironment(Environment):
    """An environment in which the variables `declared` have their types, beside `plain` ones. See `Environment`."""

    def __init__(
        self, declared: Mapping[str, Declared], plain: Mapping[str, str] | None = None, *, mutates: bool = False
    ) -> None:
        messages = _Messages()
        variables = {name: messages.type_of(each) for name, each in declared.items()}
        super().__init__({**(plain or {}), **variables}, files=messages.files, mutates=mutates)
        self.declared: Mapping[str, Declared] = messages.by_name
        """The types of objects by the names of their messages."""


def declared_of(type_: Type, known: Mapping[str, Declared]) -> Declared:
    """The type that an expression has, as a variable's; `known` are the objects of its environment by the names of their messages."""
    if type_.message in known:
        return known[type_.message]
    if type_.name in ("list", "map") and (type_.name == "list" or type_.of[0].name == "string"):
        return Declared(type_.name, 2, item=declared_of(type_.of[-1], known))
    if type_.name == "message" and type_.message.startswith(("kubernetes.", "net.")):
        return Declared(type_.message, 1)
    return Declared(type_.name if type_.name in _FIELD_TYPES or type_.name in _MESSAGES else "dyn", 1)


class _Messages:
    """The messages of objects, in one file."""

    def __init__(self) -> None:
        self._file = descriptor_pb2.FileDescriptorProto(name="declared.proto", package="declared", syntax="proto2")
        imported = files_of(struct_pb2, timestamp_pb2, duration_pb2)
        self._file.dependency.extend(file.name for file in imported)
        self._file.dependency.extend(f"{package}.proto" for package in PACKAGES)
        self.files = [*imported, self._file]
        self._names: dict[int, str] = {}
        self.by_name: dict[str, Declared] = {}

    def type_of(self, declared: Declared) -> VariableType:
        """As a variable has it."""
        if declared.item is not None:
            return (declared.kind, self.type_of(declared.item))
        return self._message(declared) if declared.kind == "object" else declared.kind

    def _message(self, declared: Declared) -> str:
        name = self._names.get(id(declared))
        if name is not None:
            return name
        short = f"T{len(self._names)}"
        name = self._names[id(declared)] = f"declared.{short}"
        self.by_name[name] = declared
        message = descriptor_pb2.DescriptorProto(name=short)
        # Names such as `fooBar` and `foo_bar` may stand side by side; nobody writes these messages as JSON.
        message.options.deprecated_legacy_json_field_conflicts = True
        for key, child in declared.fields.items():
            self._add(message, name, key, child)
        self._file.message_type.append(message)
        return name

    def _add(self, message: descriptor_pb2.DescriptorProto, owner: str, key: str, declared: Declared) -> None:
        number = len(message.field) + 1
        made = message.field.add(name=key, json_name=f"j{number}", number=number, label=_FIELD.LABEL_OPTIONAL)
        if declared.kind == "list":
            assert declared.item is not None
            made.label = _FIELD.LABEL_REPEATED
            self._set(made, declared.item)
        elif declared.kind == "map":
            assert declared.item is not None
            self._set(map_values(made, message, owner), declared.item)
        else:
            self._set(made, declared)

    def _set(self, made: descriptor_pb2.FieldDescriptorProto, declared: Declared) -> None:
        if declared.kind in _FIELD_TYPES:
            made.type = _FIELD_TYPES[declared.kind]
            return
        made.type = _FIELD.TYPE_MESSAGE
        if declared.kind == "object":
            made.type_name = f".{self._message(declared)}"
        elif "." in declared.kind:
            made.type_name = f".{declared.kind}"
        else:
            made.type_name = _MESSAGES.get(declared.kind, _MESSAGES["dyn"])
