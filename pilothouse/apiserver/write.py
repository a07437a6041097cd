"""A write as a registry takes it, and what comes of a deletion."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object
from pilothouse.api.path import FieldError
from pilothouse.api.user import User
from pilothouse.apiserver.ownership import Track
from pilothouse.store.cached import Cached

Change = Callable[[Object], Awaitable[Object]]
"""Makes the new object from the present one, which it may change and return. Called again when the write lost a race."""


Check = Callable[[Mapping[str, Any], Mapping[str, Any]], Sequence[FieldError]]
"""Takes the new and the old object."""


@dataclass(slots=True)
class Write:
    """Who writes what, and how; the warnings that arise are added to `warnings`."""

    user: User
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    dry_run: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    track: Track | None = None
    """Who owns which field afterwards; None for what the server does by itself, which leaves ownership as it is."""
    gvr: GVR | None = None
    """The version that the client speaks, where it is not the one that is stored."""
    annotations: dict[str, str] | None = None
    """Where admission says what it has to say to the audit log."""
    is_repeatable: bool = False
    """Whether the change can be made of one state and then again of a later one."""
    seen: str = ""
    """The resourceVersion that the client names, if it does."""

    def may_begin_with(self, present: Cached) -> bool:
        """Whether to try with a state that may not be the latest."""
        return self.is_repeatable or (bool(self.seen) and self.seen == present.resource_version)


@dataclass(frozen=True, slots=True)
class Deleted:
    """The outcome of a deletion: the object as it was or as it is now, and whether it is gone."""

    wire: bytes
    is_gone: bool
