"""Whole objects inside objects (`x-kubernetes-embedded-resource`): their metadata is typed, whatever the schema says.

Source: apiextensions-apiserver `pkg/apiserver/schema/objectmeta`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from pilothouse.api import names
from pilothouse.api.meta import Object
from pilothouse.api.path import FieldError, Path, invalid, required
from pilothouse.api.schema.load import Irregular, loader
from pilothouse.api.schema.repair import Repair, WrongType
from pilothouse.api.schema.types import META, catalog
from pilothouse.api.structural.schema import Structural
from pilothouse.api.validate.metadata import validate_metadata

_METADATA = f"{META}ObjectMeta"


def load_metadata(obj: Object, path: str) -> list[str]:
    """Brings `obj["metadata"]` into its form; returns the paths of unknown fields. Raises WrongType."""
    metadata = obj.get("metadata")
    if metadata is None:
        obj.pop("metadata", None)
        return []
    if not isinstance(metadata, dict):
        kind = "string" if isinstance(metadata, str) else "array" if isinstance(metadata, list) else "number"
        raise WrongType(f"json: cannot unmarshal {kind} into Go value of type v1.ObjectMeta")
    struct = catalog().struct(_METADATA)
    try:
        loader(struct)(metadata)
        return []
    except Irregular:
        repair = Repair()
        repair.struct(struct, metadata, f"{path}.metadata" if path else "metadata", ("ObjectMeta",))
        loader(struct)(metadata)
        return repair.unknown


def coerce(value: Any, schema: Structural | None, path: str = "") -> list[str]:
    """The same for all objects embedded in a value, in place. Raises WrongType for kinds and metadata of wrong types."""
    unknown: list[str] = []
    if schema is None:
        return unknown
    if value.__class__ is dict:
        if schema.is_embedded:
            for key in ("apiVersion", "kind"):
                if key in value and not isinstance(value[key], str):
                    raise WrongType(f"{path}.{key}: must be a string")
            try:
                unknown += load_metadata(value, path)
            except WrongType as error:
                given = orjson.dumps(value["metadata"]).decode()
                raise WrongType(f"{path}.metadata: Invalid value: {given}: {error}") from None
        for key, child in value.items():
            if child.__class__ is dict or child.__class__ is list:
                unknown += coerce(child, schema.member(key), f"{path}.{key}" if path else key)
    elif value.__class__ is list:
        for index, item in enumerate(value):
            unknown += coerce(item, schema.items, f"{path}[{index}]")
    return unknown


def check_embedded(value: Any, schema: Structural | None, path: Path | None = None) -> list[FieldError]:
    """The faults of the kinds and the metadata of all embedded objects."""
    return list(_faults(value, schema, path or Path()))


def _faults(value: Any, schema: Structural | None, path: Path) -> Iterator[FieldError]:
    if schema is None:
        return
    if value.__class__ is dict:
        if schema.is_embedded:
            yield from _object_faults(value, path)
        for key, child in value.items():
            found = schema.properties.get(key)
            if found is not None:
                yield from _faults(child, found, path.child(key))
            elif isinstance(schema.additional, Structural):
                yield from _faults(child, schema.additional, path.key(key))
    elif value.__class__ is list:
        for index, item in enumerate(value):
            yield from _faults(item, schema.items, path.index(index))


def _object_faults(obj: Object, path: Path) -> Iterator[FieldError]:
    for key in ("apiVersion", "kind"):
        if key not in obj:
            yield required(path.child(key))
        elif not isinstance(obj[key], str):
            yield invalid(path.child(key), obj[key], "must be a string")
        elif not obj[key]:
            yield invalid(path.child(key), obj[key], "must not be empty")
    kind, api_version = obj.get("kind"), obj.get("apiVersion")
    if isinstance(kind, str) and kind and (problems := names.dns_1035_label(kind.lower())):
        yield invalid(
            path.child("kind"), kind, f"may have mixed case, but should otherwise match: {','.join(problems)}"
        )
    if isinstance(api_version, str) and api_version.count("/") > 1:
        yield invalid(path.child("apiVersion"), api_version, f"unexpected GroupVersion string: {api_version}")
    metadata = obj.get("metadata")
    if isinstance(metadata, dict):
        named = {**obj, "metadata": {**metadata, "name": metadata.get("name") or "fakename"}}
        for fault in validate_metadata(
            named, namespaced=bool(metadata.get("namespace")), rule=names.RULES["path-segment"]
        ):
            yield FieldError(fault.type, path.child(*fault.path.text.split(".", 1)), fault.value, fault.detail)
