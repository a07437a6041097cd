"""The schema of a custom kind at one version, with the interface of the built-in kinds' `api.schema.Schema`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object
from pilothouse.api.schema.repair import Repair, WrongType
from pilothouse.api.schema.schema import CannotBeHandled, FieldValidation, Schema
from pilothouse.api.schema.types import META, Struct, catalog
from pilothouse.api.structural.default import default, drop_nulls
from pilothouse.api.structural.embedded import coerce, load_metadata
from pilothouse.api.structural.facts import struct_of
from pilothouse.api.structural.prune import prune
from pilothouse.api.structural.schema import Structural, parse

if TYPE_CHECKING:
    from pilothouse.api.structural.rules import Rules


class CustomSchema(Schema):
    """What a CustomResourceDefinition says of a kind's objects. `source` gives it; it is read and parsed when first used."""

    def __init__(self, gvr: GVR, source: Callable[[], Mapping[str, Any]]) -> None:
        self.api_version = gvr.api_version
        self.kind = gvr.kind
        self.name = ".".join((*reversed(gvr.group.split(".")), gvr.version, gvr.kind))
        self.source = source

    @cached_property
    def structural(self) -> Structural:
        return parse(self.source())

    @cached_property
    def rules(self) -> Rules | None:
        """The rules in CEL, if there are any."""
        if not any(node.rules for node in self.structural.nodes()):
            return None
        from pilothouse.api.structural.rules import Rules

        return Rules(self.structural)

    @cached_property
    def struct(self) -> Struct:  # type: ignore[override]
        return struct_of(self.structural, self.name)

    def load(
        self,
        obj: Object,
        *,
        strict: FieldValidation = FieldValidation.WARN,
        duplicates: Iterable[str] = (),
        like: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """See `Schema.load`; the whole object is looked at. Values of wrong types are left to validation, but for those of metadata."""
        try:
            unknown = self._settle(obj)
        except WrongType as error:
            raise CannotBeHandled(self.api_version, self.kind, error) from None
        problems = [f'duplicate field "{path}"' for path in duplicates] + [
            f'unknown field "{path}"' for path in unknown
        ]
        if problems and strict is FieldValidation.STRICT:
            raise CannotBeHandled(self.api_version, self.kind, problems)
        return problems if strict is FieldValidation.WARN else []

    def repair(self, obj: Object) -> list[str]:
        """Removes unknown fields, and nulls of the metadata; returns the unknown paths. Raises BadRequest."""
        try:
            unknown: list[str] = []
            metadata = obj.get("metadata")
            if isinstance(metadata, dict):
                repair = Repair()
                repair.struct(catalog().struct(f"{META}ObjectMeta"), metadata, "metadata", (self.kind, "metadata"))
                unknown = repair.unknown
            return [*unknown, *prune(obj, self.structural), *coerce(obj, self.structural)]
        except WrongType as error:
            raise CannotBeHandled(self.api_version, self.kind, error) from None

    def default(self, obj: Object, *, like: Mapping[str, Any] | None = None) -> None:
        default(obj, self.structural)

    def empty(self, *names: str) -> Object:
        return {}

    def upgrade(self, obj: Object) -> Object:
        """An object that was stored, perhaps under an earlier schema, as it is read under this one."""
        # What was of the right type once may not be any more: it is shown as it is, and refused when it is written again.
        with suppress(WrongType):
            self._settle(obj)
        default(obj, self.structural)
        return obj

    def reduce(self, obj: Object) -> None:
        """What is left of an object that comes from another version: no unknown fields, no nulls that say nothing."""
        with suppress(WrongType):
            self._settle(obj)

    def _settle(self, obj: Object) -> list[str]:
        unknown = load_metadata(obj, "")
        unknown += prune(obj, self.structural)
        drop_nulls(obj, self.structural)
        return unknown + coerce(obj, self.structural)
