"""Typed reading of objects.

A view wraps an object and gives its fields names and types; it copies nothing and keeps unknown fields where they are. Views never
change the object: an edit happens on one explicit draft (`json_copy`). Views of a kind live in `api/views/<kind>.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from pilothouse.api import meta
from pilothouse.api.meta import UID, Object


def json_copy(obj: Mapping[str, Any]) -> Object:
    """A deep copy of a JSON object, about seven times as fast as `copy.deepcopy`."""
    copied: Object = orjson.loads(orjson.dumps(obj))
    return copied


class View:
    """What all kinds have."""

    __slots__ = ("obj",)

    def __init__(self, obj: Mapping[str, Any]) -> None:
        self.obj = obj

    @property
    def metadata(self) -> Mapping[str, Any]:
        metadata: Mapping[str, Any] = self.obj["metadata"]
        return metadata

    @property
    def spec(self) -> Mapping[str, Any]:
        spec: Mapping[str, Any] = self.obj.get("spec") or {}
        return spec

    @property
    def status(self) -> Mapping[str, Any]:
        status: Mapping[str, Any] = self.obj.get("status") or {}
        return status

    @property
    def name(self) -> str:
        return meta.name_of(self.obj)

    @property
    def namespace(self) -> str:
        return meta.namespace_of(self.obj)

    @property
    def uid(self) -> UID:
        return meta.uid_of(self.obj)

    @property
    def key(self) -> str:
        return meta.key_of(self.obj)

    @property
    def labels(self) -> Mapping[str, str]:
        return meta.labels_of(self.obj)

    @property
    def annotations(self) -> Mapping[str, str]:
        return meta.annotations_of(self.obj)

    @property
    def is_deleting(self) -> bool:
        return meta.is_deleting(self.obj)

    @property
    def generation(self) -> int:
        return int(self.metadata.get("generation", 0))

    @property
    def resource_version(self) -> str:
        return str(self.metadata.get("resourceVersion", ""))
