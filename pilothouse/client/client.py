"""The API's verbs over a transport.

Objects go in and come out as dicts. An answer that is a failure is raised as the `pilothouse.api.status` error of its reason.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any

import orjson

from pilothouse.api import status
from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object
from pilothouse.client.transport import Reply, Transport

_METADATA = {"accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"}
_METADATA_LIST = {"accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"}


class PatchType(Enum):
    JSON = "application/json-patch+json"
    MERGE = "application/merge-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"
    APPLY = "application/apply-patch+yaml"


class Propagation(Enum):
    """What a deletion does to the objects that the deleted one owns."""

    BACKGROUND = "Background"
    FOREGROUND = "Foreground"
    ORPHAN = "Orphan"


@dataclass(frozen=True, slots=True)
class Listing:
    """A list answer: its items, each with `apiVersion` and `kind` set, and the revision they were read at."""

    items: Sequence[Object]
    resource_version: str
    continue_token: str = ""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """`type` is ADDED, MODIFIED, DELETED or BOOKMARK."""

    type: str
    obj: Object


class Client:
    """The verbs of one API server for one user."""

    def __init__(self, transport: Transport, *, user_agent: str = "pilothouse") -> None:
        self.transport = transport
        self.user_agent = user_agent
        self._headers = {"user-agent": user_agent, "accept": "application/json"}

    async def get(
        self, gvr: GVR, namespace: str, name: str, *, subresource: str = "", metadata_only: bool = False
    ) -> Object:
        """Raises NotFound. With `metadata_only` the answer is PartialObjectMetadata."""
        headers = _METADATA if metadata_only else None
        return self._decode(await self._request("GET", gvr.path(namespace, name, subresource), headers=headers))

    async def list(
        self,
        gvr: GVR,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_token: str = "",
        resource_version: str = "",
        metadata_only: bool = False,
    ) -> Listing:
        """One page; all of it if `limit` is 0. An empty namespace means all namespaces.

        With `metadata_only` items are PartialObjectMetadata.
        """
        query = _query(
            labelSelector=label_selector,
            fieldSelector=field_selector,
            limit=str(limit) if limit else "",
            resourceVersion=resource_version,
            **{"continue": continue_token},
        )
        headers = _METADATA_LIST if metadata_only else None
        answer = self._decode(await self._request("GET", gvr.path(namespace), query=query, headers=headers))
        items = answer.get("items") or []
        for item in items:
            item.setdefault("apiVersion", gvr.api_version)
            item.setdefault("kind", gvr.kind)
        metadata = answer["metadata"]
        return Listing(items, metadata.get("resourceVersion", ""), metadata.get("continue", ""))

    async def create(
        self, gvr: GVR, obj: Mapping[str, Any], *, namespace: str = "", name: str = "", subresource: str = ""
    ) -> Object:
        """Create `obj`, or post it to the subresource of `name`. Raises AlreadyExists, Invalid, Forbidden."""
        namespace = namespace or obj["metadata"].get("namespace", "")
        return self._decode(await self._request("POST", gvr.path(namespace, name, subresource), body=orjson.dumps(obj)))

    async def update(self, gvr: GVR, obj: Mapping[str, Any], *, subresource: str = "") -> Object:
        """Replace an object. Raises Conflict if its resourceVersion is not the present one."""
        metadata = obj["metadata"]
        path = gvr.path(metadata.get("namespace", ""), metadata["name"], subresource)
        return self._decode(await self._request("PUT", path, body=orjson.dumps(obj)))

    async def update_status(self, gvr: GVR, obj: Mapping[str, Any]) -> Object:
        return await self.update(gvr, obj, subresource="status")

    async def patch(
        self,
        gvr: GVR,
        namespace: str,
        name: str,
        patch: Any,
        *,
        type: PatchType = PatchType.MERGE,
        subresource: str = "",
        field_manager: str = "",
        force: bool = False,
    ) -> Object:
        """Change an object. `field_manager` and `force` are for `PatchType.APPLY`. Raises NotFound, Conflict, Invalid."""
        headers = {"content-type": type.value}
        path = gvr.path(namespace, name, subresource)
        query = _query(fieldManager=field_manager, force="true" if force else "")
        return self._decode(await self._request("PATCH", path, query=query, body=orjson.dumps(patch), headers=headers))

    async def delete(
        self,
        gvr: GVR,
        namespace: str,
        name: str,
        *,
        grace_period_s: int | None = None,
        propagation: Propagation | None = None,
        uid: str = "",
        resource_version: str = "",
    ) -> Object:
        """Delete an object, only if it has `uid` and `resource_version` where given. Raises NotFound, Conflict."""
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if grace_period_s is not None:
            options["gracePeriodSeconds"] = grace_period_s
        if propagation is not None:
            options["propagationPolicy"] = propagation.value
        if preconditions := _query(uid=uid, resourceVersion=resource_version):
            options["preconditions"] = preconditions
        return self._decode(await self._request("DELETE", gvr.path(namespace, name), body=orjson.dumps(options)))

    async def delete_collection(
        self,
        gvr: GVR,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        propagation: Propagation | None = None,
    ) -> None:
        """Delete all objects of a namespace that match, each as `delete` would."""
        query = _query(
            labelSelector=label_selector,
            fieldSelector=field_selector,
            propagationPolicy=propagation.value if propagation is not None else "",
        )
        await self._request("DELETE", gvr.path(namespace), query=query)

    @asynccontextmanager
    async def watch(
        self,
        gvr: GVR,
        namespace: str = "",
        *,
        resource_version: str = "",
        label_selector: str = "",
        field_selector: str = "",
        timeout_s: int = 0,
        metadata_only: bool = False,
    ) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        """Events after `resource_version`, bookmarks included, until the server ends the watch.

        The iterator raises Expired if the revision is no longer kept; it ends when the server's time limit is reached.
        """
        query = _query(
            watch="true",
            allowWatchBookmarks="true",
            resourceVersion=resource_version,
            labelSelector=label_selector,
            fieldSelector=field_selector,
            timeoutSeconds=str(timeout_s) if timeout_s else "",
        )
        headers = {**self._headers, **_METADATA} if metadata_only else self._headers
        async with self.transport.stream("GET", gvr.path(namespace), query=query, headers=headers) as reply:
            if reply.status != 200:
                raise _failure(Reply(reply.status, reply.headers, b"".join([chunk async for chunk in reply.chunks])))
            yield _watch_events(reply.chunks)

    async def raw(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> bytes:
        """Any other path, such as `/version`."""
        return (await self._request(method, path, query=query, headers=headers, body=body)).body

    async def close(self) -> None:
        """Let go of the transport's connections."""
        await self.transport.close()

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Reply:
        all_headers = self._headers
        if body:
            all_headers = {**all_headers, "content-type": "application/json"}
        if headers:
            all_headers = {**all_headers, **headers}
        reply = await self.transport.request(method, path, query=query or {}, headers=all_headers, body=body)
        if reply.status >= 400:
            raise _failure(reply)
        return reply

    @staticmethod
    def _decode(reply: Reply) -> Object:
        decoded: Object = orjson.loads(reply.body)
        return decoded


async def _watch_events(chunks: AsyncIterator[bytes]) -> AsyncIterator[WatchEvent]:
    pending = b""
    async for chunk in chunks:
        lines = (pending + chunk).split(b"\n")
        pending = lines.pop()
        for line in lines:
            if not line:
                continue
            event = orjson.loads(line)
            if event["type"] == "ERROR":
                raise status.from_object(event["object"])
            yield WatchEvent(event["type"], event["object"])


def _failure(reply: Reply) -> status.StatusError:
    try:
        decoded = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        decoded = None
    if isinstance(decoded, dict) and decoded.get("kind") == "Status":
        return status.from_object(decoded)
    text = reply.body.decode(errors="replace").strip()
    return status.StatusError(text or f"the server answered {reply.status}", code=reply.status)


def _query(**parameters: str) -> dict[str, str]:
    return {name: value for name, value in parameters.items() if value}
