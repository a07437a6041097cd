"""From client-side to server-side apply: the annotation in which `kubectl apply` kept what it had applied last.

What it names, and what the object still has, kubectl may change without force; and after a server-side apply by kubectl the annotation
says what was applied, so that a client-side apply can follow. Other managers have nothing to do with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from pilothouse.api.apply import sets
from pilothouse.api.apply.check import problems
from pilothouse.api.apply.sets import FieldSet
from pilothouse.api.apply.structs import StructNode
from pilothouse.api.meta import Object

MANAGER = "kubectl"
ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
_ANNOTATIONS_LIMIT = 256 * 1024


def fields(live: Mapping[str, Any], version: str, node: StructNode) -> FieldSet:
    """The fields that a client-side apply set and that still have its values; empty if there was none that can be read."""
    text = (live["metadata"].get("annotations") or {}).get(ANNOTATION)
    if not text:
        return {}
    try:
        config = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(config, dict) or config.get("apiVersion") != version or problems(node.struct, config):
        return {}
    changed: FieldSet = {}
    removed: FieldSet = {}
    node.compare(config, live, changed, removed)
    return sets.difference(sets.difference(node.applied(config) or {}, changed), removed)


def refreshed(obj: Object, config: Mapping[str, Any]) -> Object:
    """`obj` with the annotation, if it has it, brought up to date with a configuration that was applied."""
    annotations = obj["metadata"].get("annotations") or {}
    if not annotations.get(ANNOTATION):
        return obj
    metadata = dict(config["metadata"])
    if ANNOTATION in (metadata.get("annotations") or {}):
        metadata["annotations"] = {key: value for key, value in metadata["annotations"].items() if key != ANNOTATION}
    text = orjson.dumps({**config, "metadata": metadata}, option=orjson.OPT_SORT_KEYS).decode() + "\n"
    annotations = {**annotations, ANNOTATION: text}
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > _ANNOTATIONS_LIMIT:
        del annotations[ANNOTATION]
    return {**obj, "metadata": {**obj["metadata"], "annotations": annotations}}
