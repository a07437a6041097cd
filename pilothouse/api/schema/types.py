"""Types of the API as data: what a kind's fields are called, what they hold, how their lists merge.

Built-in types are read from `data/structure.json`, which the build packs (`tools/schema_data.py` describes it); a definition is
turned into a `Struct` when it is first asked for. CustomResourceDefinitions make the same values from their own schemas.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import orjson

DATA = Path(__file__).parent / "data"
META = "io.k8s.apimachinery.pkg.apis.meta.v1."

_SCALARS = {
    "s": "string",
    "b": "boolean",
    "i": "int32",
    "l": "int64",
    "d": "double",
    "y": "byte",
    "*": "any",
    "o": "object",
}
_NAMED_SCALARS = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "int-or-string",
    f"{META}Time": "time",
    f"{META}MicroTime": "micro-time",
    f"{META}FieldsV1": "object",
    f"{META}Patch": "object",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "any",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceSubresourceStatus": "object",
}


@dataclass(frozen=True, slots=True)
class Scalar:
    """A leaf: `string`, `boolean`, `int32`, `int64`, `double`, `byte` (base64), `quantity`, `time`, `micro-time`, `int-or-string`,
    `any` (whatever JSON has) or `object` (an object nobody looks into)."""

    name: str


@dataclass(frozen=True, slots=True)
class ListOf:
    item: Type


@dataclass(frozen=True, slots=True)
class MapOf:
    value: Type


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a struct and how it behaves where objects are merged or written."""

    type: Type
    required: bool = False
    presence: str = ""
    """What happens to an empty value: empty, it is left out; `keep`, it stays if given; `always`, it is there even if not given;
    `null`, it is then there as null; `given`, it stays if given until the object has been judged."""
    list_type: str = ""
    """`map`, `set`, `atomic`, or empty: atomic."""
    map_keys: tuple[str, ...] = ()
    """What tells the items of a list of type `map` apart."""
    map_type: str = ""
    """`atomic` if the object is replaced as a whole."""
    patch_strategy: str = ""
    """For strategic merge patch: `merge`, `replace`, `retainKeys`, joined by commas."""
    merge_key: str = ""
    """What tells items apart in a strategic merge patch."""


@dataclass(slots=True, eq=False)
class Struct:
    """An object with named fields."""

    name: str
    """The definition's name, such as `io.k8s.api.core.v1.PodSpec`."""
    fields: Mapping[str, Field] = field(default_factory=dict)
    map_type: str = ""
    preserves_unknown: bool = False
    """Whether fields that have no declaration stay."""
    kinds: tuple[tuple[str, str, str], ...] = ()
    """Group, version and kind of the objects that are of this type."""
    passes: dict[str, Any] = field(default_factory=dict)
    """What was compiled from this type, by purpose."""

    @property
    def go_name(self) -> str:
        """The bare type name, as upstream's messages use it."""
        return self.name.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Ref:
    """A struct by its name, looked up when it is needed: types refer to themselves."""

    name: str

    @property
    def struct(self) -> Struct:
        return catalog().struct(self.name)


Type = Scalar | ListOf | MapOf | Ref | Struct


def struct_of(found: Type) -> Struct | None:
    """The struct that a type is or refers to."""
    if isinstance(found, Ref):
        return found.struct
    return found if isinstance(found, Struct) else None


class Catalog:
    """The built-in definitions by name and by kind. Structs are made on first use and shared."""

    def __init__(self, packed: Mapping[str, Any]) -> None:
        self._packed = packed
        self._structs: dict[str, Struct] = {}
        self._names = {
            tuple(kind): name
            for name, definition in packed.items()
            for kind in definition.get("kinds", ())
            if len(definition["kinds"]) == 1
        }

    def __iter__(self) -> Iterator[str]:
        return iter(self._packed)

    def packed(self, name: str) -> Mapping[str, Any]:
        """The definition as the data file has it."""
        found: Mapping[str, Any] = self._packed[name]
        return found

    def name_of(self, api_version: str, kind: str) -> str | None:
        """The definition of a kind's objects."""
        group, _, version = api_version.rpartition("/")
        return self._names.get((group, version, kind))

    def struct(self, name: str) -> Struct:
        """Raises KeyError for a name that is not defined."""
        struct = self._structs.get(name)
        if struct is None:
            packed = self._packed[name]
            struct = self._structs[name] = Struct(
                name,
                {
                    key: self._field(value, key in packed.get("required", ()))
                    for key, value in packed.get("fields", {}).items()
                },
                packed.get("map", ""),
                kinds=tuple((group, version, kind) for group, version, kind in packed.get("kinds", ())),
            )
        return struct

    def _field(self, packed: str | list[Any], required: bool) -> Field:
        if isinstance(packed, str):
            return Field(self.type(packed), required, map_type=self._map_type(packed))
        text, facts = packed
        return Field(
            self.type(text),
            required,
            presence=facts.get("presence", ""),
            list_type=facts.get("list", ""),
            map_keys=tuple(facts.get("keys", ())),
            map_type=facts.get("map", "") or self._map_type(text),
            patch_strategy=facts.get("patch", ""),
            merge_key=facts.get("merge", ""),
        )

    def _map_type(self, text: str) -> str:
        return str(self._packed[text[1:]].get("map", "")) if text.startswith("#") else ""

    def type(self, text: str) -> Type:
        """The type that a short text stands for."""
        match text[0]:
            case "[":
                return ListOf(self.type(text[1:]))
            case "{":
                return MapOf(self.type(text[1:]))
            case "#":
                return self._named(text[1:])
            case _:
                return Scalar(_SCALARS[text])

    def _named(self, name: str) -> Type:
        if scalar := _NAMED_SCALARS.get(name):
            return Scalar(scalar)
        return Ref(name) if "fields" in self._packed[name] else Scalar("any")


@cache
def catalog() -> Catalog:
    """The built-in types; the data file is read once, when somebody first asks."""
    return Catalog(orjson.loads((DATA / "structure.json").read_bytes())["definitions"])
