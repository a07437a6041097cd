"""An API server of a few verbs in memory, at the level of the client's transport: enough for a kubelet."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson

from pilothouse.api import meta, status
from pilothouse.api.meta import Object
from pilothouse.client.transport import Reply, StreamReply

_MERGED_BY = {"conditions": "type", "podIPs": "ip", "hostIPs": "ip", "addresses": "type"}


class FakeApi:
    """Objects by path. `requests` records what was asked, `refuse` (method, path part) → error to answer with."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.requests: list[tuple[str, str]] = []
        self.refuse: dict[tuple[str, str], status.StatusError] = {}
        self._revision = itertools.count(1)
        self._watchers: list[tuple[str, asyncio.Queue[tuple[str, Object]]]] = []

    # What a test does

    def put(self, path: str, obj: Object) -> Object:
        """Create or replace, as another client would."""
        known = self.objects.get(path)
        metadata = {**obj["metadata"], "resourceVersion": str(next(self._revision))}
        metadata.setdefault("uid", known["metadata"]["uid"] if known else f"uid-{metadata['resourceVersion']}")
        stored = {**obj, "metadata": metadata}
        self.objects[path] = stored
        self._announce(path, "MODIFIED" if known else "ADDED", stored)
        return stored

    def remove(self, path: str) -> None:
        obj = self.objects.pop(path)
        self._announce(
            path, "DELETED", {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(next(self._revision))}}
        )

    def delete_gracefully(self, path: str, seconds: int) -> None:
        obj = self.objects[path]
        stamps = {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": seconds}
        self.put(path, {**obj, "metadata": {**obj["metadata"], **stamps}})

    def events(self) -> list[tuple[str, str]]:
        """Reason and message of all events."""
        return [(obj["reason"], obj["message"]) for path, obj in self.objects.items() if "/events/" in path]

    # The transport

    async def request(
        self, method: str, path: str, *, query: Mapping[str, str], headers: Mapping[str, str], body: bytes = b""
    ) -> Reply:
        self.requests.append((method, path))
        await asyncio.sleep(0)
        try:
            for (verb, part), error in self.refuse.items():
                if verb == method and part in path:
                    raise error
            return Reply(200, {}, orjson.dumps(self._answer(method, path, orjson.loads(body) if body else None)))
        except status.StatusError as error:
            return Reply(error.status_code, {}, orjson.dumps(error.to_object()))

    def _answer(self, method: str, path: str, body: Any) -> Object:
        base = path.removesuffix("/status")
        if method == "POST":
            path = f"{path}/{body['metadata']['name']}"
            if path in self.objects:
                raise status.AlreadyExists("there already")
            return self.put(path, body)
        if method == "GET" and path not in self.objects and path.rpartition("/")[2] in _COLLECTIONS:
            items = [obj for at, obj in self.objects.items() if at.rpartition("/")[0].endswith(_tail(path))]
            return {"kind": "List", "metadata": {"resourceVersion": str(next(self._revision))}, "items": items}
        if base not in self.objects:
            raise status.NotFound(f"{base} not found")
        known = self.objects[base]
        if method == "GET":
            return known
        if method == "PUT":
            return self.put(base, body)
        if method == "PATCH":
            uid = body.get("metadata", {}).get("uid")
            if uid and uid != known["metadata"]["uid"]:
                raise status.Conflict("uid differs")
            return self.put(base, _merged(known, body))
        uid = (body.get("preconditions") or {}).get("uid")
        if uid and uid != known["metadata"]["uid"]:
            raise status.Conflict("uid differs")
        self.remove(base)
        return known

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> AsyncIterator[StreamReply]:
        queue: asyncio.Queue[tuple[str, Object]] = asyncio.Queue()
        since = int(query.get("resourceVersion") or 0)
        watcher = (_tail(path), queue)
        self._watchers.append(watcher)

        async def chunks() -> AsyncIterator[bytes]:
            while True:
                type_, obj = await queue.get()
                if int(obj["metadata"]["resourceVersion"]) > since:
                    yield orjson.dumps({"type": type_, "object": obj}) + b"\n"

        try:
            yield StreamReply(200, {}, chunks())
        finally:
            self._watchers.remove(watcher)

    async def close(self) -> None:
        return None

    def _announce(self, path: str, type_: str, obj: Object) -> None:
        for tail, queue in self._watchers:
            if path.rpartition("/")[0].endswith(tail):
                queue.put_nowait((type_, obj))


_COLLECTIONS = ("pods", "nodes", "services", "configmaps", "secrets", "events", "leases")


def _tail(path: str) -> str:
    return "/" + path.rpartition("/")[2]


def _merged(known: Any, patch: Any, field: str = "") -> Any:
    if isinstance(patch, dict):
        base = known if isinstance(known, dict) else {}
        merged = {**base, **{key: _merged(base.get(key), value, key) for key, value in patch.items()}}
        return {key: value for key, value in merged.items() if value is not None}
    key = _MERGED_BY.get(field)
    if isinstance(patch, list) and key is not None:
        if {"$patch": "replace"} in patch:
            return [entry for entry in patch if entry != {"$patch": "replace"}]
        entries = {entry[key]: entry for entry in known or ()}
        for entry in patch:
            entries[entry[key]] = _merged(entries.get(entry[key]), entry)
        return list(entries.values())
    return patch


def pod(name: str = "web", uid: str = "uid-web", **spec: Any) -> Object:
    """A pod that is bound to node n1."""
    containers = [{"name": "main", "image": "pilothouse.local/busybox:1", "command": ["/bin/sleep", "1000"]}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": uid, "generation": 1},
        "spec": {
            "nodeName": "n1",
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "containers": containers,
            **spec,
        },
        "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}]},
    }


def path_of(obj: Object) -> str:
    return f"/api/v1/namespaces/{meta.namespace_of(obj)}/pods/{meta.name_of(obj)}"
