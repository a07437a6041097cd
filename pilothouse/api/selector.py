"""Label selectors: parsing, matching, printing.

Selectors are immutable and parses are cached. Source: apimachinery `pkg/labels/selector.go`, `meta/v1.LabelSelectorAsSelector`. Every
function here raises `status.BadRequest` with upstream's message for bad input.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from pilothouse.api import names
from pilothouse.api.path import FieldError, Path, invalid
from pilothouse.api.status import BadRequest
from pilothouse.kit.remembered import remembered


class Operator(StrEnum):
    """How a requirement compares. The values are upstream's selection operators."""

    IN = "in"
    NOT_IN = "notin"
    EQUALS = "="
    DOUBLE_EQUALS = "=="
    NOT_EQUALS = "!="
    EXISTS = "exists"
    DOES_NOT_EXIST = "!"
    GREATER_THAN = "gt"
    LESS_THAN = "lt"


_SETS = (Operator.IN, Operator.NOT_IN)
_SINGLE = (Operator.EQUALS, Operator.DOUBLE_EQUALS, Operator.NOT_EQUALS)
_NONE = (Operator.EXISTS, Operator.DOES_NOT_EXIST)
_POSITIVE = (Operator.IN, Operator.EQUALS, Operator.DOUBLE_EQUALS)
_NEGATIVE = (Operator.NOT_IN, Operator.NOT_EQUALS)
_BINARY = {
    "in": Operator.IN,
    "=": Operator.EQUALS,
    "==": Operator.DOUBLE_EQUALS,
    ">": Operator.GREATER_THAN,
    "<": Operator.LESS_THAN,
    "notin": Operator.NOT_IN,
    "!=": Operator.NOT_EQUALS,
}
_SIGNS = {
    Operator.EQUALS: "=",
    Operator.DOUBLE_EQUALS: "==",
    Operator.NOT_EQUALS: "!=",
    Operator.GREATER_THAN: ">",
    Operator.LESS_THAN: "<",
}
_is_integer = re.compile(r"[+-]?[0-9]{1,19}").fullmatch


def _integer(text: str) -> int | None:
    """A 64-bit integer, or None if `text` is not one."""
    if _is_integer(text) is None:
        return None
    value = int(text)
    return value if -(2**63) <= value < 2**63 else None


