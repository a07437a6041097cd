"""Lists whose items have owners of their own: sets, and lists of type map."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pilothouse.api.apply.elements import SELF, Element, of_keys, of_value
from pilothouse.api.apply.node import LEAF, MISSING, Node, descend
from pilothouse.api.apply.sets import FieldSet, with_self


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
            previous = before.get(element, MISSING)
            if previous is MISSING:
                changed[element] = node.added(item)
            elif previous != item:
                if node.is_leaf:
                    changed[element] = {}
                else:
                    descend(element, node, previous, item, changed, removed)
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
            result[element] = {} if node.is_leaf or not item else with_self(node.applied(item) or {})
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
