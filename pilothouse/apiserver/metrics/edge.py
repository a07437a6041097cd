"""What the HTTP edge has seen that never became a request."""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.kit.http.server import Server
from pilothouse.kit.metrics import Family


def families(server: Server) -> Iterable[Family]:
    """Of the server that the API is served by."""
    help = "[ALPHA] Number of requests dropped with 'TLS handshake error from' error"
    yield Family("apiserver_tls_handshake_errors_total", "counter", help).add(server.handshake_failures)
