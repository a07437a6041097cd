"""Fields that a JSON text has twice.

Fast decoders keep the last of two equal keys silently; upstream names them in a warning or an error. That there is none, which is
nearly always so, shows in a microsecond or two when the compact text of the decoded object is as long as what was sent, and
otherwise by counting keys.
"""

from __future__ import annotations

import json
from typing import Any

import orjson


class _Pairs(list[tuple[str, Any]]):
    """The members of one JSON object, in order, with their duplicates."""


def duplicate_fields(text: bytes, obj: Any) -> list[str]:
    """The paths of the fields that stand more than once in `text`, of which `obj` is the decoded value."""
    if len(orjson.dumps(obj)) == len(text.rstrip()):
        return []
    if text.count(b'":') == _count(obj) and not any(spaced in text for spaced in (b'" :', b'"\n:', b'"\t:', b'"\r:')):
        return []
    found: list[str] = []
    _walk(json.loads(text, object_pairs_hook=_Pairs), "", found)
    return found


def _count(value: Any) -> int:
    kind = value.__class__
    if kind is dict:
        count = len(value)
        for member in value.values():
            if member.__class__ is dict or member.__class__ is list:
                count += _count(member)
        return count
    if kind is list:
        return sum([_count(item) for item in value if item.__class__ is dict or item.__class__ is list])
    return 0


def _walk(value: Any, path: str, found: list[str]) -> None:
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, member in value:
            here = f"{path}.{key}" if path else key
            if key in seen and here not in found:
                found.append(here)
            seen.add(key)
            _walk(member, here, found)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _walk(item, f"{path}[{index}]", found)
