"""What admission decides on. Source: apiserver `pkg/admission/attributes.go`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object
from pilothouse.api.resource import Resource
from pilothouse.api.user import User

if TYPE_CHECKING:
    from pilothouse.apiserver.translation import Translation

Operation = Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]


@dataclass(slots=True)
class Reinvocation:
    """What a second round of mutating admission needs to know of the first.

    A plugin that calls out remembers in `done` which of its calls may be repeated; when the object has changed since, they move to
    `again`, and are the only ones that are made in the second round.
    """

    is_second: bool = False
    is_needed: bool = False
    done: set[str] = field(default_factory=set)
    again: set[str] = field(default_factory=set)
    last: dict[str, Object | None] = field(default_factory=dict)
    """By plugin: the object as it left it."""

    def changed(self) -> None:
        self.is_needed = True
        self.again |= self.done
        self.done = set()


@dataclass(slots=True)
class Attributes:
    """A write that is about to happen.

    `obj` is the draft: mutating admission may change it in place, validating admission may not. It is None for a deletion. `old` is
    what is stored, None for a creation; never changed. Both are in the version that is stored; `gvr` is the one that the client speaks.
    """

    operation: Operation
    resource: Resource
    gvr: GVR
    namespace: str
    name: str
    user: User
    obj: Object | None = None
    old: Mapping[str, Any] | None = None
    subresource: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    """CreateOptions, UpdateOptions, PatchOptions or DeleteOptions; for CONNECT what the subresource defines."""
    is_dry_run: bool = False
    warnings: list[str] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)
    """What admission has to say to the audit log, by key."""
    reinvocation: Reinvocation | None = None
    """Made by the first plugin that needs it."""
    translation: Translation | None = None
    """What takes the objects of a custom kind to other versions, where these differ in more than their names."""


class Admission(Protocol):
    """The admission chain. Both methods raise the Status error with which the write is refused."""

    async def mutate(self, attributes: Attributes) -> None: ...

    async def validate(self, attributes: Attributes) -> None: ...


class AdmitAll:
    """No admission: for what the API server itself writes while it starts."""

    async def mutate(self, attributes: Attributes) -> None:
        return None

    async def validate(self, attributes: Attributes) -> None:
        return None
