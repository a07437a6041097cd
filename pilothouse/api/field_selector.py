"""Field selectors: parsing, matching, printing.

Selectors are immutable and parses are cached. Source: apimachinery `pkg/fields/selector.go`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pilothouse.api.status import BadRequest
from pilothouse.kit.remembered import remembered


class FieldRequirement(NamedTuple):
    """One term of a field selector; `operator` is `=` or `!=`."""

    field: str
    operator: str
    value: str


class FieldSelector:
    """Field requirements that must all hold; immutable and hashable."""

    __slots__ = ("requirements",)

    def __init__(self, requirements: Iterable[FieldRequirement] = ()) -> None:
        self.requirements: tuple[FieldRequirement, ...] = tuple(requirements)

    @property
    def is_everything(self) -> bool:
        return not self.requirements

    def matches(self, fields: Mapping[str, str]) -> bool:
        """Whether the values of an object's selectable fields match; a field that is not there counts as empty."""
        return all(
            (fields.get(field, "") == value) is (operator == "=") for field, operator, value in self.requirements
        )

    def exact_value(self, field: str) -> str | None:
        """The one value that `field` must have, if the selector demands one."""
        return next((value for name, operator, value in self.requirements if name == field and operator == "="), None)

    def __str__(self) -> str:
        return ",".join(f"{field}{operator}{escape(value)}" for field, operator, value in self.requirements)

    def __repr__(self) -> str:
        return f"FieldSelector({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return self.requirements == other.requirements if isinstance(other, FieldSelector) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.requirements)


def escape(value: str) -> str:
    r"""`value` as it is written in a field selector: `\`, `,` and `=` get a backslash."""
    return value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")


_terms = re.compile(r"(?:[^\\,]|\\.?)+", re.DOTALL).findall
_operators = re.compile("!=|==|=").search
_escapes = re.compile(r"\\(.?)|([,=])", re.DOTALL)


def _unescaped(value: str) -> str:
    def character(match: re.Match[str]) -> str:
        escaped, bare = match.groups()
        if bare:
            raise BadRequest(f"invalid field selector: unescaped character in value: {ord(bare)}")
        if not escaped or escaped not in "\\,=":
            raise BadRequest(f"invalid field selector: invalid escape sequence: {match.group()}")
        return escaped

    return _escapes.sub(character, value)


@remembered(1024)
def parse_fields(text: str) -> FieldSelector:
    """The selector that a query such as `spec.nodeName=n1,status.phase!=Failed` writes. An empty text selects everything.

    Raises BadRequest with upstream's message.
    """
    requirements = []
    terms: Sequence[str] = sorted(_terms(text))
    for term in terms:
        match = _operators(term)
        if match is None:
            raise BadRequest(f"invalid selector: '{text}'; can't understand '{term}'")
        field, value = term[: match.start()], _unescaped(term[match.end() :])
        if field or value:
            requirements.append(FieldRequirement(field, "!=" if match.group() == "!=" else "=", value))
    return FieldSelector(requirements)
