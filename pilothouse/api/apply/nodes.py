"""How a value of each type is owned, compared and merged.

A leaf is owned as a whole: scalars, and objects and lists that are atomic. In the other types each part has an owner of its own: the
fields of a struct, the keys of a map, the items of a set, and, told apart by their keys, the items of a list of type map. Nodes are made
from `api.schema`'s types when they are first needed, one for a type, and are pure.

What a node says of a field's subtree is a branch of a set (see `sets`): `{}` for the field alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pilothouse.api.apply.elements import SELF, Element, of_keys, of_value
from pilothouse.api.apply.sets import FieldSet
from pilothouse.api.schema.types import Field, ListOf, MapOf, Scalar, Struct, Type, struct_of

_MISSING: Any = object()
_KEY_DEFAULTS = {
    ("ContainerPort", "protocol"): "TCP",
    ("LocalObjectReference", "name"): "",
    ("ServicePort", "protocol"): "TCP",
}
"""Defaults of fields by which items are told apart, where these are not the zero value."""
_ZERO = {"string": "", "int32": 0, "int64": 0, "boolean": False}


class Node:
    """A leaf."""

    __slots__ = ()
    is_leaf = True

    def added(self, value: Any) -> FieldSet:
        """The fields that come into being with a value where there was none."""
        return {}

    def compare(self, old: Any, new: Any, changed: FieldSet, removed: FieldSet) -> None:
        """Put the fields within that differ into `changed` (those that are new as well) and `removed`. For composite nodes."""

    def applied(self, value: Any) -> FieldSet | None:
        """The fields that whoever applies the value owns within it; None if that is nothing at all."""
        return {}

    def merge(self, old: Any, new: Any) -> Any:
        """`old` with what `new` says. Neither is changed; the result shares parts with both."""
        return new

    def removing(self, value: Any, fields: FieldSet) -> Any:
        """The value without what is at or below a field of `fields`."""
        return value

    def named(self, fields: FieldSet) -> FieldSet:
        """The set with all the declared fields on the way to one that it has."""
        return fields


LEAF = Node()


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
            if field.presence in ("keep", "null") and isinstance(field.type, ListOf | MapOf)
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
            before = old.get(name, _MISSING)
            if before is not _MISSING and before == value:
                continue
            element, node = table.get(name) or self.node_at(name, value)
            if node.is_leaf:
                changed[element] = {}
            elif before is _MISSING or (before is None and name in self.nullable):
                self._come_or_go(name, element, node.added(value), changed)
            elif value is None and name in self.nullable:
                self._come_or_go(name, element, node.added(before), removed)
            else:
                _descend(element, node, before, value, changed, removed)
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
                result[element] = {} if node.is_leaf else _with_self(node.applied(child))
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

        return _keys_removed(value, fields, node_at)

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


class MapNode(Node):
    """A map whose keys have owners of their own."""

    __slots__ = ("_value",)
    is_leaf = False

    def __init__(self, value: Node) -> None:
        self._value = value

    def _node(self, value: Any) -> Node:
        return self._value

    def added(self, value: Any) -> FieldSet:
        if not value:
            return {}
        result: FieldSet = {SELF: {}}
        for name, child in value.items():
            node = self._node(child)
            result[f"f:{name}"] = {} if node.is_leaf else node.added(child)
        return result

    def compare(self, old: Any, new: Any, changed: FieldSet, removed: FieldSet) -> None:
        for name, value in new.items():
            before = old.get(name, _MISSING)
            if before is not _MISSING and before == value:
                continue
            node = self._node(value)
            if node.is_leaf or before is _MISSING:
                changed[f"f:{name}"] = node.added(value)
            else:
                _descend(f"f:{name}", node, before, value, changed, removed)
        for name, value in old.items():
            if name not in new:
                removed[f"f:{name}"] = self._node(value).added(value)

    def applied(self, value: Any) -> FieldSet | None:
        result: FieldSet = {}
        for name, child in value.items():
            node = self._node(child)
            result[f"f:{name}"] = {} if node.is_leaf or not child else _with_self(node.applied(child))
        return result or None

    def merge(self, old: Any, new: Any) -> Any:
        if not new:
            return old if old else new
        result = dict(old) if old else {}
        for name, value in new.items():
            before = result.get(name)
            node = self._node(value)
            result[name] = value if before is None or node.is_leaf else node.merge(before, value)
        return result

    def removing(self, value: Any, fields: FieldSet) -> Any:
        return _keys_removed(value, fields, lambda name, child: self._node(child))

    def named(self, fields: FieldSet) -> FieldSet:
        node = self._value
        return fields if node.is_leaf else {key: node.named(below) if below else below for key, below in fields.items()}


class DeducedNode(MapNode):
    """An object that no schema describes: maps are owned by key, anything else as a whole."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(LEAF)

    def _node(self, value: Any) -> Node:
        return self if value.__class__ is dict else LEAF


DEDUCED = DeducedNode()


