"""How extension servers describe what they serve: their OpenAPI documents.

Version 2 is downloaded whole and becomes part of the one document of all servers; it is asked for again by its ETag. Of version 3 the
index is kept, and a document is passed on when somebody asks for it. A server that has neither is described by nothing.
Source: kube-aggregator `pkg/controllers/{openapi,openapiv3}/aggregator`.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from pilothouse.api.status import StatusError
from pilothouse.api.user import User
from pilothouse.apiserver.aggregation.backend import Address, Backend, Unresolvable, identified, resolve
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.objects import Objects
from pilothouse.apiserver.openapi.merge import under
from pilothouse.apiserver.proxy.backend import fetch, read_some
from pilothouse.kit.http.client import ConnectionFailed
from pilothouse.kit.http.message import Response
from pilothouse.kit.http.tunnel import HOP_HEADERS

TIMEOUT_S = 60.0
MAX_DOCUMENT_BYTES = 64 << 20
_USER = User("system:aggregator", groups=("system:masters",))
_PASSED = ("accept", "if-none-match")


@dataclass(frozen=True, slots=True)
class Description:
    """What the server of an APIService says of its group version."""

    version_2: bytes = b""
    """The part of its document that is about the group version, as JSON, compressed; empty if it has none."""
    etag: str = ""
    """Of its whole document."""
    digest: str = ""
    """Of `version_2`."""
    version_3: Mapping[str, str] = field(default_factory=dict)
    """The group versions that it describes in version 3, such as `apis/wardle.example.com/v1`, with the URL of each."""

    def document(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = orjson.loads(gzip.decompress(self.version_2))
        return found


@dataclass(frozen=True, slots=True)
class Described:
    """A description with what it takes to ask for more."""

    description: Description
    backend: Backend
    objects: Objects

    async def serve(self, call: Call) -> Response:
        """Pass the request for a document of version 3 on. Raises ServiceUnavailable, NotFound."""
        # Up to its first suspension a request is worked on outside a task, where no time-out can be set.
        await asyncio.sleep(0)
        request = call.request
        headers = {name: request.headers[name] for name in _PASSED if name in request.headers}
        address = (await resolve(self.objects, self.backend.reference, self.backend.port))[0]
        target = self.backend.target(address, request.path, request.query)
        code, answered, body = await fetch("GET", target, identified(headers, call.user, request.peer.address))
        return Response(code, {name: value for name, value in answered.items() if name not in HOP_HEADERS}, body)


async def describe(backend: Backend, objects: Objects, known: Description | None) -> Description:
    """What the server says now. What it does not answer is as it was `known`."""
    before = known or Description()
    try:
        address = (await resolve(objects, backend.reference, backend.port))[0]
        async with asyncio.timeout(TIMEOUT_S):
            index = await _index(backend, address)
            version_2, etag, digest = await _version_2(backend, address, before)
    except (Unresolvable, StatusError, ConnectionFailed, TimeoutError, OSError, ValueError):
        return before
    return Description(version_2, etag, digest, before.version_3 if index is None else index)


async def _index(backend: Backend, address: Address) -> Mapping[str, str] | None:
    headers = identified({"accept": "application/json"}, _USER)
    code, _, body = await fetch("GET", backend.target(address, "/openapi/v3"), headers)
    text = await read_some(body, MAX_DOCUMENT_BYTES)
    if code != 200:
        return {} if code == 404 else None
    name = backend.path.removeprefix("/")
    document = orjson.loads(text)
    paths = document.get("paths") if isinstance(document, dict) else None
    found = paths.get(name) if isinstance(paths, dict) else None
    return {name: str(found.get("serverRelativeURL", ""))} if isinstance(found, dict) else {}


async def _version_2(backend: Backend, address: Address, before: Description) -> tuple[bytes, str, str]:
    asked = {"accept": "application/json", **({"if-none-match": before.etag} if before.etag else {})}
    code, answered, body = await fetch("GET", backend.target(address, "/openapi/v2"), identified(asked, _USER))
    text = await read_some(body, MAX_DOCUMENT_BYTES)
    if code != 200:
        return (b"", "", "") if code == 404 else (before.version_2, before.etag, before.digest)

    def packed() -> bytes:
        document = orjson.loads(text)
        if not isinstance(document, dict) or not isinstance(document.get("paths"), dict):
            return b""
        return gzip.compress(orjson.dumps(under(document, f"{backend.path}/")), 6, mtime=0)

    part = await asyncio.to_thread(packed)
    return part, answered.get("etag", ""), hashlib.sha256(part).hexdigest()
