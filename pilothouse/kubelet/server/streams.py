"""Exec, attach and port-forward: the runtime serves the streams, and connections are passed on to it.

Source: `pkg/kubelet/server/server.go`; CRI's streaming API.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qsl, urlsplit

from pilothouse.api.meta import Object, uid_of
from pilothouse.kit.http.client import ConnectionFailed
from pilothouse.kit.http.message import Request, Response
from pilothouse.kit.http.tunnel import Target, tunnel, wants_upgrade, without_hop_headers
from pilothouse.kit.http.websocket import ProtocolError
from pilothouse.kubelet.kubelet import Kubelet
from pilothouse.kubelet.runtime.failures import NotFoundInRuntime, RuntimeFailure
from pilothouse.kubelet.runtime.records import ContainerRecord, PodRecord
from pilothouse.kubelet.runtime.runtime import Stream
from pilothouse.kubelet.server import translate
from pilothouse.kubelet.server.refusal import Refused
from pilothouse.kubelet.server.translate import Flags

_CREDENTIALS = frozenset({"authorization", "cookie"})


class Streams:
    """Serves the streams of a kubelet's pods. All methods raise Refused."""

    def __init__(self, kubelet: Kubelet) -> None:
        self._kubelet = kubelet

    async def execute(self, request: Request, namespace: str, name: str, uid: str, container: str) -> Response:
        asked = parse_qsl(request.query, keep_blank_values=True)
        flags = stream_flags(asked)
        record = await self._container(namespace, name, uid, container)
        command = [value for key, value in asked if key == "command"]
        return await self._pass_on(request, Stream.EXEC, record.id, flags, command=command)

    async def attach(self, request: Request, namespace: str, name: str, uid: str, container: str) -> Response:
        flags = stream_flags(parse_qsl(request.query, keep_blank_values=True))
        record = await self._container(namespace, name, uid, container)
        return await self._pass_on(request, Stream.ATTACH, record.id, flags)

    async def port_forward(self, request: Request, namespace: str, name: str, uid: str) -> Response:
        ports = _ports(request)
        pod = self._pod(namespace, name)
        if uid and uid_of(pod) != uid:
            raise Refused(404, "pod not found")
        known = self._kubelet.record(uid_of(pod))
        sandbox = (known.ready_sandbox if known is not None else None) or (await self._ask(pod)).ready_sandbox
        if sandbox is None:
            raise Refused(500, f'failed to find sandbox for pod "{name}_{namespace}": the pod is not running')
        return await self._pass_on(request, Stream.PORT_FORWARD, sandbox.id, Flags(), ports=ports)

    async def run(self, request: Request, namespace: str, name: str, uid: str, container: str) -> Response:
        """Run `cmd` to its end and answer with its output."""
        command = dict(parse_qsl(request.query)).get("cmd", "").split(" ")
        record = await self._container(namespace, name, uid, container)
        try:
            result = await self._kubelet.parts.runtime.exec(record.id, command, 0)
        except RuntimeFailure as error:
            raise _refused(error) from error
        return Response(200, {"content-type": "application/json"}, result.stdout + result.stderr)

    async def _pass_on(
        self,
        request: Request,
        stream: Stream,
        target_id: str,
        flags: Flags,
        *,
        command: Sequence[str] = (),
        ports: Sequence[int] = (),
    ) -> Response:
        if not wants_upgrade(request.headers):
            raise Refused(400, "Upgrade request required")
        try:
            url = urlsplit(
                await self._kubelet.parts.runtime.stream_url(
                    stream,
                    target_id,
                    command=command,
                    stdin=flags.stdin,
                    stdout=flags.stdout,
                    stderr=flags.stderr,
                    tty=flags.tty,
                    ports=ports,
                )
            )
        except RuntimeFailure as error:
            raise _refused(error) from error
        target = Target(url.hostname or "127.0.0.1", url.port or 80, url.path, url.query)
        headers = {
            name: value for name, value in without_hop_headers(request.headers).items() if name not in _CREDENTIALS
        }
        try:
            match translate.chosen_protocol(request):
                case translate.V5 if stream is not Stream.PORT_FORWARD:
                    return await translate.process_streams(request, target, flags)
                case translate.PORT_FORWARD if stream is Stream.PORT_FORWARD:
                    return await translate.port_forward(request, target)
                case _:
                    return await tunnel(request.method, target, request.headers["upgrade"], headers, request.body)
        except ProtocolError as error:
            raise Refused(400, str(error)) from error
        except (ConnectionFailed, ValueError) as error:
            raise Refused(500, f"the runtime's stream cannot be reached: {error}") from error

    async def _container(self, namespace: str, name: str, uid: str, container: str) -> ContainerRecord:
        pod = self._pod(namespace, name)
        if uid and uid_of(pod) != uid:
            raise Refused(500, f'pod not found ("{name}_{namespace}")')
        known = self._kubelet.record(uid_of(pod))
        for record in (known, None):
            found = (record or await self._ask(pod)).container(container)
            if found is not None and found.is_running:
                return found
        raise Refused(500, f'container not found ("{container}")')

    def _pod(self, namespace: str, name: str) -> Object:
        pod = self._kubelet.pod(namespace, name)
        if pod is None:
            raise Refused(404, "pod does not exist")
        return pod

    async def _ask(self, pod: Object) -> PodRecord:
        try:
            return await self._kubelet.parts.runtime.pod(uid_of(pod))
        except RuntimeFailure as error:
            raise _refused(error) from error


def stream_flags(asked: Sequence[tuple[str, str]]) -> Flags:
    """The streams that a query names. Raises Refused if it names none."""
    given = dict(reversed(asked))
    stdin, stdout, stderr, tty = (given.get(name) == "1" for name in ("input", "output", "error", "tty"))
    if not (stdin or stdout or stderr):
        raise Refused(400, "you must specify at least 1 of stdin, stdout, stderr")
    # A terminal has one output stream.
    return Flags(stdin, stdout, stderr and not tty, tty)


def _ports(request: Request) -> list[int]:
    """The ports that a WebSocket client names in its URL; a SPDY client names them stream by stream."""
    is_websocket = request.headers.get("upgrade", "").lower() == "websocket"
    if not is_websocket or translate.chosen_protocol(request) == translate.PORT_FORWARD:
        return []
    texts = [part for key, value in parse_qsl(request.query) if key == "port" for part in value.split(",")]
    if not texts:
        raise Refused(400, 'query parameter "port" is required')
    for text in texts:
        if not text.isdigit() or not 0 < int(text) < 65536:
            raise Refused(400, f'unable to parse "{text}" as a port: it must be a number between 1 and 65535')
    return [int(text) for text in texts]


def _refused(error: RuntimeFailure) -> Refused:
    return Refused(404 if isinstance(error, NotFoundInRuntime) else 500, str(error))