class ItemsNode(Node):
    """A list whose items have owners of their own, whatever their order."""

    __slots__ = ()
    is_leaf = False
    item: Node = LEAF

    def element(self, item: Any) -> Element:
        """What tells the item from others. Raises ValueError for one that has nothing of the kind."""
        return of_value(item)

    def _split(self, items: Sequence[Any]) -> tuple[dict[Element, Any], Mapping[Element, list[Any]]]:
        """The items that stand once, and those that stand more than once."""
        once: dict[Element, Any] = {}
        more: dict[Element, list[Any]] = {}
        for item in items:
            element = self.element(item)
            if element in more:
                more[element].append(item)
            elif element in once:
                more[element] = [once.pop(element), item]
            else:
                once[element] = item
        return once, more

    def added(self, value: Any) -> FieldSet:
        if not value:
            return {}
        once, more = self._split(value)
        result: FieldSet = {SELF: {}}
        node = self.item
        for element, item in once.items():
            result[element] = {} if node.is_leaf else node.added(item)
        for element in more:
            result[element] = {}
        return result

    def compare(self, old: Any, new: Any, changed: FieldSet, removed: FieldSet) -> None:
        before, before_more = self._split(old)
        after, after_more = self._split(new)
        node = self.item
        for element, item in after.items():
            previous = before.get(element, _MISSING)
            if previous is _MISSING:
                changed[element] = node.added(item)
            elif previous != item:
                if node.is_leaf:
                    changed[element] = {}
                else:
                    _descend(element, node, previous, item, changed, removed)
        for element, items in after_more.items():
            if before_more.get(element) != items:
                changed[element] = {}
        for element, item in before.items():
            if element not in after:
                gone = node.added(item)
                if element in after_more:
                    gone = {key: below for key, below in gone.items() if key != SELF}
                    if not gone:
                        continue
                removed[element] = gone
        for element in before_more:
            if element not in after and element not in after_more:
                removed[element] = {}

    def applied(self, value: Any) -> FieldSet | None:
        once, more = self._split(value)
        result: FieldSet = {element: {} for element in more}
        node = self.item
        for element, item in once.items():
            result[element] = {} if node.is_leaf or not item else _with_self(node.applied(item))
        return result or None

    def merge(self, old: Any, new: Any) -> Any:
        if not new:
            return old if old else new
        if not old:
            return new
        given = {self.element(item): item for item in new}
        times = Counter(standing := [self.element(item) for item in old])
        present = {element: item for element, item in zip(standing, old, strict=True) if times[element] == 1}
        shared = iter([element for element in given if element in times])
        target = next(shared, None)
        result: list[Any] = []
        position = 0

        def take_others_until(stop: Element | None) -> None:
            """Keep the items that only `old` has, up to the one that is wanted next."""
            nonlocal position
            while position < len(old) and standing[position] != stop:
                if standing[position] not in given:
                    result.append(old[position])
                position += 1

        for element, item in given.items():
            take_others_until(target)
            before = present.get(element)
            result.append(item if before is None or self.item.is_leaf else self.item.merge(before, item))
            if element == target:
                position += 1
                target = next(shared, None)
        take_others_until(None)
        return result

    def removing(self, value: Any, fields: FieldSet) -> Any:
        result = []
        for item in value:
            below = fields.get(self.element(item))
            if below is None:
                result.append(item)
            elif below and SELF not in below:
                result.append(self.item.removing(item, below))
        return result

    def named(self, fields: FieldSet) -> FieldSet:
        node = self.item
        return fields if node.is_leaf else {key: node.named(below) if below else below for key, below in fields.items()}


class SetNode(ItemsNode):
    """A list of different scalars."""

    __slots__ = ()


class KeyedNode(ItemsNode):
    """A list of type map."""

    __slots__ = ("_defaults", "_keys", "item")

    def __init__(self, keys: Sequence[str], item: Node, defaults: Mapping[str, Any]) -> None:
        self._keys = tuple(sorted(keys))
        self._defaults = defaults
        self.item = item

    @property
    def keys(self) -> tuple[str, ...]:
        return self._keys

    def element(self, item: Any) -> Element:
        keys = {}
        for name in self._keys:
            if name in item:
                keys[name] = item[name]
            elif name in self._defaults:
                keys[name] = self._defaults[name]
        if not keys:
            raise ValueError("associative list with keys has an element that omits all key fields")
        return of_keys(keys)


def _descend(element: Element, node: Node, old: Any, new: Any, changed: FieldSet, removed: FieldSet) -> None:
    """Compare two composite values. Values of different kinds, which only untyped objects have, differ as a whole."""
    if old.__class__ is not new.__class__:
        changed[element] = node.added(new)
        return
    within_changed: FieldSet = {}
    within_removed: FieldSet = {}
    node.compare(old, new, within_changed, within_removed)
    if within_changed:
        changed[element] = within_changed
    if within_removed:
        removed[element] = within_removed


def _keys_removed(value: Mapping[str, Any], fields: FieldSet, node_at: Callable[[str, Any], Node]) -> dict[str, Any]:
    result = {}
    for name, child in value.items():
        below = fields.get(f"f:{name}")
        if below is None:
            result[name] = child
        elif below and SELF not in below:
            result[name] = node_at(name, child).removing(child, below) if child else child
    return result


def _with_self(fields: FieldSet | None) -> FieldSet:
    return {SELF: {}, **fields} if fields else {}


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
