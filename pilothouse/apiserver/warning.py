"""The header in which clients are warned."""

from __future__ import annotations

from collections.abc import Sequence

_WARNINGS_LIMIT = 4096


def warning_header(warnings: Sequence[str]) -> str:
    """RFC 7234 5.5; 299 is a persistent warning of no further kind. All together at most 4 KiB, as upstream."""
    values: list[str] = []
    total = 0
    for text in dict.fromkeys(warnings):
        total += len(text)
        if total > _WARNINGS_LIMIT:
            break
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        values.append(f'299 - "{escaped}"')
    return ", ".join(values)
