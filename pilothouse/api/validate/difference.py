"""What differs between two parts of an object, in words for the message that refuses a change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

_MOST = 20


def difference(old: Any, new: Any) -> str:
    """A line for each value that was removed (`-`) or added (`+`), with its path; long differences end in `…`."""
    lines: list[str] = []
    for line in _lines(old, new, ""):
        if len(lines) == _MOST:
            lines.append("…")
            break
        lines.append(line)
    return "\n".join(lines)


def _lines(old: Any, new: Any, path: str) -> Iterator[str]:
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from _lines(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _lines(before, after, f"{path}[{i}]")
    else:
        for sign, value in (("-", old), ("+", new)):
            if value is not None:
                yield f"{sign} {path}: {json.dumps(value, ensure_ascii=False)}"
