"""WebSockets whose subprotocols the runtime does not know, translated to SPDY, which it does.

`v5.channel.k8s.io` is v4 with a signal that closes one stream, so that a command sees the end of its input. In
`SPDY/3.1+portforward.k8s.io` the messages carry a SPDY connection's bytes. Source: KEP-4006; apiserver `pkg/util/proxy`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from pilothouse.kit.http.message import Request, Response
from pilothouse.kit.http.spdy import Part, SpdyConnection
from pilothouse.kit.http.tunnel import GOODBYE_S, Opened, Stream, Target, open_upgraded
from pilothouse.kit.http.websocket import CloseCode, ProtocolError, WebSocket, accept, offered_protocols

V5 = "v5.channel.k8s.io"
PORT_FORWARD = "SPDY/3.1+portforward.k8s.io"
_STDIN, _STDOUT, _STDERR, _ERROR, _RESIZE, _CLOSE = 0, 1, 2, 3, 4, 255
_CHANNELS = {_ERROR: "error", _STDIN: "stdin", _STDOUT: "stdout", _STDERR: "stderr", _RESIZE: "resize"}
"""Stream types by channel, in the order in which the streams are opened."""
_PIECE_BYTES = 32 * 1024


@dataclass(frozen=True, slots=True)
class Flags:
    """Which of a process's streams a client wants."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False

    def has(self, channel: int) -> bool:
        wanted = {_STDIN: self.stdin, _STDOUT: self.stdout, _STDERR: self.stderr, _RESIZE: self.tty}
        return wanted.get(channel, True)


def chosen_protocol(request: Request) -> str:
    """The subprotocol that this server translates, if the client prefers it; else empty: the runtime is to decide."""
    offered = offered_protocols(request.headers)
    return offered[0] if offered and offered[0] in (V5, PORT_FORWARD) else ""


async def process_streams(request: Request, target: Target, flags: Flags) -> Response:
    """Exec or attach for a v5 client. Raises ConnectionFailed, ProtocolError."""
    answer = accept(request.headers, V5)
    opened = await _open(target, "v4.channel.k8s.io")
    far = opened.stream
    if far is None:
        return opened.refused

    async def take_over(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        spdy = SpdyConnection(*far)
        try:
            await _Translation(WebSocket(reader, writer), spdy).run(flags)
        finally:
            spdy.close()

    return Response(101, answer, takeover=take_over)


async def port_forward(request: Request, target: Target) -> Response:
    """Port-forward for a client that tunnels SPDY. Raises ConnectionFailed, ProtocolError."""
    answer = accept(request.headers, PORT_FORWARD)
    opened = await _open(target, "portforward.k8s.io")
    far = opened.stream
    if far is None:
        return opened.refused

    async def take_over(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _carry(WebSocket(reader, writer), far)

    return Response(101, answer, takeover=take_over)


async def _open(target: Target, protocol: str) -> Opened:
    headers: Mapping[str, str] = {"x-stream-protocol-version": protocol}
    return await open_upgraded("POST", target, "SPDY/3.1", headers)


class _Translation:
    """One client's channels over the runtime's streams."""

    def __init__(self, socket: WebSocket, spdy: SpdyConnection) -> None:
        self._socket = socket
        self._spdy = spdy
        self._streams: dict[int, int] = {}

    async def run(self, flags: Flags) -> None:
        """Carry data both ways until the process has ended and all it wrote is sent, or the client goes away."""
        for channel, name in _CHANNELS.items():
            if flags.has(channel):
                self._streams[channel] = await self._spdy.open({"streamtype": name})
        # An empty message tells the client that the connection stands.
        first = next(channel for channel in (_STDOUT, _STDERR, _ERROR) if channel in self._streams)
        await self._socket.send(bytes((first,)))
        await _until_over(self._from_client(), self._from_process())

    async def _from_client(self) -> None:
        try:
            while (message := await self._socket.receive()) is not None:
                if message:
                    # A runtime that takes nothing any more may still have something to say.
                    with contextlib.suppress(OSError):
                        await self._on_message(message[0], message[1:])
        except ProtocolError as error:
            await self._socket.close(error.code, str(error))

    async def _on_message(self, channel: int, data: bytes) -> None:
        if channel == _CLOSE:
            if data[:1] == bytes((_STDIN,)) and _STDIN in self._streams:
                await self._spdy.send(self._streams.pop(_STDIN), b"", is_last=True)
        elif channel in (_STDIN, _RESIZE) and channel in self._streams and data:
            await self._spdy.send(self._streams[channel], data)

    async def _from_process(self) -> None:
        channels = {stream: c for c, stream in self._streams.items() if c in (_STDOUT, _STDERR, _ERROR)}
        while channels and (part := await self._next_part()) is not None:
            channel = channels.get(part.stream)
            if channel is None:
                continue
            if part.data:
                await self._socket.send(bytes((channel,)) + part.data)
            if part.is_last:
                del channels[part.stream]
        await self._socket.close(CloseCode.NORMAL)

    async def _next_part(self) -> Part | None:
        """None also when the runtime has reset the connection: it does so if it has not read all of the input."""
        try:
            return await self._spdy.receive()
        except OSError:
            return None


async def _carry(socket: WebSocket, far: Stream) -> None:
    reader, writer = far

    async def to_runtime() -> None:
        try:
            while (message := await socket.receive()) is not None:
                with contextlib.suppress(OSError):
                    writer.write(message)
                    await writer.drain()
        except ProtocolError as error:
            await socket.close(error.code, str(error))

    async def to_client() -> None:
        while piece := await reader.read(_PIECE_BYTES):
            await socket.send(piece)
        await socket.close(CloseCode.NORMAL)

    try:
        await _until_over(to_runtime(), to_client())
    finally:
        writer.close()


async def _until_over(from_client: Coroutine[Any, Any, None], to_client: Coroutine[Any, Any, None]) -> None:
    """Run both until the client has gone, or everything is sent and the client had a moment to take it.

    A connection that is closed while something of the client's is unread loses what is still on its way to the client.
    """
    async with asyncio.TaskGroup() as group:
        coming = group.create_task(_quietly(from_client))
        going = group.create_task(_quietly(to_client))
        coming.add_done_callback(lambda _: going.cancel())
        await asyncio.wait([going])
        await asyncio.wait([coming], timeout=GOODBYE_S)
        coming.cancel()


async def _quietly(work: Coroutine[Any, Any, None]) -> None:
    with contextlib.suppress(OSError):
        await work
