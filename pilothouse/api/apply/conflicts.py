"""What an apply is told that would change what others own."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from pilothouse.api.apply import elements, sets
from pilothouse.api.apply.owners import UPDATE, Owner
from pilothouse.api.apply.sets import FieldSet
from pilothouse.api.status import Cause, Conflict


def conflict(contested: Mapping[Owner, FieldSet]) -> Conflict:
    """The error for fields that belong to others."""
    found = [
        (_shown(owner), elements.shown(path))
        for owner in sorted(contested, key=_place)
        for path in sets.paths(contested[owner])
    ]
    causes = [Cause("FieldManagerConflict", f"conflict with {owner}", path) for owner, path in found]
    if len(found) == 1:
        message = f"conflict with {found[0][0]}: {found[0][1]}"
        return Conflict(f"Apply failed with 1 conflict: {message}", causes=causes)
    lines: list[str] = []
    last = ""
    for owner, path in found:
        if owner != last:
            lines.append(f"conflicts with {owner}:")
            last = owner
        lines.append(f"- {path}")
    return Conflict(f"Apply failed with {len(found)} conflicts: {chr(10).join(lines)}", causes=causes)


def _place(owner: Owner) -> tuple[str, ...]:
    manager, operation, version, subresource = owner
    return manager, operation, version, subresource


def _shown(owner: Owner) -> str:
    manager, operation, version, subresource = owner
    text = orjson.dumps(manager).decode()
    if subresource:
        text += f' with subresource "{subresource}"'
    return f"{text} using {version}" if operation == UPDATE else text
