"""Objects with declared fields, and which node each field has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pilothouse.api.apply.elements import SELF, Element
from pilothouse.api.apply.lists import KeyedNode, SetNode
from pilothouse.api.apply.maps import DEDUCED, MapNode, keys_removed
from pilothouse.api.apply.node import LEAF, MISSING, Node, descend
from pilothouse.api.apply.sets import FieldSet, with_self
from pilothouse.api.schema.types import Field, ListOf, MapOf, Scalar, Struct, Type, struct_of

_KEY_DEFAULTS = {
    ("ContainerPort", "protocol"): "TCP",
    ("LocalObjectReference", "name"): "",
    ("ServicePort", "protocol"): "TCP",
}
"""Defaults of fields by which items are told apart, where these are not the zero value."""
_ZERO = {"string": "", "int32": 0, "int64": 0, "boolean": False}


class StructNode(Node):
    """An object with declared fields; undeclared ones, where they are allowed, are owned by what they look like."""

    __slots__ = ("_struct", "_table", "nullable")
    is_leaf = False

    def __init__(self, struct: Struct) -> None:
        self._struct = struct
        self._table: dict[str, tuple[Element, Node]] | None = None
        self.nullable = frozenset(
            name
            for name, field in struct.fields.items()
            if (field.presence in ("keep", "null") and isinstance(field.type, ListOf | MapOf))
            or (field.presence == "null" and struct_of(field.type) is not None)
        )
        """Fields that in upstream's form of an object are always there, if only as null: they never come into being."""

    @property
    def struct(self) -> Struct:
        return self._struct

    @property
    def table(self) -> dict[str, tuple[Element, Node]]:
        if self._table is None:
            self._table = {name: (f"f:{name}", node_of(field)) for name, field in self._struct.fields.items()}
        return self._table

    def node_at(self, name: str, value: Any) -> tuple[Element, Node]:
        """For a field that is not declared."""
        return f"f:{name}", DEDUCED if value.__class__ is dict else LEAF

    def added(self, value: Any) -> FieldSet:
        if not value:
            return {}
        result: FieldSet = {SELF: {}}
        table = self.table
        for name, child in value.items():
            element, node = table.get(name) or self.node_at(name, child)
            result[element] = {} if node.is_leaf else node.added(child)
        return result

    def compare(self, old: Any, new: Any, changed: FieldSet, removed: FieldSet) -> None:
        table = self.table
        for name, value in new.items():
            before = old.get(name, MISSING)
            if before is not MISSING and before == value:
                continue
            element, node = table.get(name) or self.node_at(name, value)
            if node.is_leaf:
                changed[element] = {}
            elif before is MISSING or (before is None and name in self.nullable):
                self._come_or_go(name, element, node.added(value), changed)
            elif value is None and name in self.nullable:
                self._come_or_go(name, element, node.added(before), removed)
            else:
                descend(element, node, before, value, changed, removed)
        for name, value in old.items():
            if name not in new:
                element, node = table.get(name) or self.node_at(name, value)
                self._come_or_go(name, element, node.added(value), removed)

    def _come_or_go(self, name: str, element: Element, fields: FieldSet, into: FieldSet) -> None:
        if name in self.nullable and SELF in fields:
            del fields[SELF]
        into[element] = fields

    def applied(self, value: Any) -> FieldSet | None:
        result: FieldSet = {}
        table = self.table
        for name, child in value.items():
            entry = table.get(name)
            if entry is None:
                element, node = self.node_at(name, child)
                result[element] = {} if node.is_leaf else with_self(node.applied(child) or {})
                continue
            element, node = entry
            if node.is_leaf or child is None or child == {}:
                result[element] = {}
            elif (within := node.applied(child)) is not None:
                result[element] = within
        return result or None

    def merge(self, old: Any, new: Any) -> Any:
        if not new:
            return old if old else new
        result = dict(old) if old else {}
        table = self.table
        for name, value in new.items():
            before = result.get(name)
            if before is None:
                result[name] = value
                continue
            _, node = table.get(name) or self.node_at(name, value)
            result[name] = value if node.is_leaf else node.merge(before, value)
        return result

    def removing(self, value: Any, fields: FieldSet) -> Any:
        table = self.table

        def node_at(name: str, child: Any) -> Node:
            return (table.get(name) or self.node_at(name, child))[1]

        return keys_removed(value, fields, node_at)

    def named(self, fields: FieldSet) -> FieldSet:
        table = self.table
        result: FieldSet = {}
        for element, below in fields.items():
            entry = table.get(element[2:]) if element[:2] == "f:" else None
            if not below:
                result[element] = below
            elif entry is None:
                result[element] = below if element == SELF else DEDUCED.named(below)
            else:
                result[element] = {SELF: {}, **entry[1].named(below)}
        return result


def struct_node(struct: Struct) -> StructNode:
    """The node of a struct, made once."""
    node: StructNode = struct.passes.get("apply") or struct.passes.setdefault("apply", StructNode(struct))
    return node


def node_of(field: Field) -> Node:
    """The node of a field, by the facts of its declaration."""
    found = field.type
    if isinstance(found, ListOf):
        if field.list_type == "set":
            return SetNode()
        if field.list_type == "map":
            return _keyed(found, field.map_keys)
        return LEAF
    return LEAF if field.map_type == "atomic" else _plain_node(found, field.map_type)


def _keyed(found: ListOf, keys: Sequence[str]) -> Node:
    struct = struct_of(found.item)
    if struct is None:
        return LEAF
    defaults: dict[str, Any] = {}
    for name in keys:
        declared = struct.fields.get(name)
        if (struct.go_name, name) in _KEY_DEFAULTS:
            defaults[name] = _KEY_DEFAULTS[struct.go_name, name]
        elif declared is not None and declared.presence == "always" and isinstance(declared.type, Scalar):
            defaults[name] = _ZERO.get(declared.type.name, "")
    return KeyedNode(keys, _plain_node(found.item), defaults)


def _plain_node(found: Type, map_type: str = "") -> Node:
    if isinstance(found, MapOf):
        return MapNode(_plain_node(found.value))
    struct = struct_of(found)
    if struct is None or (struct.map_type == "atomic" and map_type != "granular"):
        return LEAF
    return struct_node(struct)
