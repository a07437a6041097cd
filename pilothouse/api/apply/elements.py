"""The elements of a path to a field, as managedFields writes them.

`f:NAME` is a field of an object or a key of a map, `k:{"KEY":VALUE,…}` an item of a list by its keys, `v:VALUE` an item of a set, `i:N`
an item by its index. A path is a sequence of elements. Source: meta/v1 `FieldsV1`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

Element = str
SELF = "."
"""In a set: the owner of a composite field, beside the fields within."""

_RANKS = {"f": 0, "k": 1, "v": 2, "i": 3}


def of_value(value: Any) -> Element:
    """The element of a scalar in a set."""
    return "v:" + _json(value)


def of_keys(keys: Mapping[str, Any]) -> Element:
    """The element of an item by its keys, which stand in alphabetical order."""
    return "k:" + _json(keys)


def canonical(element: str) -> Element | None:
    """An element that a client wrote, as this server writes it; None for a kind that is not known. Raises ValueError."""
    kind, separator, rest = element[:1], element[1:2], element[2:]
    if separator != ":":
        raise ValueError(f"missing colon: {element}")
    if kind == "f":
        return element
    if kind == "i":
        return f"i:{int(rest)}"
    if kind == "v":
        return of_value(orjson.loads(rest))
    if kind == "k":
        keys = orjson.loads(rest)
        if not isinstance(keys, dict):
            raise ValueError(f"not a map of keys: {element}")
        return of_keys({name: keys[name] for name in sorted(keys)})
    return None


def place(element: Element) -> tuple[Any, ...]:
    """Where the element stands in order: names, then keys, values and indices."""
    kind, rest = element[0], element[2:]
    if kind == "f":
        return (0, rest)
    value = orjson.loads(rest)
    if kind == "k":
        return (1, [(name, _comparable(value[name])) for name in sorted(value)])
    return (_RANKS[kind], _comparable(value))


def shown(path: Sequence[Element]) -> str:
    """A path as messages write it: `.spec.containers[name="web"].image`."""
    return "".join(map(_shown, path))


def _shown(element: Element) -> str:
    kind, rest = element[0], element[2:]
    if kind == "f":
        return "." + rest
    if kind == "i":
        return f"[{rest}]"
    value = orjson.loads(rest)
    if kind == "v":
        return f"[={_plain(value)}]"
    return f"[{','.join(f'{name}={_plain(value[name])}' for name in sorted(value))}]"


def _plain(value: Any) -> str:
    return orjson.dumps(value).decode()


def _json(value: Any) -> str:
    text = orjson.dumps(value).decode()
    if "<" in text or ">" in text or "&" in text:
        text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return text


def _comparable(value: Any) -> tuple[int, Any]:
    if isinstance(value, bool):
        return (2, value)
    if isinstance(value, int | float):
        return (0, value)
    return (1, value) if isinstance(value, str) else (3, _plain(value))
