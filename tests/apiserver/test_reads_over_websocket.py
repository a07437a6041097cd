"""Watches and logs over WebSocket."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import orjson
import pytest

from pilothouse.api.status import BadRequest, Forbidden
from pilothouse.api.user import User
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.route import parse_query, request_info
from pilothouse.apiserver.websocket import bytes_over_websocket
from pilothouse.kit.http.message import LOCAL_PEER, Request, Response
from tests.apiserver.harness import Harness, config_map

UPGRADE = {
    "connection": "keep-alive, Upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}
CLOSE = b"\x88\x82\x00\x00\x00\x00\x03\xe8"
PATH = "/api/v1/namespaces/default/configmaps"


class Sink:
    def __init__(self) -> None:
        self.frames: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()

    def write(self, data: bytes) -> None:
        size, at = data[1], 2
        if size == 126:
            size, at = int.from_bytes(data[2:4]), 4
        self.frames.put_nowait((data[0] & 15, data[at : at + size]))

    async def drain(self) -> None:
        await asyncio.sleep(0)


class Connection:
    """A client whose connection has left HTTP."""

    def __init__(self, answer: Response) -> None:
        assert answer.status == 101, answer.body
        assert answer.takeover is not None
        self.reader = asyncio.StreamReader()
        self.sink: Any = Sink()
        self._task = asyncio.ensure_future(answer.takeover(self.reader, self.sink))

    async def frame(self) -> tuple[int, bytes]:
        return await asyncio.wait_for(self.sink.frames.get(), 5)

    async def ended(self) -> None:
        await asyncio.wait_for(self._task, 5)


def call(body: Any, **headers: str) -> tuple[Call, Response]:
    named = {**UPGRADE, **{name.replace("_", "-"): value for name, value in headers.items()}}
    path = "/api/v1/namespaces/default/pods/p/log"
    request = Request("GET", path, "", named, b"", LOCAL_PEER, path)
    return Call(request, request_info("GET", path, {}), parse_query(""), User("u")), Response(200, {}, body)


async def test_a_watch_sends_one_event_a_text_message() -> None:
    harness = Harness()
    for name in ("a", "b"):
        await harness.request("POST", PATH, body=config_map(name))
    connection = Connection(await harness.request("GET", PATH, query="watch=1", headers=UPGRADE))
    for name in ("a", "b"):
        opcode, payload = await connection.frame()
        event = orjson.loads(payload)
        assert opcode == 1
        assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", name)
    await harness.request("DELETE", f"{PATH}/a")
    assert orjson.loads((await connection.frame())[1])["type"] == "DELETED"
    connection.reader.feed_data(CLOSE)
    assert (await connection.frame())[0] == 8
    await connection.ended()


async def test_a_watch_in_protobuf_is_binary_and_unframed() -> None:
    harness = Harness()
    await harness.request("POST", PATH, body=config_map("a"))
    headers = {**UPGRADE, "accept": "application/vnd.kubernetes.protobuf;stream=watch"}
    connection = Connection(await harness.request("GET", PATH, query="watch=1", headers=headers))
    opcode, payload = await connection.frame()
    assert opcode == 2
    assert b"ADDED" in payload[:16]
    connection.reader.feed_eof()
    await connection.ended()


async def test_a_watch_that_times_out_closes() -> None:
    harness = Harness()
    connection = Connection(
        await harness.request("GET", PATH, query="watch=1&timeoutSeconds=5&resourceVersion=1", headers=UPGRADE)
    )
    await asyncio.sleep(0)
    await harness.clock.advance(6)
    assert await connection.frame() == (8, (1000).to_bytes(2))
    await connection.ended()


async def test_a_revision_that_is_gone_is_told_in_a_message() -> None:
    harness = Harness()
    answer = await harness.request(
        "GET", PATH, query="watch=1&resourceVersion=1", headers={**UPGRADE, "sec-websocket-version": "8"}
    )
    assert answer.status == 400


async def test_logs_are_binary_after_an_empty_message() -> None:
    for headers in ({}, {"sec_websocket_protocol": "binary.k8s.io"}):
        asked, answer = call(b"hello", **headers)
        opened = await bytes_over_websocket(asked, answer)
        assert opened.headers.get("sec-websocket-protocol") == headers.get("sec_websocket_protocol")
        connection = Connection(opened)
        assert [await connection.frame() for _ in range(3)] == [(2, b""), (2, b"hello"), (8, (1000).to_bytes(2))]
        await connection.ended()


async def test_logs_in_base64_are_text() -> None:
    token = "base64url.bearer.authorization.k8s.io.eA"
    asked, answer = call(b"hello", sec_websocket_protocol=f"{token}, base64.binary.k8s.io")
    connection = Connection(await bytes_over_websocket(asked, answer))
    assert [await connection.frame() for _ in range(2)] == [(1, b""), (1, base64.b64encode(b"hello"))]
    await connection.frame()
    await connection.ended()


async def test_a_client_that_goes_lets_go_of_the_source() -> None:
    closed = asyncio.Event()

    async def endless() -> Any:
        try:
            yield b"x"
            await asyncio.Event().wait()
        finally:
            closed.set()

    connection = Connection(await bytes_over_websocket(*call(endless())))
    await connection.frame()
    await connection.frame()
    connection.reader.feed_eof()
    await connection.ended()
    assert closed.is_set()


async def test_refusals() -> None:
    with pytest.raises(Forbidden, match="not supported"):
        await bytes_over_websocket(*call(b"", sec_websocket_protocol="v4.channel.k8s.io"))
    with pytest.raises(BadRequest, match="Sec-WebSocket-Key"):
        await bytes_over_websocket(*call(b"", sec_websocket_key=""))
    asked, answer = call(b"", upgrade="spdy/3.1")
    assert await bytes_over_websocket(asked, answer) is answer
