"""The gRPC edge against a server in the same process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from pilothouse.kit.grpc import GrpcChannel, RpcCode, RpcFailure


class Handler(grpc.GenericRpcHandler):
    """Echoes, fails or streams, by the method's name."""

    def service(self, call: Any) -> Any:
        if call.method == "/t/Echo":
            return grpc.unary_unary_rpc_method_handler(self._echo)
        if call.method == "/t/Fail":
            return grpc.unary_unary_rpc_method_handler(self._fail)
        if call.method == "/t/Hang":
            return grpc.unary_unary_rpc_method_handler(self._hang)
        if call.method == "/t/Count":
            return grpc.unary_stream_rpc_method_handler(self._count)
        if call.method == "/t/Mirror":
            return grpc.stream_stream_rpc_method_handler(self._mirror)
        return None

    @staticmethod
    async def _echo(request: bytes, context: Any) -> bytes:
        return request

    @staticmethod
    async def _fail(request: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
        return b""

    @staticmethod
    async def _hang(request: bytes, context: Any) -> bytes:
        await asyncio.get_running_loop().create_future()
        return b""

    @staticmethod
    async def _count(request: bytes, context: Any) -> AsyncIterator[bytes]:
        for number in range(3):
            yield bytes([number])

    @staticmethod
    async def _mirror(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            if request == b"fail":
                await context.abort(grpc.StatusCode.ABORTED, "as asked")
            yield request


@pytest.fixture
async def channel(tmp_path: Path) -> AsyncIterator[GrpcChannel]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Handler(),))
    target = f"unix://{tmp_path}/socket"
    server.add_insecure_port(target)
    await server.start()
    made = GrpcChannel(target)
    yield made
    await made.close()
    await server.stop(None)


async def test_calls_and_streams(channel: GrpcChannel) -> None:
    assert await channel.call("/t/Echo", b"hello", bytes.decode, timeout_s=5) == "hello"
    assert [answer async for answer in channel.stream("/t/Count", b"", lambda data: data[0])] == [0, 1, 2]


async def test_calls_in_both_directions(channel: GrpcChannel) -> None:
    duplex = channel.duplex("/t/Mirror", bytes.decode)
    for text in (b"one", b"two"):
        await duplex.send(text)
        assert await duplex.receive() == text.decode()
    await duplex.send(b"fail")
    with pytest.raises(RpcFailure, match="as asked"):
        await duplex.receive()
    with pytest.raises(RpcFailure):
        await duplex.send(b"too late")
    duplex.close()
    duplex.close()


async def test_failures_carry_code_and_text(channel: GrpcChannel) -> None:
    with pytest.raises(RpcFailure, match="no such thing") as failure:
        await channel.call("/t/Fail", b"", bytes, timeout_s=5)
    assert failure.value.code is RpcCode.NOT_FOUND
    with pytest.raises(RpcFailure) as unknown:
        await channel.call("/t/Unknown", b"", bytes, timeout_s=5)
    assert unknown.value.code is RpcCode.UNIMPLEMENTED
    with pytest.raises(RpcFailure):
        async for _ in channel.stream("/t/Unknown", b"", bytes):
            pass


async def test_calls_of_a_closed_channel_fail_and_cancelled_ones_are_cancelled(channel: GrpcChannel) -> None:
    cancelled, closed = (asyncio.ensure_future(channel.call("/t/Hang", b"", bytes, timeout_s=5)) for _ in range(2))
    stream = channel.duplex("/t/Mirror", bytes.decode)
    reading = asyncio.ensure_future(stream.receive())
    await channel.call("/t/Echo", b"", bytes, timeout_s=5)
    cancelled.cancel()
    await asyncio.wait((cancelled,))
    assert cancelled.cancelled()
    await channel.close()
    for failed in (closed, reading):
        with pytest.raises(RpcFailure):
            await failed


async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    channel = GrpcChannel(f"unix://{tmp_path}/absent")
    with pytest.raises(RpcFailure) as failure:
        await channel.call("/t/Echo", b"", bytes, timeout_s=5)
    assert failure.value.code is RpcCode.UNAVAILABLE
    await channel.close()
