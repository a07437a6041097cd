"""The schema of one kind.

`load` is for what a client sends: it leaves an object in the form in which upstream would write it. `default` fills in what the API
promises. Both work in place on a draft that the caller owns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from functools import cache
from typing import Any

from pilothouse.api import status
from pilothouse.api.meta import Object
from pilothouse.api.schema import defaults
from pilothouse.api.schema.load import Irregular, load_changed, loader
from pilothouse.api.schema.repair import Repair, WrongType
from pilothouse.api.schema.types import Field, ListOf, MapOf, Struct, Type, catalog, struct_of


class FieldValidation(StrEnum):
    """What happens to fields that the kind does not have, or that stand twice: the `fieldValidation` parameter."""

    IGNORE = "Ignore"
    WARN = "Warn"
    STRICT = "Strict"


class CannotBeHandled(status.BadRequest):
    """An object that its schema refuses: for `problems`, which only strict validation minds, or because a value cannot be read."""

    def __init__(self, api_version: str, kind: str, why: WrongType | Sequence[str]) -> None:
        self.why = str(why) if isinstance(why, WrongType) else strict_error(why)
        self.restoring = why.restoring if isinstance(why, WrongType) else self.why
        """What a strategic merge patch with this result is told."""
        self.problems = () if isinstance(why, WrongType) else tuple(why)
        version = api_version.rpartition("/")[2]
        super().__init__(f'{kind} in version "{version}" cannot be handled as a {kind}: {self.why}')


def strict_error(problems: Iterable[str]) -> str:
    return f"strict decoding error: {', '.join(problems)}"


class Schema:
    """What is known of a kind's objects."""

    def __init__(self, api_version: str, kind: str, struct: Struct) -> None:
        self.api_version = api_version
        self.kind = kind
        self.struct = struct

    def load(
        self,
        obj: Object,
        *,
        strict: FieldValidation = FieldValidation.WARN,
        duplicates: Iterable[str] = (),
        like: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """Brings a decoded object into the form in which it is kept; returns warnings.

        Unknown fields are removed. `duplicates` are the paths that `duplicate_fields` found in the text. What is the very same in `like`,
        a loaded object, is not looked at. Raises BadRequest for a value of the wrong type, and with STRICT for an unknown or duplicate
        field.
        """
        try:
            if like is None:
                loader(self.struct)(obj)
            else:
                load_changed(self.struct, obj, like)
            unknown: list[str] = []
        except Irregular:
            unknown = self.repair(obj)
            loader(self.struct)(obj)
        problems = [f'unknown field "{path}"' for path in unknown] + [
            f'duplicate field "{path}"' for path in duplicates
        ]
        if problems and strict is FieldValidation.STRICT:
            raise CannotBeHandled(self.api_version, self.kind, problems)
        return problems if strict is FieldValidation.WARN else []

    def prune(self, obj: Object, *, strict: FieldValidation = FieldValidation.WARN) -> list[str]:
        """Like `load` for an object that is not whole, as an applied configuration: nothing is added to it, and nothing empty is removed
        but nulls."""
        problems = [f'unknown field "{path}"' for path in self.repair(obj)]
        if problems and strict is FieldValidation.STRICT:
            raise CannotBeHandled(self.api_version, self.kind, problems)
        return problems if strict is FieldValidation.WARN else []

    def repair(self, obj: Object) -> list[str]:
        """Removes unknown fields and nulls and converts other spellings; returns the unknown paths. Raises BadRequest."""
        repair = Repair()
        try:
            repair.struct(self.struct, obj, "", (self.kind,))
        except WrongType as error:
            raise CannotBeHandled(self.api_version, self.kind, error) from None
        return repair.unknown

    def default(self, obj: Object, *, like: Mapping[str, Any] | None = None) -> None:
        """Fills in the defaults of the kind's version; `like` is an object that has them already.

        What is the very same in `like` is not looked at. Metadata has none: an object that differs only there needs none.
        """
        if like is None:
            defaults.defaulter(self.struct)(obj)
        elif not _differ_only_in_metadata(obj, like):
            defaults.defaulter(self.struct)(obj, like)

    def empty(self, *names: str) -> Object:
        """The empty value of the struct at a path of fields, with what is always written: `empty("status")`."""
        struct: Struct | None = self.struct
        for name in names:
            assert struct is not None
            struct = struct_of(struct.fields[name].type)
        assert struct is not None
        value: Object = {}
        loader(struct)(value)
        return value

    def field_at(self, path: Sequence[str]) -> Field | None:
        """The field at a path of names; lists and maps on the way are entered. None where the schema knows nothing."""
        struct: Struct | None = self.struct
        found: Field | None = None
        for name in path:
            if struct is None or name not in struct.fields:
                return None
            found = struct.fields[name]
            struct = _struct_within(found.type)
        return found


def _differ_only_in_metadata(obj: Object, like: Mapping[str, Any]) -> bool:
    if obj.keys() != like.keys():
        return False
    return all(value is like[key] for key, value in obj.items() if key != "metadata")


def _struct_within(found: Type) -> Struct | None:
    while isinstance(found, ListOf | MapOf):
        found = found.item if isinstance(found, ListOf) else found.value
    return struct_of(found)


@cache
def schema_of(api_version: str, kind: str) -> Schema:
    """The schema of a built-in kind. Raises KeyError for a kind that is not built in."""
    known = catalog()
    name = known.name_of(api_version, kind)
    if name is None:
        raise KeyError(f"{api_version} {kind}")
    return Schema(api_version, kind, known.struct(name))
