"""The kubelet's two servers: HTTPS for those who may, and plain HTTP on the loopback for looking only.

Source: `pkg/kubelet/server/server.go`.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

import orjson

from pilothouse.api.meta import Object
from pilothouse.client.client import Client
from pilothouse.kit.clock import Clock
from pilothouse.kit.http import tls
from pilothouse.kit.http.message import App, Request, Response
from pilothouse.kit.http.server import Server
from pilothouse.kit.log import get_logger
from pilothouse.kit.metrics import CONTENT_TYPE
from pilothouse.kubelet.kubelet import Kubelet
from pilothouse.kubelet.runtime.failures import RuntimeFailure
from pilothouse.kubelet.runtime.records import PodRecord
from pilothouse.kubelet.server import node_logs
from pilothouse.kubelet.server.access import Access
from pilothouse.kubelet.server.configuration import configuration
from pilothouse.kubelet.server.health import Health
from pilothouse.kubelet.server.logs import ContainerLogs
from pilothouse.kubelet.server.metrics import Metrics
from pilothouse.kubelet.server.refusal import Refused, plain
from pilothouse.kubelet.server.stats import Stats
from pilothouse.kubelet.server.streams import Streams

log = get_logger("pilothouse.kubelet.server")

_CERTIFICATE_PERIOD_S = 60.0
_METHODS = frozenset({"OPTIONS", "GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "CONNECT"})

Handler = Callable[[Request, list[str]], Awaitable[Response]]
"""Answers a request; the second argument is the path's parts after the first."""


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Port 0 leaves a server out. Without a client CA nobody is known by a certificate."""

    certificate: Path
    key: Path
    client_ca: Path | None = None
    address: str = "0.0.0.0"
    port: int = 10250
    read_only_address: str = "127.0.0.1"
    read_only_port: int = 0
    healthz_address: str = "127.0.0.1"
    healthz_port: int = 0
    anonymous_auth: bool = False
    always_allow: bool = False
    """authorization mode AlwaysAllow rather than Webhook."""


class PortTaken(Exception):
    """A server cannot listen; the message says where and why."""


class KubeletServer:
    """Serves a kubelet. `client` is who reviews tokens and permissions."""

    def __init__(self, kubelet: Kubelet, client: Client, options: ServerOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._kubelet = kubelet
        self._access = Access(
            client,
            kubelet.options.node_name,
            clock,
            anonymous_auth=options.anonymous_auth,
            always_allow=options.always_allow,
        )
        self._health = Health(kubelet, clock)
        self._logs = ContainerLogs(kubelet, clock)
        self._streams = Streams(kubelet)
        self._stats = Stats(kubelet, clock)
        self._metrics = Metrics(kubelet, self._stats, clock)
        self._open: Mapping[str, Handler] = {
            "healthz": self._healthz,
            "pods": self._pods,
            "stats": self._summary,
            "metrics": self._metric_pages,
        }
        self._guarded: Mapping[str, Handler] = {
            **self._open,
            "containerLogs": self._container_logs,
            "exec": self._exec,
            "attach": self._attach,
            "portForward": self._port_forward,
            "run": self._run,
            "runningpods": self._running_pods,
            "configz": self._configz,
            "logs": self._node_logs,
        }

    async def run(self) -> None:
        """Serve until cancelled. Raises PortTaken, OSError or ssl.SSLError for certificates that cannot be used."""
        options = self._options
        context = None
        servers: list[tuple[App, str, int, ssl.SSLContext | None]] = []
        if options.port:
            authorities = [options.client_ca] if options.client_ca is not None else []
            context = tls.server_context(options.certificate, options.key, client_cas=authorities, verified=True)
            servers.append((self.guarded, options.address, options.port, context))
        if options.read_only_port:
            servers.append((self.read_only, options.read_only_address, options.read_only_port, None))
        if options.healthz_port:
            servers.append((self.health_only, options.healthz_address, options.healthz_port, None))
        running: list[Server] = []
        try:
            for server in servers:
                running.append(await self._start(*server))
            await self._renew(context)
        finally:
            await asyncio.shield(asyncio.gather(*(server.stop() for server in running)))

    async def guarded(self, request: Request) -> Response:
        """The application of the HTTPS port."""
        # The server steps into its application outside any task, where a timeout cannot be used.
        await asyncio.sleep(0)
        self._count("readwrite", self._guarded, request)
        try:
            await self._access.check(request)
            return await self._dispatch(self._guarded, request)
        except Refused as refused:
            return refused.response

    async def read_only(self, request: Request) -> Response:
        """The application of the read-only port."""
        self._count("readonly", self._open, request)
        if request.method not in ("GET", "HEAD"):
            return plain(405, "405: Method Not Allowed")
        await asyncio.sleep(0)
        try:
            return await self._dispatch(self._open, request)
        except Refused as refused:
            return refused.response

    async def health_only(self, request: Request) -> Response:
        """The application of the healthz port."""
        if request.path != "/healthz" and not request.path.startswith("/healthz/"):
            return plain(404, "404 page not found\n")
        return self._health.get(request.path, request.query)

    def _count(self, server: str, handlers: Mapping[str, Handler], request: Request) -> None:
        first = request.path.strip("/").partition("/")[0]
        method = request.method if request.method in _METHODS else "other"
        self._metrics.count_request(server, method, first if first in handlers else "other")

    @staticmethod
    async def _dispatch(handlers: Mapping[str, Handler], request: Request) -> Response:
        first, *rest = request.path.strip("/").split("/")
        handler = handlers.get(first)
        if handler is None:
            return plain(404, "404 page not found\n")
        return await handler(request, rest)

    async def _start(self, app: App, address: str, port: int, context: ssl.SSLContext | None) -> Server:
        server = Server(app, host=address, port=port, ssl_context=context, clock=self._clock)
        try:
            await server.start()
        except OSError as error:
            raise PortTaken(
                f"port {port} on {address} cannot be opened ({os.strerror(error.errno or 0)}): "
                "end the program that uses it, or choose another port"
            ) from error
        return server

    async def _renew(self, context: ssl.SSLContext | None) -> None:
        """Take up a new certificate when its file changes, until cancelled."""
        file = self._options.certificate
        known = file.stat().st_mtime_ns if context is not None else 0
        while True:
            await self._clock.sleep(_CERTIFICATE_PERIOD_S)
            try:
                if context is not None and (present := file.stat().st_mtime_ns) != known:
                    context.load_cert_chain(file, self._options.key)
                    known = present
            except (OSError, ssl.SSLError) as error:
                log.warning("certificate not taken up", file=str(file), error=str(error))

    # Handlers

    async def _healthz(self, request: Request, rest: list[str]) -> Response:
        return self._health.get(request.path, request.query)

    async def _pods(self, request: Request, rest: list[str]) -> Response:
        _require(request, rest, ("GET", "HEAD"), (0,))
        return pod_list(self._kubelet.pods())

    async def _summary(self, request: Request, rest: list[str]) -> Response:
        _require(request, rest, ("GET", "HEAD", "POST"), (0, 1))
        if rest not in ([], ["summary"]):
            raise Refused(404, "404: Page Not Found")
        only = dict(parse_qsl(request.query)).get("only_cpu_and_memory", "").lower() in ("true", "1")
        try:
            summary = await self._stats.summary(only_cpu_and_memory=only)
        except (RuntimeFailure, OSError) as error:
            raise Refused(500, f"Internal Error: {error}") from error
        return _json(summary)

    async def _metric_pages(self, request: Request, rest: list[str]) -> Response:
        _require(request, rest, ("GET", "HEAD"), (0, 1))
        try:
            match rest:
                case []:
                    page = self._metrics.page()
                case ["probes"]:
                    page = self._metrics.probe_page()
                case ["resource"]:
                    page = await self._metrics.resource_page()
                case ["cadvisor"]:
                    page = await self._metrics.cadvisor_page()
                case _:
                    raise Refused(404, "404 page not found\n")
        except (RuntimeFailure, OSError) as error:
            raise Refused(500, f"Internal Error: {error}") from error
        return Response(200, {"content-type": CONTENT_TYPE}, page)

    async def _running_pods(self, request: Request, rest: list[str]) -> Response:
        _require(request, rest, ("GET", "HEAD"), (0,))
        try:
            records = await self._kubelet.parts.runtime.pods()
        except RuntimeFailure as error:
            raise Refused(500, str(error)) from error
        return pod_list([running_pod(record) for record in records.values() if record.running])

    async def _configz(self, request: Request, rest: list[str]) -> Response:
        _require(request, rest, ("GET", "HEAD"), (0,))
        options = self._options
        config = configuration(
            self._kubelet.options,
            read_only_port=options.read_only_port,
            anonymous=options.anonymous_auth,
            authorization="AlwaysAllow" if options.always_allow else "Webhook",
        )
        return _json({"kubeletconfig": config})

    async def _node_logs(self, request: Request, rest: list[str]) -> Response:
        if request.method not in ("GET", "HEAD"):
            raise Refused(405, "405: Method Not Allowed")
        return node_logs.get(request, rest)

    async def _container_logs(self, request: Request, rest: list[str]) -> Response:
        _require(request, rest, ("GET", "HEAD"), (3,))
        namespace, name, container = rest
        return await self._logs.get(namespace, name, container, request.query)

    async def _exec(self, request: Request, rest: list[str]) -> Response:
        return await self._streams.execute(request, *_container_path(request, rest))

    async def _attach(self, request: Request, rest: list[str]) -> Response:
        return await self._streams.attach(request, *_container_path(request, rest))

    async def _run(self, request: Request, rest: list[str]) -> Response:
        return await self._streams.run(request, *_container_path(request, rest, ("POST",)))

    async def _port_forward(self, request: Request, rest: list[str]) -> Response:
        _require(request, rest, ("GET", "POST"), (2, 3))
        return await self._streams.port_forward(request, rest[0], rest[1], rest[2] if len(rest) == 3 else "")


def pod_list(pods: Sequence[Object]) -> Response:
    """The answer with a PodList."""
    return _json({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods})


def running_pod(record: PodRecord) -> Object:
    """What the runtime knows of a pod, in a Pod's form."""
    return {
        "metadata": {"name": record.name, "namespace": record.namespace, "uid": record.uid},
        "spec": {"containers": [{"name": c.name, "image": c.image, "resources": {}} for c in record.running]},
        "status": {},
    }


def _json(value: Object) -> Response:
    return Response(200, {"content-type": "application/json"}, orjson.dumps(value))


def _container_path(
    request: Request, rest: list[str], methods: tuple[str, ...] = ("GET", "POST")
) -> tuple[str, str, str, str]:
    """namespace, name, uid and container of `{namespace}/{pod}[/{uid}]/{container}`."""
    _require(request, rest, methods, (3, 4))
    return rest[0], rest[1], rest[2] if len(rest) == 4 else "", rest[-1]


def _require(request: Request, rest: list[str], methods: tuple[str, ...], lengths: tuple[int, ...]) -> None:
    if len(rest) not in lengths:
        raise Refused(404, "404: Page Not Found")
    if request.method not in methods:
        raise Refused(405, "405: Method Not Allowed")
