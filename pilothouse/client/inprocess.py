"""The API server of the same process, reached without a socket.

Requests go through the whole chain as they would over a connection, as the same bytes.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import quote, urlencode

from pilothouse.api import status
from pilothouse.client.transport import Reply, StreamReply
from pilothouse.kit.http.message import LOCAL_PEER, App, Peer, Request, Response


class InProcessTransport:
    """Calls an application. `headers`, lower case, are added to every request: the credentials of whoever calls."""

    def __init__(self, app: App, headers: Mapping[str, str] | None = None, *, peer: Peer = LOCAL_PEER) -> None:
        self._app = app
        self._headers = dict(headers or {})
        self._peer = peer

    async def request(
        self, method: str, path: str, *, query: Mapping[str, str], headers: Mapping[str, str], body: bytes = b""
    ) -> Reply:
        request = self._request(method, path, query, headers, body)
        response = await self._app(request)
        _refuse_takeover(response)
        if isinstance(response.body, bytes):
            content = response.body
        else:
            try:
                content = b"".join([chunk async for chunk in response.body])
            finally:
                await _close(response.body)
                response.over()
        return Reply(response.status, _lower(response.headers), content)

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> AsyncIterator[StreamReply]:
        request = self._request(method, path, query, headers, b"")
        try:
            response = await self._app(request)
            _refuse_takeover(response)
            chunks = _once(response.body) if isinstance(response.body, bytes) else response.body
            try:
                yield StreamReply(response.status, _lower(response.headers), chunks)
            finally:
                request.disconnected.set()
                await _close(chunks)
                response.over()
        finally:
            request.disconnected.set()

    async def close(self) -> None:
        """Nothing is held."""

    def _request(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> Request:
        all_headers = {**headers, **self._headers}
        if body:
            all_headers["content-length"] = str(len(body))
        return Request(
            method=method,
            path=path,
            query=urlencode(query) if query else "",
            headers=all_headers,
            body=body,
            peer=self._peer,
            raw_path=quote(path, safe="/:@!$&'()*+,;=~"),
        )


def _refuse_takeover(response: Response) -> None:
    if response.takeover is not None:
        raise status.BadRequest(
            "this request needs a connection of its own, which the in-process transport does not have"
        )


def _lower(headers: Mapping[str, str]) -> Mapping[str, str]:
    return {name.lower(): value for name, value in headers.items()}


async def _once(body: bytes) -> AsyncIterator[bytes]:
    if body:
        yield body


async def _close(chunks: AsyncIterator[bytes]) -> None:
    if isinstance(chunks, AsyncGenerator):
        await chunks.aclose()
