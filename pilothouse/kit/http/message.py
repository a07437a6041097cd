"""A request and its response, as the edge hands them to an application and back.

An application is `async (Request) -> Response`. It sees the same whether the request came over a socket or from the same process.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end. `certificate` is the client certificate in DER, sent but not yet verified by anyone.

    `chain` are those that it sent beside its own, likewise.
    """

    address: str = ""
    certificate: bytes | None = None
    is_tls: bool = False
    chain: tuple[bytes, ...] = ()


LOCAL_PEER = Peer(address="in-process")


@dataclass(slots=True)
class Request:
    """One request. Header names are lower case; `path` is percent-decoded, `query` raw."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    peer: Peer
    raw_path: str = ""
    disconnected: asyncio.Event = field(default_factory=asyncio.Event)
    context: dict[str, Any] = field(default_factory=dict)
    """What one part of the application's chain leaves for the next."""


Takeover = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""Speaks raw bytes on a connection that left HTTP; the connection closes when it returns."""


@dataclass(slots=True)
class Response:
    """One response.

    `body` is whole bytes, or an iterator whose chunks are sent as they come (`Transfer-Encoding: chunked`, unless the headers say
    how long it is); the iterator is closed when the client goes away. With `takeover`, the status line and headers are sent and the
    connection is handed over.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | AsyncIterator[bytes] = b""
    takeover: Takeover | None = None
    finished: Callable[[], None] | None = None
    """Called once when the body or the takeover has come to its end, whichever way; see `over`."""

    def over(self) -> None:
        """Tell that nothing more will be sent. Idempotent."""
        finished, self.finished = self.finished, None
        if finished is not None:
            finished()


App = Callable[[Request], Awaitable[Response]]
