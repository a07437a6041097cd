"""The types that a custom kind's schema gives to expressions, and how large values of them can be.

A structure becomes a message of the library's type system, so that the compiler finds fields that are not there and comparisons that
cannot be. Lists of lists and maps of lists are dynamic inside. Sizes are worst cases: what the schema does not limit is limited by the
size of a request. Source: apiserver `cel/common/schemas.go`, `cel/{types,limits}.go`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from google.protobuf import descriptor_pb2, duration_pb2, struct_pb2, timestamp_pb2

from pilothouse.api.cel.ast import Type
from pilothouse.api.cel.environment import KEYWORDS, Environment, escape
from pilothouse.api.cel.library import PACKAGES, VariableType
from pilothouse.api.structural.schema import Structural

MAX_REQUEST_BYTES = 3 * 1024 * 1024
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
_FORMATTED = {"duration": ("duration", 3, 32), "date": ("timestamp", 12, 12), "date-time": ("timestamp", 21, 32)}
"""By format of a string: the type, and how many bytes of JSON a value has at least and at most."""
_SCALARS = {"boolean": ("bool", 4), "number": ("double", 1), "integer": ("int", 1)}


@dataclass(frozen=True, eq=False)
class Declared:
    """A type. `kind` is CEL's name of it, or `object`; sizes are of JSON in bytes."""

    kind: str
    min_bytes: int
    max_elements: int = 0
    """Characters, items or entries; 0 for what has none."""
    item: Declared | None = None
    fields: Mapping[str, Declared] = field(default_factory=dict)
    """By the name that expressions know."""

    @cached_property
    def max_count(self) -> int:
        """How often a value can be in a request if nothing limits that."""
        return MAX_REQUEST_BYTES // (self.min_bytes + 1)

    def size_at(self, path: tuple[str, ...]) -> int | None:
        """How many elements the value has at most to which a path leads; its first name is the variable's."""
        at = self
        for name in path[1:]:
            if name in ("@items", "@values"):
                found = at.item
            elif name == "@keys":
                found = _KEY if at.kind == "map" else None
            else:
                found = at.fields.get(name)
            if found is None:
                return None
            at = found
        return at.max_elements


_KEY = Declared("string", 2)
_TEXT = Declared("string", 2, MAX_REQUEST_BYTES - 2)


def declare(schema: Structural, *, is_resource: bool = False) -> Declared | None:
    """The type of the values of a schema; None for those that expressions cannot see."""
    if schema.is_int_or_string:
        return Declared("dyn", 1, MAX_REQUEST_BYTES - 2 if schema.max_length is None else max(schema.max_length, 0) * 4)
    if schema.type == "array" and schema.items is not None:
        item = declare(schema.items, is_resource=schema.items.is_embedded)
        if item is None:
            return None
        most = (MAX_REQUEST_BYTES - 2) // (item.min_bytes + 1)
        return Declared("list", 2, most if schema.max_items is None else max(schema.max_items, 0), item)
    if schema.type == "object":
        return _object(schema, is_resource=is_resource)
    if schema.type == "string":
        return _string(schema)
    if schema.type in _SCALARS:
        return Declared(*_SCALARS[schema.type])
    return None


def _object(schema: Structural, *, is_resource: bool) -> Declared | None:
    if isinstance(schema.additional, Structural) and not is_resource:
        value = declare(schema.additional, is_resource=schema.additional.is_embedded)
        if value is None:
            return None
        most = (MAX_REQUEST_BYTES - 2) // (value.min_bytes + 6)
        return Declared("map", 2, most if schema.max_properties is None else max(schema.max_properties, 0), value)
    fields: dict[str, Declared] = {}
    min_bytes = 2
    for name, child in schema.properties.items():
        if is_resource and name in ("apiVersion", "kind", "metadata"):
            continue
        found = declare(child, is_resource=child.is_embedded)
        if found is None:
            continue
        if (escaped := escape(name)) is not None:
            fields[escaped] = found
            if name in KEYWORDS:
                fields[name] = found
        if name in schema.required and child.default is None:
            min_bytes += len(name.encode()) + found.min_bytes + 4
    if is_resource:
        metadata = Declared("object", 2, fields={"name": _TEXT, "generateName": _TEXT})
        fields |= {"apiVersion": _TEXT, "kind": _TEXT, "metadata": metadata}
    return Declared("object", min_bytes, fields=fields)


def _string(schema: Structural) -> Declared:
    if schema.format in _FORMATTED:
        kind, least, most = _FORMATTED[schema.format]
        return Declared(kind, least, most)
    kind = "bytes" if schema.format == "byte" else "string"
    if schema.max_length is not None:
        characters = max(schema.max_length, 0)
        return Declared(kind, 2, characters if kind == "bytes" else characters * 4)
    if schema.enum and kind == "string":
        return Declared(kind, 2, max((len(each.encode()) for each in schema.enum if isinstance(each, str)), default=0))
    return Declared(kind, 2, MAX_REQUEST_BYTES - 2)


def typed_environment(
    declared: Mapping[str, Declared], plain: Mapping[str, str] | None = None, *, mutates: bool = False
) -> Environment:
    """An environment in which the variables `declared` have their types, beside `plain` ones. See `Environment`."""
    messages = _Messages()
    variables = {name: messages.type_of(each) for name, each in declared.items()}
    environment = Environment({**(plain or {}), **variables}, files=messages.files, mutates=mutates)
    environment.declared = messages.by_name
    return environment


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
        for module in (struct_pb2, timestamp_pb2, duration_pb2):
            self._file.dependency.append(module.DESCRIPTOR.name)
        self._names: dict[int, str] = {}
        self.by_name: dict[str, Declared] = {}
        for package in PACKAGES:
            self._file.dependency.append(f"{package}.proto")

    @property
    def files(self) -> list[descriptor_pb2.FileDescriptorProto]:
        found = []
        for module in (struct_pb2, timestamp_pb2, duration_pb2):
            file = descriptor_pb2.FileDescriptorProto()
            module.DESCRIPTOR.CopyToProto(file)
            found.append(file)
        return [*found, self._file]

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
            # Protobuf derives the name of an entry from that of its field.
            entry = f"{''.join(part[:1].upper() + part[1:] for part in key.split('_'))}Entry"
            nested = message.nested_type.add(name=entry)
            nested.options.map_entry = True
            nested.field.add(name="key", number=1, label=_FIELD.LABEL_OPTIONAL, type=_FIELD.TYPE_STRING)
            self._set(nested.field.add(name="value", number=2, label=_FIELD.LABEL_OPTIONAL), declared.item)
            made.label, made.type, made.type_name = _FIELD.LABEL_REPEATED, _FIELD.TYPE_MESSAGE, f".{owner}.{entry}"
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