class Requirement(NamedTuple):
    """One term of a label selector."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        found = labels.get(self.key)
        operator = self.operator
        if operator in _POSITIVE:
            return found is not None and found in self.values
        if operator in _NEGATIVE:
            return found is None or found not in self.values
        if operator is Operator.EXISTS:
            return found is not None
        if operator is Operator.DOES_NOT_EXIST:
            return found is None
        number = None if found is None else _integer(found)
        bound = _integer(self.values[0])
        if number is None or bound is None:
            return False
        return number > bound if operator is Operator.GREATER_THAN else number < bound

    def __str__(self) -> str:
        if self.operator is Operator.EXISTS:
            return self.key
        if self.operator is Operator.DOES_NOT_EXIST:
            return f"!{self.key}"
        listed = ",".join(sorted(self.values))
        if self.operator in _SETS:
            return f"{self.key} {self.operator} ({listed})"
        return f"{self.key}{_SIGNS[self.operator]}{listed}"

    def faults(self, path: Path) -> list[FieldError]:
        """What makes the requirement invalid; `path` is where it stands."""
        errors = []
        if messages := names.label_key(self.key):
            errors.append(invalid(path.child("key"), self.key, "; ".join(messages)))
        values_path, count = path.child("values"), len(self.values)
        listed = list(self.values)
        if self.operator in _SETS:
            if not count:
                errors.append(invalid(values_path, listed, "for 'in', 'notin' operators, values set can't be empty"))
        elif self.operator in _SINGLE:
            if count != 1:
                errors.append(invalid(values_path, listed, "exact-match compatibility requires one single value"))
        elif self.operator in _NONE:
            if count:
                errors.append(invalid(values_path, listed, "values set must be empty for exists and does not exist"))
        else:
            if count != 1:
                errors.append(invalid(values_path, listed, "for 'Gt', 'Lt' operators, exactly one value is required"))
            errors.extend(
                invalid(values_path.index(i), value, "for 'Gt', 'Lt' operators, the value must be an integer")
                for i, value in enumerate(self.values)
                if _integer(value) is None
            )
        for i, value in enumerate(self.values):
            if messages := names.label_value(value):
                errors.append(invalid(values_path.index(i).key(self.key), value, "; ".join(messages)))
        return errors


class LabelSelector:
    """Requirements that must all hold; immutable and hashable."""

    __slots__ = ("_equal", "_other", "is_nothing", "requirements")

    def __init__(self, requirements: Iterable[Requirement] = (), *, is_nothing: bool = False) -> None:
        self.requirements: tuple[Requirement, ...] = tuple(sorted(requirements, key=lambda each: each.key))
        self.is_nothing = is_nothing
        """Whether it selects no object at all: the selector of an absent `labelSelector`."""
        self._equal = tuple((each.key, each.values[0]) for each in self.requirements if _is_equality(each))
        self._other = tuple(each for each in self.requirements if not _is_equality(each))

    @property
    def is_everything(self) -> bool:
        return not self.requirements and not self.is_nothing

    def matches(self, labels: Mapping[str, str]) -> bool:
        get = labels.get
        for key, value in self._equal:
            if get(key) != value:
                return False
        for requirement in self._other:
            if not requirement.matches(labels):
                return False
        return not self.is_nothing

    def exact_value(self, key: str) -> str | None:
        """The one value that the label `key` must have, if the selector demands one: for use with an index."""
        for requirement in self.requirements:
            if requirement.key == key:
                return requirement.values[0] if _is_equality(requirement) else None
        return None

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))

    def __repr__(self) -> str:
        return "LabelSelector(nothing)" if self.is_nothing else f"LabelSelector({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LabelSelector):
            return NotImplemented
        return self.requirements == other.requirements and self.is_nothing == other.is_nothing

    def __hash__(self) -> int:
        return hash((self.requirements, self.is_nothing))


def _is_equality(requirement: Requirement) -> bool:
    return requirement.operator in _POSITIVE and len(requirement.values) == 1


EVERYTHING = LabelSelector()
NOTHING = LabelSelector(is_nothing=True)


def _checked(requirement: Requirement) -> Requirement:
    if errors := requirement.faults(Path()):
        texts = list(dict.fromkeys(map(str, errors)))
        raise BadRequest(texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]")
    return requirement


def from_map(labels: Mapping[str, str] | None) -> LabelSelector:
    """The selector of a plain map, as in a Service: every label equal. Values are not checked. Nothing or `{}` selects everything."""
    if not labels:
        return EVERYTHING
    return LabelSelector(Requirement(key, Operator.EQUALS, (value,)) for key, value in labels.items())


_OBJECT_OPERATORS = {
    "In": Operator.IN,
    "NotIn": Operator.NOT_IN,
    "Exists": Operator.EXISTS,
    "DoesNotExist": Operator.DOES_NOT_EXIST,
}


def from_object(selector: Mapping[str, Any] | None) -> LabelSelector:
    """The selector of a `metav1.LabelSelector` object. None selects nothing, `{}` everything."""
    if selector is None:
        return NOTHING
    requirements = [
        _checked(Requirement(key, Operator.EQUALS, (value,)))
        for key, value in (selector.get("matchLabels") or {}).items()
    ]
    for expression in selector.get("matchExpressions") or ():
        written = expression.get("operator", "")
        operator = _OBJECT_OPERATORS.get(written)
        if operator is None:
            raise BadRequest(f'"{written}" is not a valid label selector operator')
        values = tuple(expression.get("values") or ())
        requirements.append(_checked(Requirement(expression.get("key", ""), operator, values)))
    return LabelSelector(requirements) if requirements else EVERYTHING


@remembered(1024)
def parse_labels(text: str) -> LabelSelector:
    """The selector that a query such as `app=web,tier in (a,b),!old` writes. An empty text selects everything."""
    if not text:
        return EVERYTHING
    return LabelSelector(_Parser(text).parse())


class _Token(NamedTuple):
    kind: str
    """The symbol or keyword itself, `identifier`, or empty at the end."""
    text: str


_tokens = re.compile(r"[ \t\r\n]*(?:(==|!=|[=!()<>,])|([^ \t\r\n=!()<>,]+))")
_KEYWORDS = ("in", "notin")
_END = _Token("", "")


class _Parser:
    """A recursive descent over the tokens of a label selector."""

    def __init__(self, text: str) -> None:
        self._rest = [
            _Token(symbol or (word if word in _KEYWORDS else "identifier"), symbol or word)
            for symbol, word in _tokens.findall(text.partition("\0")[0])
        ]
        self._rest.append(_END)
        self._rest.reverse()

    def _look(self) -> _Token:
        """The next token where a value may stand: keywords are plain words there."""
        token = self._rest[-1] if self._rest else _END
        return _Token("identifier", token.text) if token.kind in _KEYWORDS else token

    def _take(self) -> _Token:
        token = self._look()
        if self._rest:
            self._rest.pop()
        return token

    def parse(self) -> Iterable[Requirement]:
        requirements: list[Requirement] = []
        while True:
            token = self._look()
            if token.kind == "":
                return requirements
            if token.kind not in ("identifier", "!"):
                raise BadRequest(f"found '{token.text}', expected: !, identifier, or 'end of string'")
            try:
                requirements.append(self._requirement())
            except BadRequest as error:
                raise BadRequest(f"unable to parse requirement: {error.message}") from None
            token = self._take()
            if token.kind == "":
                return requirements
            if token.kind != ",":
                raise BadRequest(f"found '{token.text}', expected: ',' or 'end of string'")
            following = self._look()
            if following.kind not in ("identifier", "!"):
                raise BadRequest(f"found '{following.text}', expected: identifier after ','")

    def _requirement(self) -> Requirement:
        negated = False
        token = self._take()
        if token.kind == "!":
            negated, token = True, self._take()
        if token.kind != "identifier":
            raise BadRequest(f"found '{token.text}', expected: identifier")
        key = token.text
        if messages := names.label_key(key):
            raise BadRequest(str(invalid(Path(), key, "; ".join(messages))))
        if negated or self._look().kind in ("", ","):
            return _checked(Requirement(key, Operator.DOES_NOT_EXIST if negated else Operator.EXISTS))
        written = self._rest.pop() if self._rest else _END
        operator = _BINARY.get(written.kind)
        if operator is None:
            raise BadRequest(f"found '{written.text}', expected: in, notin, =, ==, !=, gt, lt")
        values = self._values() if operator in _SETS else self._value()
        return _checked(Requirement(key, operator, tuple(sorted(values))))

    def _value(self) -> set[str]:
        if self._look().kind in ("", ","):
            return {""}
        token = self._take()
        if token.kind != "identifier":
            raise BadRequest(f"found '{token.text}', expected: identifier")
        return {token.text}

    def _values(self) -> set[str]:
        token = self._take()
        if token.kind != "(":
            raise BadRequest(f"found '{token.text}' expected: '('")
        first = self._look()
        if first.kind == ")":
            self._take()
            return {""}
        if first.kind not in ("identifier", ","):
            raise BadRequest(f"found '{first.text}', expected: ',', ')' or identifier")
        values = self._list()
        if self._take().kind != ")":
            raise BadRequest(f"found '{first.text}', expected: ')'")
        return values

    def _list(self) -> set[str]:
        values: set[str] = set()
        while True:
            token = self._take()
            following = self._look()
            if token.kind == "identifier":
                values.add(token.text)
                if following.kind == ")":
                    return values
                if following.kind != ",":
                    raise BadRequest(f"found '{following.text}', expected: ',' or ')'")
            elif token.kind == ",":
                if not values or following.kind in (")", ","):
                    values.add("")
                if following.kind == ")":
                    return values
            else:
                raise BadRequest(f"found '{token.text}', expected: ',', or identifier")
