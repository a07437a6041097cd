"""What a registry does about `metadata.managedFields`; who owns what is decided by a `Track`, which comes with a write."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pilothouse.api.apply.owners import checked, differ_only_in_time
from pilothouse.api.meta import Object

Track = Callable[[Mapping[str, Any] | None, Object, float], Awaitable[None] | None]
"""Sets the managedFields of a draft that replaces the live object (None: there is none) at a time, or when what it returns is awaited.

Runs before admission.
"""


def keep(live: Mapping[str, Any] | None, draft: Object, now: float) -> None:
    """For a draft whose managedFields are what they should be."""


def untracked(live: Mapping[str, Any] | None, draft: Object) -> None:
    """For what the server writes by itself: ownership stays as it is."""
    take(draft["metadata"], live["metadata"].get("managedFields") if live is not None else None)


def after_admission(draft: Object, before: list[Object] | None, warnings: list[str]) -> None:
    """Undo what admission did to managedFields if it is not valid."""
    metadata = draft["metadata"]
    entries = metadata.get("managedFields")
    if entries is before:
        return
    try:
        checked(entries or ())
    except (ValueError, TypeError, AttributeError) as error:
        take(metadata, before)
        warnings.append(
            ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating admission "
            f"controller; please fix your requests: {error}"
        )


def take(metadata: Object, entries: list[Object] | None) -> None:
    if entries:
        metadata["managedFields"] = entries
    else:
        metadata.pop("managedFields", None)


def keep_times(draft: Object, old: Mapping[str, Any]) -> None:
    """A write that would change nothing but when fields were last set changes nothing at all."""
    metadata, before = draft["metadata"], old["metadata"]
    entries, previous = metadata.get("managedFields"), before.get("managedFields")
    if not entries or not previous or len(entries) != len(previous) or not differ_only_in_time(entries, previous):
        return
    if {**draft, "metadata": {**metadata, "managedFields": previous}} == old:
        metadata["managedFields"] = previous
