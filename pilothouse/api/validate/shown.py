"""Parts of an object as upstream's messages show them: by its internal types, whose fields have Go's names and are all there.

A layout is a map of field names to what stands there when the field is not given; a layout in its place is a struct that is always
there, a list of one layout stands for a list of structs, and `maybe` for a struct that may be missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pilothouse.api.path import Shown

Layout = Mapping[str, Any]


class maybe:  # noqa: N801, it reads as a word of a layout
    """A struct that is null where it is not given."""

    __slots__ = ("layout",)

    def __init__(self, layout: Layout) -> None:
        self.layout = layout


def shown(part: Any, layout: Layout) -> Shown:
    """`part` as upstream shows a value of the internal type with this layout."""
    return Shown(json.dumps(_filled(part, layout), separators=(",", ":"), ensure_ascii=False))


def shown_list(parts: Sequence[Any], layout: Layout) -> Shown:
    """Several of them."""
    return Shown(f"[{','.join(shown(part, layout).text for part in parts)}]")


def _filled(part: Any, layout: Layout) -> Any:
    return {name: _value((part or {}).get(_api_name(name)), empty) for name, empty in layout.items()}


def _value(value: Any, empty: Any) -> Any:
    match empty:
        case maybe():
            return None if value is None else _filled(value, empty.layout)
        case Mapping():
            return _filled(value, empty)
        case [Mapping() as item]:
            return [_filled(one, item) for one in value] if value is not None else None
        case _:
            return empty if value is None else json.loads(value.text) if isinstance(value, Shown) else value


def _api_name(name: str) -> str:
    """`LocalhostProfile` → `localhostProfile`, `APIGroups` → `apiGroups`."""
    capitals = _capitals(name)
    assert capitals is not None
    end = capitals.end()
    return name[:end].lower() + name[end:] if end in (1, len(name)) else name[: end - 1].lower() + name[end - 1 :]


_capitals = re.compile("[A-Z]+").match


NODE_SELECTOR_TERM: Layout = {
    name: [{"Key": "", "Operator": "", "Values": None}] for name in ("MatchExpressions", "MatchFields")
}


def label_selector(selector: Mapping[str, Any] | None) -> Shown:
    """A label selector as upstream shows it."""
    if selector is None:
        return Shown("null")
    ordered: dict[str, Any] = {}
    if labels := selector.get("matchLabels"):
        ordered["matchLabels"] = dict(sorted(labels.items()))
    if expressions := selector.get("matchExpressions"):
        ordered["matchExpressions"] = [
            {
                "key": one.get("key", ""),
                "operator": one.get("operator", ""),
                **({"values": one["values"]} if one.get("values") else {}),
            }
            for one in expressions
        ]
    return Shown(json.dumps(ordered, separators=(",", ":"), ensure_ascii=False))
