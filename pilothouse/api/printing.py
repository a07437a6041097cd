"""What a client gets that asks for a Table or for metadata alone. Source: apiserver `pkg/endpoints/handlers/response.go`, KEP-2334.

The columns of a kind are its declaration's; all of them are sent, and the client hides those with a priority above 0 unless it shows wide
output. Ages are texts, computed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pilothouse.api.kinds.columns import AGE, NAME
from pilothouse.api.meta import Object
from pilothouse.api.resource import Column, Resource

META_GROUP = "meta.k8s.io"


def to_table(
    resource: Resource,
    objects: Iterable[Object],
    now: float,
    *,
    metadata: Mapping[str, Any] | None = None,
    include: str = "Metadata",
    version: str = "v1",
    headers: bool = True,
) -> Object:
    """A Table of `objects`; `metadata` is the list's (resourceVersion, continue, remainingItemCount).

    `include` says what a row carries of its object: `None`, `Metadata` or `Object`. `now` is in seconds since the epoch. Without
    `headers`, the definitions of the columns are null, as in all events of a watch but its first.
    """
    columns = columns_of(resource)
    return {
        "kind": "Table",
        "apiVersion": f"{META_GROUP}/{version}",
        "metadata": dict(metadata or {}),
        "columnDefinitions": column_definitions(columns) if headers else None,
        "rows": [_row(resource, columns, obj, now, include, version) for obj in objects],
    }


def columns_of(resource: Resource) -> Sequence[Column]:
    return resource.columns or (NAME, AGE)


def column_definitions(columns: Sequence[Column]) -> list[Object]:
    return [
        {
            "name": column.name,
            "type": column.type,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        }
        for column in columns
    ]


def _row(resource: Resource, columns: Sequence[Column], obj: Object, now: float, include: str, version: str) -> Object:
    shown = _stored_form(resource, obj)
    row: Object = {"cells": [column.cell(shown, now) for column in columns]}
    if conditions := resource.row_conditions(shown):
        row["conditions"] = list(conditions)
    match include:
        case "Object":
            row["object"] = obj
        case "Metadata":
            row["object"] = to_partial(obj, version)
        case _:
            row["object"] = None
    return row


def _stored_form(resource: Resource, obj: Object) -> Object:
    """The object as columns read it: at the version that is stored."""
    api_version = obj.get("apiVersion", "")
    if api_version and api_version != resource.gvr.api_version:
        for other in resource.other_versions:
            if other.api_version == api_version:
                from pilothouse.api.convert import convert

                return convert(obj, other, resource.gvr)
    return obj


def to_partial(obj: Mapping[str, Any], version: str = "v1") -> Object:
    """The PartialObjectMetadata of an object."""
    return {"kind": "PartialObjectMetadata", "apiVersion": f"{META_GROUP}/{version}", "metadata": obj["metadata"]}
