"""What a kind needs of the rest of the cluster when one of its objects is written: addresses to take, objects to make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from pilothouse.api.meta import Object


class Undo(Protocol):
    """What a lifecycle took for a write that may yet fail."""

    async def commit(self) -> None: ...

    async def roll_back(self) -> None: ...


class Lifecycle(Protocol):
    """What a kind needs beyond its own object when it is written."""

    async def creating(self, draft: Object, *, dry_run: bool) -> Undo | None:
        """Called before the draft is prepared and validated; may change it. Raises StatusError."""

    async def updating(self, draft: Object, old: Mapping[str, Any], *, dry_run: bool) -> Undo | None: ...

    async def deleted(self, old: Mapping[str, Any]) -> None: ...


class NoLifecycle:
    async def creating(self, draft: Object, *, dry_run: bool) -> Undo | None:
        return None

    async def updating(self, draft: Object, old: Mapping[str, Any], *, dry_run: bool) -> Undo | None:
        return None

    async def deleted(self, old: Mapping[str, Any]) -> None:
        return None
