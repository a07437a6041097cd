"""Reads over a WebSocket: watches, one event a message, and the bytes of logs.

The client says nothing but that it closes. What is refused is refused before the connection leaves HTTP. Source: apiserver
`pkg/endpoints/handlers/watch.go`, `k8s.io/streaming/pkg/httpstream/wsstream`.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence

from pilothouse.api.status import BadRequest, Forbidden
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.negotiate import PROTOBUF
from pilothouse.kit.http.message import Response
from pilothouse.kit.http.tunnel import wants_upgrade
from pilothouse.kit.http.websocket import CloseCode, ProtocolError, WebSocket, accept, offered_protocols

_TOKEN_PROTOCOL = "base64url.bearer.authorization.k8s.io."
_BINARY = "binary.k8s.io"
_BASE64 = "base64.binary.k8s.io"

Source = AsyncIterator[bytes]
Send = Callable[[WebSocket, bytes], Awaitable[None]]


async def events_over_websocket(call: Call, watch: Response) -> Response:
    """`watch` as a WebSocket if the client asked for one: a text message an event of JSON, a binary one an event of protobuf.

    Raises BadRequest for a request that cannot become a WebSocket.
    """
    if not is_asked_for(call.request.headers):
        return watch
    protocols = _protocols(call.request.headers)
    send = _send_messages if call.output.media_type == PROTOBUF else _send_lines
    return await _opened(call, watch, protocols[0] if protocols else "", send)


async def bytes_over_websocket(call: Call, answer: Response) -> Response:
    """`answer`'s body as a WebSocket if the client asked for one, beginning with an empty message.

    Raises Forbidden if none of the client's subprotocols is known, BadRequest for a request that cannot become a WebSocket.
    """
    if not is_asked_for(call.request.headers):
        return answer
    offered = _protocols(call.request.headers)
    protocol = next((each for each in offered if each in (_BINARY, _BASE64)), "")
    if offered and not protocol:
        await _close(answer.body)
        raise Forbidden(
            f"requested protocol(s) are not supported: [{' '.join(offered)}]; supports [{_BINARY} {_BASE64}]"
        )
    return await _opened(call, answer, protocol, _send_base64 if protocol == _BASE64 else _send_bytes, is_greeted=True)


def is_asked_for(headers: Mapping[str, str]) -> bool:
    return wants_upgrade(headers) and headers["upgrade"].strip().lower() == "websocket"


def _protocols(headers: Mapping[str, str]) -> Sequence[str]:
    """The subprotocols that are not a token in disguise."""
    return [protocol for protocol in offered_protocols(headers) if not protocol.startswith(_TOKEN_PROTOCOL)]


async def _opened(call: Call, answer: Response, protocol: str, send: Send, *, is_greeted: bool = False) -> Response:
    try:
        headers = accept(call.request.headers, protocol)
    except ProtocolError as error:
        await _close(answer.body)
        raise BadRequest(str(error)) from error
    source = _whole(answer.body) if isinstance(answer.body, bytes) else answer.body

    async def take_over(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _carry(WebSocket(reader, writer), source, send, is_greeted=is_greeted)

    return Response(101, headers, takeover=take_over)


async def _carry(socket: WebSocket, source: Source, send: Send, *, is_greeted: bool) -> None:
    """Send all of `source`, until it or the client ends."""

    async def give() -> None:
        if is_greeted:
            await send(socket, b"")
        async for chunk in source:
            await send(socket, chunk)
        await socket.close(CloseCode.NORMAL)

    async def take() -> None:
        try:
            while await socket.receive() is not None:
                pass
        except ProtocolError as error:
            await socket.close(error.code, str(error))

    try:
        async with asyncio.TaskGroup() as tasks:
            both = [tasks.create_task(give()), tasks.create_task(take())]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for task in both:
                task.cancel()
    except* ConnectionError:
        pass
    finally:
        await _close(source)


async def _close(source: object) -> None:
    """Let go of what a body stands for, also before it was begun."""
    close = getattr(source, "aclose", None)
    if close is not None:
        await close()


async def _whole(body: bytes) -> AsyncIterator[bytes]:
    if body:
        yield body


async def _send_bytes(socket: WebSocket, chunk: bytes) -> None:
    await socket.send(chunk)


async def _send_base64(socket: WebSocket, chunk: bytes) -> None:
    await socket.send_text(base64.b64encode(chunk))


async def _send_lines(socket: WebSocket, chunk: bytes) -> None:
    for line in chunk.splitlines(keepends=True):
        await socket.send_text(line)


async def _send_messages(socket: WebSocket, chunk: bytes) -> None:
    for message in _messages(chunk):
        await socket.send(message)


def _messages(chunk: bytes) -> Iterator[bytes]:
    """Length-delimited messages: four bytes of length, most significant first, before each."""
    at = 0
    while at < len(chunk):
        size = int.from_bytes(chunk[at : at + 4])
        yield chunk[at + 4 : at + 4 + size]
        at += 4 + size
