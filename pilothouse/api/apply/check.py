"""What is wrong with a configuration that is to be applied. Messages are those of upstream's typed values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilothouse.api.apply import elements
from pilothouse.api.apply.lists import ItemsNode, KeyedNode, SetNode
from pilothouse.api.apply.node import Node
from pilothouse.api.apply.structs import node_of
from pilothouse.api.schema.types import Field, ListOf, MapOf, Scalar, Struct, Type, struct_of

_NUMERIC = ("int32", "int64", "double")
_UNTYPED = ("quantity", "int-or-string", "time", "micro-time")


def problems(struct: Struct, config: Mapping[str, Any]) -> list[str]:
    """One message for every fault, each with its path."""
    found: list[str] = []
    _struct(struct, config, "", found)
    return found


def joined(found: list[str]) -> str:
    """The messages as one."""
    return found[0] if len(found) == 1 else "\n".join(["errors:", *(f"  {message}" for message in found)])


def _struct(struct: Struct, value: Mapping[str, Any], path: str, found: list[str]) -> None:
    fields = struct.fields
    for name, child in value.items():
        field = fields.get(name)
        if field is not None:
            if child is not None:
                kind = field.type
                if kind.__class__ is Scalar and kind.name == "string" and child.__class__ is str:
                    continue
                _value(kind, child, f"{path}.{name}", found, field)
        elif not struct.preserves_unknown:
            found.append(f"{path}.{name}: field not declared in schema")


def _value(kind: Type, value: Any, path: str, found: list[str], field: Field | None = None) -> None:
    if isinstance(kind, Scalar):
        if (expected := _expected(kind.name, value)) is not None:
            found.append(f"{path}: expected {expected}")
    elif isinstance(kind, ListOf):
        if value.__class__ is not list:
            found.append(f"{path}: expected list, got {_got(value)}")
        else:
            _items(kind, value, path, found, node_of(field) if field is not None else None)
    elif value.__class__ is not dict:
        found.append(f"{path}: expected map, got {_got(value)}")
    elif isinstance(kind, MapOf):
        for name, child in value.items():
            if child is not None:
                _value(kind.value, child, f"{path}.{name}", found)
    else:
        struct = struct_of(kind)
        assert struct is not None
        _struct(struct, value, path, found)


def _items(kind: ListOf, items: list[Any], path: str, found: list[str], node: Node | None) -> None:
    seen = set()
    for index, item in enumerate(items):
        here = f"{path}[{index}]"
        if isinstance(node, ItemsNode):
            if (why := _unidentified(node, item)) is not None:
                found.append(f"{path}: element {index}: {why}")
                return
            element = node.element(item)
            here = path + elements.shown([element])
            if element in seen:
                found.append(f"{path}: duplicate entries for key {elements.shown([element])}")
            seen.add(element)
        if item is not None:
            _value(kind.item, item, here, found)


def _unidentified(node: ItemsNode, item: Any) -> str | None:
    if isinstance(node, SetNode):
        if item is None:
            return "associative list without keys has an element that's an explicit null"
        if item.__class__ is dict:
            return "associative list without keys has an element that's a map type"
        if item.__class__ is list:
            return "not supported: associative list with lists as elements"
        return None
    if item is None:
        return "associative list with keys may not have a null element"
    if item.__class__ is not dict:
        return "associative list with keys may not have non-map elements"
    assert isinstance(node, KeyedNode)
    try:
        node.element(item)
    except ValueError:
        keys = " ".join(f'"{key}"' for key in node.keys)
        return (
            f"associative list with keys has an element that omits all key fields [{keys}] "
            "(and doesn't have default values for any key fields)"
        )
    return None


def _expected(name: str, value: Any) -> str | None:
    """What the value should have been, and what it is; None if it is right."""
    if name in ("any", "object"):
        return None
    if name in _NUMERIC:
        right = value.__class__ is int or value.__class__ is float
        return None if right else f"numeric (int or float), got {_go_type(value)}"
    if name == "boolean":
        return None if value.__class__ is bool else f"boolean, got {_got(value)}"
    if name in _UNTYPED:
        return f"any scalar, got {_got(value)}" if isinstance(value, dict | list) else None
    if value.__class__ is str:
        return None
    return f"string, got &value.valueUnstructured{{Value:{_go(value)}}}"


def _got(value: Any) -> str:
    """As Go prints its wrapper of a value."""
    return f"&{{{_go(value)}}}"


def _go(value: Any) -> str:
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{_go(value[key])}' for key in sorted(value))}]"
    if isinstance(value, list):
        return f"[{' '.join(map(_go, value))}]"
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _go_type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    return "map[string]interface {}" if isinstance(value, dict) else "[]interface {}"
