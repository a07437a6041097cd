"""Small Pods as the API server stores them, and a resource to cache them."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from pilothouse.api.gvr import NODES, PODS
from pilothouse.api.resource import Resource
from pilothouse.store.base import key_of

POD = Resource(PODS, selectable={"spec.nodeName": lambda pod: pod["spec"].get("nodeName", "")})
NODE = Resource(NODES)


def pod_key(namespace: str, name: str) -> str:
    return key_of(PODS, namespace, name)


def pod(namespace: str, name: str, labels: Mapping[str, str] | None = None, node: str = "", text: str = "") -> bytes:
    metadata: dict[str, object] = {"name": name, "namespace": namespace}
    if labels:
        metadata["labels"] = dict(labels)
    spec = {"nodeName": node} if node else {}
    return orjson.dumps(
        {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": spec, "status": {"message": text}}
    )
