"""Which objects of a resource a list or a watch wants."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from pilothouse.api.field_selector import FieldSelector
from pilothouse.api.selector import LabelSelector
from pilothouse.api.status import BadRequest
from pilothouse.store.cached import Cached
from pilothouse.store.event import ADDED, DELETED, MODIFIED, Event

NAME_FIELD = "metadata.name"
NAMESPACE_FIELD = "metadata.namespace"


class SelectableFields:
    """The fields of a resource by which objects can be selected; read from an object when first asked for."""

    def __init__(self, selectable: Mapping[str, Callable[[Mapping[str, Any]], str]]) -> None:
        self._readers = tuple(selectable.values())
        self._positions = {name: position for position, name in enumerate(selectable)}

    def position(self, field: str) -> int:
        """Where `values` has the field. Raises BadRequest if it cannot be selected by."""
        try:
            return self._positions[field]
        except KeyError:
            raise BadRequest(f"field label not supported: {field}") from None

    def values(self, cached: Cached) -> tuple[str, ...]:
        values = cached.fields
        if values is None:
            obj = orjson.loads(cached.wire)
            values = cached.fields = tuple([read(obj) for read in self._readers])
        return values


class Selection:
    """A namespace, a label selector and a field selector, taken apart so that matching is cheap.

    `namespace` and `name` are empty where any will do. A field selector that demands an exact name or namespace becomes one.
    """

    __slots__ = ("_fields", "_requirements", "is_everything", "is_single", "labels", "name", "namespace", "trigger")

    def __init__(
        self,
        selectable: SelectableFields,
        namespace: str = "",
        labels: LabelSelector | None = None,
        fields: FieldSelector | None = None,
    ) -> None:
        self._fields = selectable
        self.namespace = namespace
        self.name = ""
        self.labels = None if labels is None or labels.is_everything else labels
        self.trigger: tuple[int, str] | None = None
        """A selectable field, by position, and the one value it must have."""
        requirements: list[tuple[int, bool, str]] = []
        for field, operator, value in fields.requirements if fields is not None else ():
            wanted = operator == "="
            if field == NAME_FIELD and wanted and value and not self.name:
                self.name = value
            elif field == NAMESPACE_FIELD and wanted and value and not self.namespace:
                self.namespace = value
            else:
                position = _METADATA_POSITIONS.get(field)
                if position is None:
                    position = selectable.position(field)
                    if wanted and self.trigger is None:
                        self.trigger = (position, value)
                requirements.append((position, wanted, value))
        self._requirements: Sequence[tuple[int, bool, str]] = requirements
        self.is_everything = self.labels is None and not requirements and not self.name
        """Whether it takes all of its namespace, or everything."""
        demands = len(requirements) + (len(self.labels.requirements) if self.labels is not None else 0)
        self.is_single = demands == 1 and not self.name
        """Whether it demands one thing, so that what an index has for it needs no second look but at the namespace."""

    def matches(self, cached: Cached) -> bool:
        if self.namespace and cached.namespace != self.namespace:
            return False
        if self.is_everything:
            return True
        if self.name and cached.name != self.name:
            return False
        if self.labels is not None and not self.labels.matches(cached.labels):
            return False
        return not self._requirements or self._has_fields(cached)

    def transition(self, event: Event) -> str | None:
        """What the event is to those who see only what is selected: an object that stops matching is DELETED, one that starts ADDED."""
        was = event.old is not None and self.matches(event.old)
        if event.new is not None and self.matches(event.new):
            return MODIFIED if was else ADDED
        return DELETED if was else None

    def _has_fields(self, cached: Cached) -> bool:
        for position, wanted, value in self._requirements:
            if position >= 0:
                found = self._fields.values(cached)[position]
            else:
                found = cached.name if position == _NAME else cached.namespace
            if (found == value) is not wanted:
                return False
        return True


_NAME, _NAMESPACE = -1, -2
_METADATA_POSITIONS = {NAME_FIELD: _NAME, NAMESPACE_FIELD: _NAMESPACE}
