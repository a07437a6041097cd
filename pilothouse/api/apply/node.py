"""How a value is owned, compared and merged: what nodes of all types answer, and the leaf.

A leaf is owned as a whole: scalars, and objects and lists that are atomic. In the other types each part has an owner of its own: the
fields of a struct (`structs`), the keys of a map (`maps`), the items of a set, and, told apart by their keys, the items of a list of type
map (`lists`). Nodes are made from `api.schema`'s types when they are first needed, one for a type, and are pure.

What a node says of a field's subtree is a branch of a set (see `sets`): `{}` for the field alone.
"""

from __future__ import annotations

from typing import Any

from pilothouse.api.apply.elements import Element
from pilothouse.api.apply.sets import FieldSet

MISSING: Any = object()
"""The value of a field that is not there."""


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


def descend(element: Element, node: Node, old: Any, new: Any, changed: FieldSet, removed: FieldSet) -> None:
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
