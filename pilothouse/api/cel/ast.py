"""The syntax tree of a compiled expression, with the types that the compiler found.

A compiled expression is written as the message `cel.expr.CheckedExpr` inside a `google.protobuf.Any`; here it is read back. Macros are
expanded in it: `all`, `map` and the like are comprehensions. Source: cel-spec `proto/cel/expr/{checked,syntax}.proto`, whose field numbers
never change.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pilothouse.api.codec.wire import fields, signed

DYNAMIC = frozenset({"google.protobuf.Value", "google.protobuf.Any"})
_PRIMITIVES = {1: "bool", 2: "int", 3: "uint", 4: "double", 5: "string", 6: "bytes"}
_WELL_KNOWN = {1: "dyn", 2: "timestamp", 3: "duration"}
_LITERALS = {
    1: "null",
    2: "bool",
    3: "int",
    4: "uint",
    5: "double",
    6: "string",
    7: "bytes",
    8: "duration",
    9: "timestamp",
}


@dataclass(frozen=True, slots=True)
class Type:
    """`name` is that of CEL, `message` for structures, whose `message` names them; `of` are the types of what it holds."""

    name: str
    of: tuple[Type, ...] = ()
    message: str = ""


DYN = Type("dyn")


@dataclass(frozen=True, slots=True)
class Node:
    id: int
    offset: int
    """Where it stands in the text, in characters; -1 if that is not known."""
    type: Type


@dataclass(frozen=True, slots=True)
class Literal(Node):
    kind: str
    value: Any


@dataclass(frozen=True, slots=True)
class Name(Node):
    name: str


@dataclass(frozen=True, slots=True)
class Select(Node):
    operand: Node
    field: str
    is_test: bool


@dataclass(frozen=True, slots=True)
class Call(Node):
    function: str
    target: Node | None
    arguments: tuple[Node, ...]
    overloads: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class List(Node):
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Struct(Node):
    """A map, or with a `message` a structure, whose entries have no keys."""

    message: str
    entries: tuple[tuple[Node | None, Node], ...]


@dataclass(frozen=True, slots=True)
class Comprehension(Node):
    variable: str
    second: str
    """The other variable, of the macros that have two."""
    range: Node
    accumulator: str
    start: Node
    condition: Node
    step: Node
    result: Node


def parse(checked: bytes) -> Node:
    """The tree of a serialized expression."""
    return _Reader(dict(_fields(checked))[2]).tree()


def walk(node: Node) -> Iterator[Node]:
    """A node and all below it."""
    yield node
    for child in children(node):
        yield from walk(child)


def children(node: Node) -> tuple[Node, ...]:
    match node:
        case Select():
            return (node.operand,)
        case Call():
            return node.arguments if node.target is None else (node.target, *node.arguments)
        case List():
            return node.items
        case Struct():
            return tuple(part for entry in node.entries for part in entry if part is not None)
        case Comprehension():
            return (node.range, node.start, node.condition, node.step, node.result)
    return ()


class _Reader:
    def __init__(self, checked: bytes) -> None:
        self._types: dict[int, Type] = {}
        self._overloads: dict[int, tuple[str, ...]] = {}
        self._offsets: dict[int, int] = {}
        self._root = b""
        for number, value in _fields(checked):
            if number == 2:
                key, reference = _entry(value)
                self._overloads[key] = tuple(text.decode() for field, text in _fields(reference) if field == 3)
            elif number == 3:
                key, type_ = _entry(value)
                self._types[key] = _type(type_)
            elif number == 4:
                self._root = value
            elif number == 5:
                for field, position in _fields(value):
                    if field == 4:
                        entry = dict(_fields(position))
                        self._offsets[signed(entry.get(1, 0))] = signed(entry.get(2, 0))

    def tree(self) -> Node:
        return self._node(self._root)

    def _node(self, data: bytes) -> Node:
        found = dict(_fields(data))
        id_ = signed(found.pop(2, 0))
        base = (id_, self._offsets.get(id_, -1), self._types.get(id_, DYN))
        number, body = next(iter(found.items()))
        match number:
            case 3:
                return Literal(*base, *_literal(body))
            case 4:
                return Name(*base, dict(_fields(body))[1].decode())
            case 5:
                parts = dict(_fields(body))
                return Select(*base, self._node(parts[1]), parts[2].decode(), bool(parts.get(3)))
            case 6:
                return self._call(base, body)
            case 7:
                return List(*base, tuple(self._node(item) for field, item in _fields(body) if field == 1))
            case 8:
                return self._struct(base, body)
        return self._comprehension(base, body)

    def _call(self, base: tuple[int, int, Type], body: bytes) -> Call:
        target: Node | None = None
        function, arguments = "", []
        for number, value in _fields(body):
            if number == 1:
                target = self._node(value)
            elif number == 2:
                function = value.decode()
            else:
                arguments.append(self._node(value))
        return Call(*base, function, target, tuple(arguments), self._overloads.get(base[0], ()))

    def _struct(self, base: tuple[int, int, Type], body: bytes) -> Struct:
        message, entries = "", []
        for number, value in _fields(body):
            if number == 1:
                message = value.decode()
            else:
                entry = dict(_fields(value))
                entries.append((self._node(entry[3]) if 3 in entry else None, self._node(entry[4])))
        return Struct(*base, message, tuple(entries))

    def _comprehension(self, base: tuple[int, int, Type], body: bytes) -> Comprehension:
        parts = dict(_fields(body))
        variable, second, accumulator = (parts.get(number, b"").decode() for number in (1, 8, 3))
        range_, start, condition, step, result = (self._node(parts[number]) for number in (2, 4, 5, 6, 7))
        return Comprehension(*base, variable, second, range_, accumulator, start, condition, step, result)


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    return fields(data, 0, len(data))


def _entry(data: bytes) -> tuple[int, bytes]:
    entry = dict(_fields(data))
    return signed(entry.get(1, 0)), entry.get(2, b"")


def _literal(data: bytes) -> tuple[str, Any]:
    for number, value in _fields(data):
        match number:
            case 2:
                return "bool", bool(value)
            case 3:
                return "int", signed(value)
            case 5:
                return "double", struct.unpack("<d", value)[0] if isinstance(value, bytes) else value
            case 6:
                return "string", value.decode()
            case _:
                return _LITERALS.get(number, "null"), value
    return "null", None


def _type(data: bytes) -> Type:
    for number, value in _fields(data):
        match number:
            case 2:
                return Type("null")
            case 3:
                return Type(_PRIMITIVES.get(value, "dyn"))
            case 4:
                return Type("wrapper", (Type(_PRIMITIVES.get(value, "dyn")),))
            case 5:
                return Type(_WELL_KNOWN.get(value, "dyn"))
            case 6:
                return Type("list", tuple(_type(each) for _, each in _fields(value)) or (DYN,))
            case 7:
                parts = dict(_fields(value))
                return Type("map", (_type(parts.get(1, b"")), _type(parts.get(2, b""))))
            case 9:
                name = value.decode()
                return DYN if name in DYNAMIC else Type("message", message=name)
            case 10:
                return Type("parameter")
            case 11:
                return Type("type")
            case 14:
                opaque = [_type(each) for field, each in _fields(value) if field == 2]
                name = next((text.decode() for field, text in _fields(value) if field == 1), "")
                return Type("optional" if name == "optional_type" else "opaque", tuple(opaque), name)
    return DYN
