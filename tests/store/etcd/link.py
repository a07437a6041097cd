"""A connection to an etcd member that a test can cut and hold: a TCP relay in the test's process."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit


class Link:
    """Relays to the member at `url`. Used as an async context manager."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._answers = asyncio.Event()
        self._answers.set()
        self.port = 0

    @property
    def url(self) -> str:
        return f"{self._target.scheme}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Link:
        await self.mend()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()

    async def cut(self) -> None:
        """Break all connections and take no new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def mend(self) -> None:
        self._answers.set()
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def hold_answers(self) -> None:
        """Let requests through and keep what comes back, until `cut` or `mend`."""
        self._answers.clear()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            back_reader, back_writer = await asyncio.open_connection(self._target.hostname, self._target.port)
            self._writers.add(back_writer)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(reader, back_writer, is_answer=False))
                group.create_task(self._copy(back_reader, writer, is_answer=True))
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool) -> None:
        try:
            while data := await reader.read(65536):
                if is_answer:
                    await self._answers.wait()
                writer.write(data)
                await writer.drain()
        finally:
            writer.transport.abort()
            self._writers.discard(writer)
