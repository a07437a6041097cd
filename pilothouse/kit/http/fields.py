"""Header fields of which some are sent in several lines."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, Sequence


class Fields(Mapping[str, str]):
    """Header fields, names in lower case. `items` gives every line; a lookup gives a field's values joined (RFC 9110, 5.3)."""

    def __init__(self, lines: Sequence[tuple[str, str]]) -> None:
        self._lines = tuple(lines)

    def __getitem__(self, name: str) -> str:
        values = [value for key, value in self._lines if key == name]
        if not values:
            raise KeyError(name)
        return ", ".join(values)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for name, _ in self._lines))

    def __len__(self) -> int:
        return len({name for name, _ in self._lines})

    def items(self) -> ItemsView[str, str]:
        return _Lines(self)

    @property
    def lines(self) -> Sequence[tuple[str, str]]:
        return self._lines


class _Lines(ItemsView[str, str]):
    def __init__(self, fields: Fields) -> None:
        super().__init__(fields)
        self._fields = fields

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._fields.lines)
