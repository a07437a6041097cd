"""What the proxy tells others over HTTP: its own health, its numbers, and for each Service with a health check port how many endpoints
this node has. Load balancers ask the latter two to decide where traffic goes. Source: KEP-1669, KEP-3458, `pkg/proxy/healthcheck`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import orjson

from pilothouse.kit.clock import Clock
from pilothouse.kit.log import get_logger

log = get_logger("pilothouse.proxy.health")

_MAX_HEAD_BYTES = 8192
_REQUEST_LIMIT_S = 5.0
_REASONS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


Respond = Callable[[str], Answer]
"""Gives the answer for a path."""


class HttpPort:
    """A port that answers GET, one request a connection. Enough for probes, and far smaller than a web framework."""

    def __init__(self, host: str, port: int, respond: Respond) -> None:
        self._host = host
        self._port = port
        self._respond = respond
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port that it listens on, once it is open."""
        return int(self._server.sockets[0].getsockname()[1]) if self._server else self._port

    async def open(self) -> None:
        """Raises OSError, such as when the port is in use."""
        self._server = await asyncio.start_server(
            self._serve, self._host or None, self._port, limit=_MAX_HEAD_BYTES, reuse_address=True
        )

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(_REQUEST_LIMIT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(head))
                await writer.drain()
        writer.close()

    def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        answer = self._respond(path) if method in ("GET", "HEAD") else Answer(405, b"", "text/plain")
        headers = {
            "Content-Type": answer.content_type,
            "X-Content-Type-Options": "nosniff",
            "Content-Length": str(len(answer.body)),
            "Connection": "close",
            **answer.headers,
        }
        lines = [
            f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode() + (answer.body if method == "GET" else b"")


class ProxyHealth:
    """Healthy while changes reach the kernel within the time limit."""

    def __init__(self, clock: Clock, *, limit_s: float) -> None:
        self._clock = clock
        self._limit_s = limit_s
        self._updated: float | None = None
        self._pending_since: float | None = None
        self.is_node_eligible = True

    def pending(self) -> None:
        """A change waits to be carried out."""
        if self._pending_since is None:
            self._pending_since = self._clock.now()

    def updated(self) -> None:
        """All changes are carried out."""
        self._updated = self._clock.now()
        self._pending_since = None

    @property
    def is_healthy(self) -> bool:
        if self._updated is None:
            return False
        return self._pending_since is None or self._clock.now() - self._pending_since < self._limit_s

    def respond(self, path: str) -> Answer:
        """`/healthz` also fails while the node is about to go, so that load balancers leave it; `/livez` does not."""
        if path not in ("/healthz", "/livez"):
            return Answer(404, b"404 page not found\n", "text/plain; charset=utf-8")
        is_well = self.is_healthy and (self.is_node_eligible or path == "/livez")
        body: dict[str, object] = {
            "lastUpdated": _go_time(self._updated or 0.0),
            "currentTime": _go_time(self._clock.now()),
        }
        if path == "/healthz":
            body["nodeEligible"] = self.is_node_eligible
        return Answer(200 if is_well else 503, orjson.dumps(body))


def _go_time(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f +0000 UTC")


class ServiceHealthPorts:
    """A port for each Service of type LoadBalancer with the external policy Local."""

    def __init__(self, host: str, health: ProxyHealth) -> None:
        self._host = host
        self._health = health
        self._ports: dict[str, tuple[int, HttpPort]] = {}
        self._local_endpoints: dict[str, int] = {}

    async def update(self, key: str, port: int, local_endpoints: int) -> None:
        """Serve the Service `key` on `port`; close its port if that is 0. A port that cannot be opened is logged."""
        self._local_endpoints[key] = local_endpoints
        known = self._ports.get(key)
        if known is not None and known[0] != port:
            del self._ports[key]
            await known[1].close()
            known = None
        if not port:
            self._local_endpoints.pop(key, None)
        elif known is None:
            opened = HttpPort(self._host, port, lambda _path: self._respond(key))
            try:
                await opened.open()
            except OSError as error:
                log.error("the health check port of a Service cannot be opened", service=key, port=port, reason=error)
                return
            self._ports[key] = (port, opened)

    async def close(self) -> None:
        for _, port in self._ports.values():
            await port.close()
        self._ports.clear()

    def _respond(self, key: str) -> Answer:
        count = self._local_endpoints.get(key, 0)
        namespace, _, name = key.partition("/")
        is_healthy = self._health.is_healthy
        body = {
            "service": {"namespace": namespace, "name": name},
            "localEndpoints": count,
            "serviceProxyHealthy": is_healthy,
        }
        headers = {"X-Load-Balancing-Endpoint-Weight": str(count)}
        return Answer(200 if count and is_healthy else 503, orjson.dumps(body), headers=headers)
