"""What a server lets a client use up. Sizes follow the Kubernetes API server, times Go's `net/http` as it is set up there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one server."""

    body_bytes: int = 3 * 1024 * 1024
    """The largest request body; a larger one is answered 413."""
    head_bytes: int = 1024 * 1024 + 4096
    """The largest request line with all headers, and the largest trailers; a larger one is answered 431."""
    head_lines: int = 10_000
    """The most headers of one request; more are answered 431."""
    known_hosts: int = 512
    """How many values of the `Host` header are remembered as well formed."""
    connections: int = 10_000
    """Connections at one time; for a further one, those that have been idle longest are closed."""
    pipelined: int = 16
    """Requests of one connection that may wait for their turn before reading from it stops."""
    head_timeout_s: float = 32.0
    """How long the headers of a request may take from their first byte."""
    body_timeout_s: float = 60.0
    """How long a client may take to send a request body."""
    idle_timeout_s: float = 90.0
    """How long a connection may stay open without a request."""
    write_timeout_s: float = 60.0
    """How long a client may refuse to read what was written to it."""
    linger_s: float = 1.0
    """How long a client may go on sending a request that was refused."""
    handshake_timeout_s: float = 10.0
    shutdown_s: float = 10.0
    """How long requests in progress get to finish when the server stops."""
    write_buffer_bytes: int = 1024 * 1024
    """Unsent bytes of one connection above which a streamed response waits."""
