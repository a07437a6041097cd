"""Whatever is sent, the server answers and does not fail."""

from __future__ import annotations

import random
from typing import Any

import orjson
import pytest

from pilothouse.api.view import json_copy
from tests.apiserver.harness import Harness, config_map, pod, service

BASES = (("configmaps", config_map()), ("pods", pod()), ("services", service()))
VALUES = (None, 1, -1, "x", "", [], {}, [None], [1], {"a": 1}, True, 1.5, "a" * 300, [{}], {"name": 5}, 2**63)
METADATA = [
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "resourceVersion",
    "uid",
    "name",
    "namespace",
    "generateName",
    "deletionTimestamp",
    "managedFields",
]
SUBRESOURCES = ("", "", "", "/status", "/binding", "/eviction", "/resize", "/ephemeralcontainers")
PATCHES = ("json-patch", "merge-patch", "strategic-merge-patch")
OPTIONS = ("gracePeriodSeconds", "preconditions", "propagationPolicy", "dryRun")
QUERIES = (
    "",
    "dryRun=All",
    "fieldValidation=Strict",
    "limit=-1",
    "resourceVersion=5",
    "labelSelector=%zz",
    "continue=e30",
)
EXPECTED = (
    "resourceVersion should not be set on objects to be created",
    "strconv.ParseUint",
    "target.",
    "list element types",
    "declared merge key",
)
"""What upstream, too, calls an error of the server."""


class Sender:
    """Makes requests from a seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def value(self) -> Any:
        return orjson.loads(orjson.dumps(self.rng.choice(VALUES)))

    def mutated(self, obj: dict[str, Any]) -> dict[str, Any]:
        obj = json_copy(obj)
        for _ in range(self.rng.randint(1, 3)):
            place: Any = obj
            while place:
                key = self.rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
                if isinstance(place[key], dict | list) and place[key] and self.rng.random() < 0.7:
                    place = place[key]
                else:
                    place[key] = self.value()
                    break
        if isinstance(obj.get("metadata"), dict) and self.rng.random() < 0.4:
            obj["metadata"][self.rng.choice(METADATA)] = self.value()
        return obj

    def request(self) -> tuple[str, str, dict[str, Any]]:
        rng = self.rng
        plural, base = rng.choice(BASES)
        method = rng.choice(("POST", "PUT", "PATCH", "DELETE", "GET"))
        path = f"/api/v1/namespaces/default/{plural}"
        if method != "POST" or rng.random() < 0.5:
            path += f"/{base['metadata']['name']}{rng.choice(SUBRESOURCES)}"
        body: Any = self.mutated(base) if rng.random() < 0.8 else self.value()
        headers = {}
        if method == "PATCH":
            headers["content-type"] = f"application/{rng.choice(PATCHES)}+json"
        elif method == "DELETE":
            body = {rng.choice(OPTIONS): self.value()}
        return method, path, {"body": orjson.dumps(body), "query": rng.choice(QUERIES), "headers": headers}


@pytest.mark.parametrize("seed", range(3))
async def test_no_request_makes_the_server_fail(seed: int) -> None:
    server, sender = Harness(), Sender(seed)
    for turn in range(600):
        if turn % 50 == 0:
            for plural, base in BASES:
                await server.request("POST", f"/api/v1/namespaces/default/{plural}", body=base)
        method, path, arguments = sender.request()
        response = await server.request(method, path, **arguments)
        if response.status >= 500:
            assert isinstance(response.body, bytes)
            message = orjson.loads(response.body)["message"]
            assert any(text in message for text in EXPECTED), (method, path, arguments, message)
