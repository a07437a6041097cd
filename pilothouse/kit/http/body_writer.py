"""Bodies that are streamed by a task: logs, lists in pieces, what a proxy passes on. For those that wait for hours see `feed`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from pilothouse.kit.http.message import Request
from pilothouse.kit.log import get_logger

log = get_logger("pilothouse.http")


class BodyWriter:
    """Writes one body to one connection, chunk by chunk as they come.

    `closed` is called when nothing more will be sent; `finished` after that, if the body has been sent to its end. A body that fails
    cuts the connection off, so that the client sees it.
    """

    __slots__ = (
        "_body",
        "_closed",
        "_finished",
        "_is_chunked",
        "_is_ended",
        "_is_over",
        "_paused",
        "_request",
        "_task",
        "_transport",
    )

    def __init__(
        self,
        body: AsyncIterator[bytes],
        transport: asyncio.Transport,
        request: Request,
        *,
        closed: Callable[[], None],
        finished: Callable[[], None],
        is_chunked: bool,
    ) -> None:
        self._body = body
        self._transport = transport
        self._request = request
        self._closed = closed
        self._finished = finished
        self._is_chunked = is_chunked
        self._paused: asyncio.Event | None = None
        """Set when the client reads again; None while it does."""
        self._task: asyncio.Task[None] | None = None
        self._is_ended = False
        self._is_over = False

    def start(self, spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]) -> None:
        self._task = spawn(self._run())

    def pause(self) -> None:
        """The client does not read what was written to it."""
        self._paused = asyncio.Event()

    def resume(self) -> None:
        if self._paused is not None:
            self._paused.set()
            self._paused = None

    def end(self) -> None:
        """End the body properly, wherever it is."""
        if not self._is_over and self._task is not None:
            self._is_ended = True
            self._task.cancel()

    def drop(self) -> None:
        """The connection is gone. Idempotent."""
        if not self._is_over:
            self._is_over = True
            if self._task is not None:
                self._task.cancel()

    async def _run(self) -> None:
        write = self._transport.write
        is_complete = False
        try:
            async for chunk in self._body:
                if chunk:
                    write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if self._is_chunked else chunk)
                    while self._paused is not None:
                        await self._paused.wait()
            is_complete = True
        except asyncio.CancelledError:
            # The server ends streams when it stops; the client must see a proper end, not a broken one.
            is_complete = self._is_ended
        except Exception:
            log.exception("streamed response failed", method=self._request.method, path=self._request.path)
        finally:
            await close_body(self._body)
            self._closed()
            if not self._is_over:
                self._is_over = True
                if not is_complete:
                    self._transport.abort()
                else:
                    if self._is_chunked:
                        write(b"0\r\n\r\n")
                    self._finished()


async def close_body(body: AsyncIterator[bytes]) -> None:
    """Let a body go, sent to its end or not."""
    close = getattr(body, "aclose", None)
    if close is not None:
        await close()
