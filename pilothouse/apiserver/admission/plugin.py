"""What an admission plugin is.

A plugin names the resources, subresources and operations it wants, so that all others pass it without a call. It changes drafts in
`mutate` and refuses in either step by raising a Status error. Source: apiserver `pkg/admission`.
"""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api import status
from pilothouse.apiserver.attributes import Attributes, Operation

EVERYTHING: frozenset[str] = frozenset({"*"})
WHOLE_OBJECTS: frozenset[str] = frozenset({""})
"""No subresources."""


class Plugin:
    """The base of all plugins: does nothing. `name` is upstream's, for the flags that enable and disable it."""

    name: ClassVar[str]
    operations: ClassVar[frozenset[Operation]] = frozenset({"CREATE", "UPDATE"})
    resources: ClassVar[frozenset[str]] = EVERYTHING
    """Group resources such as `pods` or `leases.coordination.k8s.io`; `*` is every one."""
    subresources: ClassVar[frozenset[str]] = EVERYTHING
    """Of these resources: empty for the object itself; `*` is all."""

    async def mutate(self, attributes: Attributes) -> None:
        """Change `attributes.obj` in place."""

    async def validate(self, attributes: Attributes) -> None:
        """See the draft as it will be stored."""

    @classmethod
    def mutates(cls) -> bool:
        return cls.mutate is not Plugin.mutate

    @classmethod
    def validates(cls) -> bool:
        return cls.validate is not Plugin.validate


def forbidden(attributes: Attributes, why: str) -> status.Forbidden:
    """`pods "web" is forbidden: …`, as upstream's plugins refuse."""
    name = attributes.name
    if not name and attributes.obj is not None:
        metadata = attributes.obj.get("metadata") or {}
        name = metadata.get("name") or metadata.get("generateName") or ""
    return status.forbidden(attributes.resource.gvr.plural, attributes.resource.gvr.group, name or "Unknown", why)
