"""The versions of a built-in kind, as tracking sees them."""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.api.apply.structs import StructNode, struct_node
from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object
from pilothouse.api.schema import schema_of


class BuiltIn:
    """`gvrs` are the identities under which the same objects are served."""

    def __init__(self, gvrs: Iterable[GVR]) -> None:
        self._gvrs = {gvr.api_version: gvr for gvr in gvrs}

    def node(self, version: str) -> StructNode | None:
        gvr = self._gvrs.get(version)
        return None if gvr is None else struct_node(schema_of(gvr.api_version, gvr.kind).struct)

    def convert(self, obj: Object, source: str, target: str) -> Object:
        """Raises KeyError for a version that is not served."""
        from pilothouse.api.convert import convert

        return convert(obj, self._gvrs[source], self._gvrs[target])
