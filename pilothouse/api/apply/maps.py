"""Maps whose keys have owners of their own, and objects that no schema describes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pilothouse.api.apply.elements import SELF
from pilothouse.api.apply.node import LEAF, MISSING, Node, descend
from pilothouse.api.apply.sets import FieldSet, with_self


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
            before = old.get(name, MISSING)
            if before is not MISSING and before == value:
                continue
            node = self._node(value)
            if node.is_leaf or before is MISSING:
                changed[f"f:{name}"] = node.added(value)
            else:
                descend(f"f:{name}", node, before, value, changed, removed)
        for name, value in old.items():
            if name not in new:
                removed[f"f:{name}"] = self._node(value).added(value)

    def applied(self, value: Any) -> FieldSet | None:
        result: FieldSet = {}
        for name, child in value.items():
            node = self._node(child)
            result[f"f:{name}"] = {} if node.is_leaf or not child else with_self(node.applied(child) or {})
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
        return keys_removed(value, fields, lambda name, child: self._node(child))

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


def keys_removed(value: Mapping[str, Any], fields: FieldSet, node_at: Callable[[str, Any], Node]) -> dict[str, Any]:
    result = {}
    for name, child in value.items():
        below = fields.get(f"f:{name}")
        if below is None:
            result[name] = child
        elif below and SELF not in below:
            result[name] = node_at(name, child).removing(child, below) if child else child
    return result
