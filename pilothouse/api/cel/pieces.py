"""Evaluation of expressions piece by piece, where one has more rounds of comprehensions than the library allows at a time.

The library ends an evaluation after 10,000 rounds, whatever they cost. Upstream counts costs instead, and a rule that compares each of 150
items with each other is well within its limit. So an expression that came to the end is taken apart: the operands of logical operators one
by one, and `all`, `exists` and `exists_one` over some of the items at a time, where these are a variable or a property of one. Other
comprehensions stay whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pilothouse.api.codec.wire import BYTES, VARINT, delimited, fields, tag, varint

MAX_EVALUATIONS = 20
"""Of pieces: some 150,000 rounds, which is as much as upstream's limit of 1,000,000 for one expression allows of short ones."""
_CONST, _IDENT, _SELECT, _CALL, _COMPREHENSION = 3, 4, 5, 6, 9
_TYPE = "type.googleapis.com/cel.expr.CheckedExpr"
_ITEMS = "@items"
_ALL, _EXISTS, _EXISTS_ONE = "_&&_", "_||_", "_?_:_"
_KINDS = {(2, 1): _ALL, (2, 0): _EXISTS, (3, 0): _EXISTS_ONE}
"""Which macro a comprehension was, by the field and value of the constant with which its accumulator begins."""

Execute = Callable[[bytes, Mapping[str, Any]], Any]
"""The value of a serialized expression with further variables. Raises TooManyRounds, and other errors as they come."""


class TooManyRounds(Exception):
    """The evaluation came to the end of its rounds."""


def evaluate(checked: bytes, variables: Mapping[str, Any], execute: Execute, failure: type[Exception]) -> Any:
    """The value of a serialized expression that has too many rounds. Raises TooManyRounds if it has also in pieces.

    Errors of the type `failure` are those of a piece, which may not matter to the whole.
    """
    return _Pieces(checked, variables, execute, failure).value()


class _Pieces:
    def __init__(
        self, checked: bytes, variables: Mapping[str, Any], execute: Execute, failure: type[Exception]
    ) -> None:
        self._variables = variables
        self._execute = execute
        self._failure = failure
        self._left = MAX_EVALUATIONS
        self._frame = b""
        self._root = b""
        for number, value in _fields(dict(_fields(checked))[2]):
            if number == 4:
                self._root = value
            else:
                self._frame += _message(number, value) if isinstance(value, bytes) else _integer(number, value)
        self._ids = iter(range(1 << 40, 1 << 50))

    def value(self) -> Any:
        return self._split(self._root)

    def _piece(self, node: bytes) -> Any:
        try:
            return self._run(node, {})
        except TooManyRounds:
            return self._split(node)

    def _run(self, node: bytes, variables: Mapping[str, Any]) -> Any:
        self._left -= 1
        if self._left < 0:
            raise TooManyRounds
        return self._execute(_text(1, _TYPE) + _message(2, self._frame + _message(4, node)), variables)

    def _split(self, node: bytes) -> Any:
        kind, body = _kind(node)
        if kind == _COMPREHENSION:
            return self._comprehension(dict(_fields(body)))
        if kind != _CALL:
            raise TooManyRounds
        function = next((text.decode() for number, text in _fields(body) if number == 2), "")
        arguments = [value for number, value in _fields(body) if number == 3]
        match function:
            case "_&&_" | "_||_":
                return self._logical(map(self._attempt, arguments), function == "_||_")
            case "!_":
                return not self._truth(arguments[0])
            case "_?_:_":
                return self._piece(arguments[1] if self._truth(arguments[0]) else arguments[2])
        raise TooManyRounds

    def _truth(self, node: bytes) -> bool:
        value = self._piece(node)
        if not isinstance(value, bool):
            raise self._failure("no such overload")
        return value

    def _attempt(self, node: bytes) -> bool | Exception:
        try:
            return self._truth(node)
        except self._failure as error:
            return error

    def _logical(self, outcomes: Iterator[Any], decisive: bool) -> bool:
        """The first outcome that decides does so, whatever else fails."""
        error = None
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                error = error or outcome
            elif outcome == decisive:
                return decisive
        if error is not None:
            raise error
        return not decisive

    def _comprehension(self, parts: dict[int, Any]) -> Any:
        kind = _macro(parts)
        items = None if kind is None else self._at(parts[2])
        if not isinstance(items, list):
            raise TooManyRounds
        parts[2] = self._name(_ITEMS)
        if kind == _EXISTS_ONE:
            parts[7] = self._name(parts[3].decode())
        some = self._node(_COMPREHENSION, b"".join(_message(number, part) for number, part in parts.items()))
        if kind != _EXISTS_ONE:
            return self._logical(self._outcomes(some, items), kind == _EXISTS)
        count = 0
        for outcome in self._outcomes(some, items):
            if isinstance(outcome, Exception):
                raise outcome
            count += outcome
        return bool(count == 1)

    def _at(self, node: bytes) -> Any:
        """What a variable or a property of one is; None for anything else."""
        kind, body = _kind(node)
        parts = dict(_fields(body))
        if kind == _IDENT:
            return self._variables.get(parts[1].decode())
        if kind != _SELECT or parts.get(3):
            return None
        owner = self._at(parts[1])
        return owner.get(parts[2].decode()) if isinstance(owner, dict) else None

    def _outcomes(self, some: bytes, items: list[Any]) -> Iterator[Any]:
        """What comes of the first items, then of those after them, values or failures: fewer at a time where they have too many rounds."""
        length, begin = max(1, len(items) // 2), 0
        while begin < len(items):
            try:
                yield self._run(some, {_ITEMS: items[begin : begin + length]})
            except TooManyRounds:
                if length == 1:
                    raise
                length //= 2
                continue
            except self._failure as error:
                yield error
            begin += length

    def _node(self, kind: int, body: bytes) -> bytes:
        return _integer(2, next(self._ids)) + _message(kind, body)

    def _name(self, name: str) -> bytes:
        return self._node(_IDENT, _text(1, name))


def _macro(parts: dict[int, Any]) -> str | None:
    if 8 in parts:
        return None
    start, constant = _kind(parts[4])
    step, call = _kind(parts[6])
    if start != _CONST or step != _CALL:
        return None
    kind = _KINDS.get(next(_fields(constant), (0, 0)))
    return kind if (2, (kind or "").encode()) in _fields(call) else None


def _kind(node: bytes) -> tuple[int, bytes]:
    return next(((number, value) for number, value in _fields(node) if number != 2), (0, b""))


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    return fields(data, 0, len(data))


def _message(number: int, content: bytes) -> bytes:
    return tag(number, BYTES) + delimited(content)


def _text(number: int, text: str) -> bytes:
    return _message(number, text.encode())


def _integer(number: int, value: int) -> bytes:
    return tag(number, VARINT) + varint(value)
