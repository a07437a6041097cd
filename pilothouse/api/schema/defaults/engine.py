"""Compiles the tables of defaults into one pass per type, which visits only what can have defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, auto
from functools import cache
from typing import Any, Protocol

from pilothouse.api.meta import Object
from pilothouse.api.schema.defaults import cluster, core, pods, workloads
from pilothouse.api.schema.defaults.constants import CONSTANTS
from pilothouse.api.schema.types import ListOf, MapOf, Struct, Type, struct_of

Rule = Callable[[Object], None]


class Pass(Protocol):
    """Fills the defaults of an object of a type, in place. Idempotent."""

    def __call__(self, obj: Object, before: Mapping[str, Any] = ..., /) -> None:
        """The fields that it shares (`is`) with `before` have been through it."""


_PREFIX = "io.k8s.api."


class _Shape(Enum):
    ONE = auto()
    LIST = auto()
    MAP = auto()


@cache
def _rules() -> Mapping[str, tuple[Rule, ...]]:
    return {**pods.RULES, **core.RULES, **workloads.RULES, **cluster.RULES}


def defaulter(struct: Struct) -> Pass:
    """The pass of a type, compiled when it is first asked for."""
    found: Pass | None = struct.passes.get("default")
    if found is None:
        found = struct.passes["default"] = _compile(struct)
    return found


_NO_FIELDS: Mapping[str, Any] = {}


def _nothing(obj: Object, before: Mapping[str, Any] = _NO_FIELDS) -> None:
    return None


def _compile(struct: Struct) -> Pass:
    short = struct.name.removeprefix(_PREFIX)
    constants = CONSTANTS.get(short, {})
    # Where an empty text is not the same as none, only none is filled in.
    texts = tuple(
        (key, value)
        for key, value in constants.items()
        if isinstance(value, str) and struct.fields[key].presence != "keep"
    )
    mutable = tuple((key, value) for key, value in constants.items() if isinstance(value, dict | list))
    settled = {key for key, _ in (*texts, *mutable)}
    others = tuple((key, value) for key, value in constants.items() if key not in settled)
    rules = _rules().get(short, ())
    children = [
        (name, *found) for name, field in struct.fields.items() if (found := _child(field.type, struct)) is not None
    ]
    if not (constants or rules or children):
        return _nothing
    single = tuple((name, _once_met(inner)) for name, shape, inner in children if shape is _Shape.ONE)
    lists = tuple((name, _once_met(inner)) for name, shape, inner in children if shape is _Shape.LIST)
    maps = tuple((name, _once_met(inner)) for name, shape, inner in children if shape is _Shape.MAP)

    def apply(obj: Object, before: Mapping[str, Any] = _NO_FIELDS) -> None:
        for key, value in texts:
            if not obj.get(key):
                obj[key] = value
        for key, value in others:
            if key not in obj:
                obj[key] = value
        for key, made in mutable:
            if key not in obj:
                obj[key] = made.copy()
        for rule in rules:
            rule(obj)
        for key, inner in single:
            if key in obj and obj[key] is not before.get(key):
                inner()(obj[key])
        for key, inner in lists:
            if (items := obj.get(key)) and items is not before.get(key):
                run = inner()
                for item in items:
                    run(item)
        for key, inner in maps:
            if (items := obj.get(key)) and items is not before.get(key):
                run = inner()
                for item in items.values():
                    run(item)

    return apply


def _once_met(struct: Struct) -> Callable[[], Pass]:
    """The pass of a type, compiled when a value of it is first met."""
    return cache(lambda: defaulter(struct))


def _child(found: Type, parent: Struct) -> tuple[_Shape, Struct] | None:
    shape = _Shape.ONE
    if isinstance(found, ListOf):
        shape, found = _Shape.LIST, found.item
    elif isinstance(found, MapOf):
        shape, found = _Shape.MAP, found.value
    struct = struct_of(found)
    return None if struct is None or not _has_defaults(struct, frozenset({parent.name})) else (shape, struct)


def _has_defaults(struct: Struct, above: frozenset[str]) -> bool:
    """Whether anything in a type has defaults. A type inside itself adds nothing."""
    if struct.name in above:
        return False
    known = struct.passes.get("has-defaults")
    if known is None:
        short = struct.name.removeprefix(_PREFIX)
        known = (
            short in CONSTANTS
            or short in _rules()
            or any(
                _has_defaults(inner, above | {struct.name})
                for field in struct.fields.values()
                if (inner := _innermost(field.type)) is not None
            )
        )
        if known or not above:
            struct.passes["has-defaults"] = known
    return bool(known)


def _innermost(found: Type) -> Struct | None:
    while isinstance(found, ListOf | MapOf):
        found = found.item if isinstance(found, ListOf) else found.value
    return struct_of(found)
