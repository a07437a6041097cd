"""What a server lets a client use up. Sizes follow the Kubernetes API server, times Go's `net/http` as it is set up there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one server."""

    body_bytes: int = 3 * 1024 * 1024
    """The largest request body; a larger one is answered 413."""
    head_bytes: int = 256 * 1024
    """The largest request line with all headers; a larger one is answered 431."""
    connections: int = 10_000
    """Connections at one time; a further one is closed at once."""
    pipelined: int = 16
    """Requests of one connection that may wait for their turn before reading from it stops."""
    head_timeout_s: float = 32.0
    """How long the headers of a request may take from their first byte."""
    body_timeout_s: float = 60.0
    """How long a client may pause within a request body."""
    idle_timeout_s: float = 90.0
    """How long a connection may stay open without a request."""
    write_timeout_s: float = 60.0
    """How long a client may refuse to read what was written to it."""
    handshake_timeout_s: float = 10.0
    shutdown_s: float = 10.0
    """How long requests in progress get to finish when the server stops."""
    write_buffer_bytes: int = 1024 * 1024
    """Unsent bytes of one connection above which a streamed response waits."""
