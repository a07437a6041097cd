"""The edge to gRPC servers on this machine or in the cluster: one channel, calls by path, one error.

Calls name their method by path (`/runtime.v1.RuntimeService/Version`) and take and give protobuf messages, or bytes where no message
class is given. Every unary call has a deadline. grpcio is imported when a channel is made, not before.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from enum import IntEnum
from typing import Any, Generic, Protocol, TypeVar


class Message(Protocol):
    """A protobuf message."""

    def SerializeToString(self) -> bytes: ...  # noqa: N802 - protobuf's name


class RpcCode(IntEnum):
    """gRPC's status codes."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class RpcFailure(Exception):
    """A call that the server refused or that did not reach it. `details` is the server's text."""

    def __init__(self, code: RpcCode, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


Response = TypeVar("Response")
_MAX_MESSAGE_BYTES = 16 * 1024 * 1024
_KEEPALIVE_TIMEOUT_MS = 10_000


class GrpcChannel:
    """A connection to one server, made at the first call and again when it was lost.

    `target` is gRPC's: `unix:///run/containerd/containerd.sock`, `10.0.0.1:2379`. `credentials` is a `grpc.ChannelCredentials`;
    without it the channel is plain text. With `keepalive_s`, a connection in use that has been silent so long is tried with a ping.
    """

    def __init__(
        self,
        target: str,
        *,
        credentials: Any = None,
        max_message_bytes: int = _MAX_MESSAGE_BYTES,
        metadata: tuple[tuple[str, str], ...] = (),
        keepalive_s: float | None = None,
    ) -> None:
        import grpc
        import grpc.aio

        options: list[tuple[str, int | str]] = [
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", max_message_bytes),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 3000),
            ("grpc.enable_http_proxy", 0),
        ]
        if keepalive_s is not None:
            options += [
                ("grpc.keepalive_time_ms", int(keepalive_s * 1000)),
                ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
                ("grpc.http2.max_pings_without_data", 0),
            ]
        if target.startswith("unix:"):
            # Go's HTTP/2 server refuses the escaped socket path that grpcio sends as authority.
            options.append(("grpc.default_authority", "localhost"))
        self.target = target
        self._error = grpc.aio.AioRpcError
        self._metadata = metadata
        self._channel = (
            grpc.aio.insecure_channel(target, options=options)
            if credentials is None
            else grpc.aio.secure_channel(target, credentials, options=options)
        )
        self._unary: dict[str, Any] = {}
        self._streams: dict[str, Any] = {}
        self._duplexes: dict[str, Any] = {}

    async def call(
        self, path: str, request: Message | bytes, response: Callable[[bytes], Response], *, timeout_s: float
    ) -> Response:
        """One request, one response, decoded by `response` (`Message.FromString`). Raises RpcFailure."""
        method = self._unary.get(path)
        if method is None:
            method = self._unary[path] = self._channel.unary_unary(path)
        try:
            answer: bytes = await method(_encoded(request), timeout=timeout_s, metadata=self._metadata)
        except self._error as error:
            raise _failure(error) from None
        except asyncio.CancelledError:
            _check_cancelled()
            raise
        return response(answer)

    async def stream(
        self, path: str, request: Message | bytes, response: Callable[[bytes], Response]
    ) -> AsyncIterator[Response]:
        """One request, many responses, until the server ends them or the iterator is closed. Raises RpcFailure."""
        method = self._streams.get(path)
        if method is None:
            method = self._streams[path] = self._channel.unary_stream(path)
        call = method(_encoded(request), metadata=self._metadata)
        try:
            async for answer in call:
                yield response(answer)
        except self._error as error:
            raise _failure(error) from None
        finally:
            call.cancel()

    def duplex(self, path: str, response: Callable[[bytes], Response]) -> Duplex[Response]:
        """A call in which both sides send many messages. The caller closes it."""
        method = self._duplexes.get(path)
        if method is None:
            method = self._duplexes[path] = self._channel.stream_stream(path)
        return Duplex(method(metadata=self._metadata), response, self._error)

    async def close(self, *, grace_s: float | None = None) -> None:
        """Calls under way have `grace_s` to end."""
        await self._channel.close(grace_s)


class Duplex(Generic[Response]):
    """One call in both directions; see `GrpcChannel.duplex`."""

    def __init__(self, call: Any, response: Callable[[bytes], Response], error: type[BaseException]) -> None:
        self._call = call
        self._response = response
        self._error = error

    async def send(self, request: Message | bytes) -> None:
        """Raises RpcFailure."""
        try:
            await self._call.write(_encoded(request))
        except self._error as error:
            raise _failure(error) from None
        except asyncio.InvalidStateError:
            code, details = await self._call.code(), await self._call.details()
            raise RpcFailure(RpcCode(code.value[0]), details or "the call has ended") from None

    async def receive(self) -> Response | None:
        """The next message; None after the last. Raises RpcFailure."""
        try:
            answer = await self._call.read()
        except self._error as error:
            raise _failure(error) from None
        except asyncio.CancelledError:
            _check_cancelled()
            raise
        return self._response(answer) if isinstance(answer, bytes) else None

    def close(self) -> None:
        """End the call. Idempotent."""
        self._call.cancel()


def _encoded(request: Message | bytes) -> bytes:
    return request if isinstance(request, bytes) else request.SerializeToString()


def _check_cancelled() -> None:
    """grpcio ends the calls of a closed channel as if their callers had been cancelled. Raises RpcFailure if they were not."""
    task = asyncio.current_task()
    if task is None or not task.cancelling():
        raise RpcFailure(RpcCode.CANCELLED, "the channel was closed") from None


def _failure(error: Any) -> RpcFailure:
    return RpcFailure(RpcCode(error.code().value[0]), error.details() or "")
