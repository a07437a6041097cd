"""The kinds that a CustomResourceDefinition defines, one for each of its versions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from pilothouse.api import duration
from pilothouse.api.gvr import GVR
from pilothouse.api.kinds.columns import NAME
from pilothouse.api.meta import Object
from pilothouse.api.resource import SCALE, STATUS, Column, Resource, ScalePaths, Subresource
from pilothouse.api.schema import FieldValidation
from pilothouse.api.structural import jsonpath
from pilothouse.api.structural.custom import CustomSchema
from pilothouse.api.validate.custom_resource import CustomRules
from pilothouse.store.base import Revision

View = Mapping[str, Any]
_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
_EMPTY_SCHEMA: View = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_parse_version = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?").fullmatch


@dataclass(frozen=True, slots=True)
class CustomKind:
    """A custom kind at one version."""

    resource: Resource
    schema: CustomSchema
    is_served: bool
    is_stored: bool
    since: Revision
    """The store's revision at which the definition came to be as it is."""


def kinds_of(definition: View, wire: bytes, since: Revision) -> list[CustomKind]:
    """All versions of a definition whose names are accepted, the stored one first.

    Schemas are large and most are seldom used: they are read from `wire`, the definition's bytes, when they are needed.
    """
    versions = definition["spec"]["versions"]
    stored = next(version["name"] for version in versions if version.get("storage"))
    found = [_kind(definition, version, stored, _source(wire, index), since) for index, version in enumerate(versions)]
    return sorted(found, key=lambda kind: not kind.is_stored)


def _source(wire: bytes, index: int) -> Callable[[], View]:
    def read() -> View:
        version = orjson.loads(wire)["spec"]["versions"][index]
        found: View = (version.get("schema") or {}).get("openAPIV3Schema") or _EMPTY_SCHEMA
        return found

    return read


def _kind(definition: View, version: View, stored: str, source: Callable[[], View], since: Revision) -> CustomKind:
    spec = definition["spec"]
    names = {**spec["names"], **(definition["status"].get("acceptedNames") or {})}
    gvr = GVR(spec["group"], version["name"], names["plural"], names["kind"], spec["scope"] == "Namespaced")
    schema = CustomSchema(gvr, source)
    subresources = version.get("subresources") or {}
    has_status = subresources.get("status") is not None
    scale = scale_paths(subresources["scale"]) if subresources.get("scale") else None
    offered: list[Subresource] = [STATUS] if has_status else []
    if scale is not None:
        offered.append(SCALE)
    rules = CustomRules(schema, scale)
    resource = Resource(
        gvr,
        singular=names.get("singular", ""),
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        verbs=_VERBS,
        subresources=tuple(offered),
        scale=scale,
        columns=columns(version.get("additionalPrinterColumns") or ()),
        selectable={
            field["jsonPath"].removeprefix("."): _selectable(field["jsonPath"])
            for field in version.get("selectableFields") or ()
        },
        read=_reader(schema),
        prepare_create=_clear_status if has_status else _nothing,
        prepare_update=_nothing_update if has_status else _count_status,
        prepare_status_update=_keep_metadata,
        validate=rules.validate,
        validate_update=rules.validate_update,
        validate_status_update=rules.validate_status_update,
        warnings=rules.warnings,
        update_warnings=rules.update_warnings,
        deprecation=_deprecation(spec, version),
        unconditional_update=False,
        merges_strategically=False,
        knows_finalizers=False,
        ratchets=True,
        stored_version=stored,
        served_versions=[each["name"] for each in spec["versions"] if each.get("served")],
    )
    return CustomKind(resource, schema, version.get("served", False), version.get("storage", False), since)


def _reader(schema: CustomSchema) -> Callable[[Object], None]:
    def read(obj: Object) -> None:
        schema.load(obj, strict=FieldValidation.IGNORE)
        schema.default(obj)

    return read


def scale_paths(scale: View) -> ScalePaths:
    return ScalePaths(
        replicas=_simple(scale["specReplicasPath"]),
        status_replicas=_simple(scale["statusReplicasPath"]),
        selector=_simple(scale["labelSelectorPath"]) if scale.get("labelSelectorPath") else (),
        needs_replicas=True,
    )


def _simple(path: str) -> tuple[str, ...]:
    return tuple(path.removeprefix(".").split("."))


def _nothing(draft: Object) -> None:
    return None


def _nothing_update(draft: Object, old: View) -> None:
    return None


def _clear_status(draft: Object) -> None:
    draft.pop("status", None)


def _count_status(draft: Object, old: View) -> None:
    """Without a status subresource, status is a field like any other: a change of it is a new generation."""
    if draft.get("status") != old.get("status"):
        draft["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1


def _keep_metadata(draft: Object, old: View) -> None:
    """An update of the status of a custom object changes nothing else, not even metadata."""
    managed = draft["metadata"].get("managedFields")
    revision = draft["metadata"].get("resourceVersion")
    draft["metadata"] = {**old["metadata"], "resourceVersion": revision}
    if managed is not None:
        draft["metadata"]["managedFields"] = managed


def columns(declared: Sequence[View]) -> tuple[Column, ...]:
    """The columns of a table; empty stands for Name and Age."""
    if not declared:
        return ()
    return (NAME, *(_column(each) for each in declared))


def _column(declared: View) -> Column:
    path = declared["jsonPath"]
    return Column(
        declared["name"],
        _cell(path, declared["type"]),
        declared["type"],
        declared.get("format", ""),
        declared.get("description") or f"Custom resource definition column (in JSONPath format): {path}",
        declared.get("priority", 0),
    )


def _cell(path: str, type_: str) -> Callable[[View, float], Any]:
    try:
        steps = jsonpath.compile_path(path)
    except ValueError:
        return lambda obj, now: None

    def cell(obj: View, now: float) -> Any:
        found = jsonpath.find(steps, obj)
        return None if not found else cell_value(type_, found[0], now)

    return cell


def cell_value(type_: str, value: Any, now: float) -> Any:
    """A value as a cell of a column of the type shows it; None for one that does not fit."""
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    match type_:
        case "string":
            return _text(value)
        case "integer":
            return int(value) if is_number else None
        case "number":
            return float(value) if is_number else None
        case "boolean":
            return value if isinstance(value, bool) else None
        case "date":
            if not isinstance(value, str):
                return None
            try:
                return duration.age(value, now)
            except ValueError:
                return "<invalid>"
    return None


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _selectable(path: str) -> Callable[[View], str]:
    steps = jsonpath.compile_path(path)

    def read(obj: View) -> str:
        found = jsonpath.find(steps, obj)
        return "" if not found or found[0] is None else _text(found[0])

    return read


def _deprecation(spec: View, version: View) -> str:
    if not version.get("deprecated"):
        return ""
    if version.get("deprecationWarning") is not None:
        return str(version["deprecationWarning"])
    group, kind = spec["group"], spec["names"]["kind"]
    text = f"{group}/{version['name']} {kind} is deprecated"
    rank = version_rank(version["name"])
    newer = [
        each["name"]
        for each in spec["versions"]
        if each.get("served") and not each.get("deprecated") and version_rank(each["name"]) > rank
    ]
    return f"{text}; use {group}/{newer[0]} {kind}" if newer else text


def version_rank(version: str) -> tuple[int, int, int]:
    """By which versions are preferred: stable before beta before alpha, later before earlier."""
    match = _parse_version(version)
    if match is None:
        return (-1, 0, 0)
    major, stage, minor = match.groups()
    return ({"": 2, "beta": 1, "alpha": 0}[stage or ""], int(major), int(minor or 0))
