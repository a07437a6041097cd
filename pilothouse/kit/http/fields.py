"""Header fields of which some are sent in several lines."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, Sequence


class JoinedFields(dict[str, str]):
    """Header fields as one usually wants them, the values of repeated ones joined; `values_of` still tells those apart."""

    def __init__(self, fields: Mapping[str, str], repeated: Mapping[str, Sequence[str]]) -> None:
        super().__init__(fields)
        self.repeated = repeated
        # RFC 9110 5.3: several fields of one name are one list; Set-Cookie, the exception, is none of a request's.
        self.update((name, ", ".join(values)) for name, values in repeated.items())


def values_of(fields: Mapping[str, str], name: str) -> Sequence[str]:
    """The values of a field, one for each line that it was sent in: they may have commas of their own."""
    if isinstance(fields, JoinedFields) and name in fields.repeated:
        return fields.repeated[name]
    if isinstance(fields, Fields):
        return [value for key, value in fields.lines if key == name]
    return [fields[name]] if name in fields else []


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
