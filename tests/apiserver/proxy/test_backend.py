"""Requests that go on from a server whose application has not suspended yet, and so does not run in a task."""

from __future__ import annotations

import pytest

from pilothouse.api.status import StatusError
from pilothouse.apiserver.proxy.backend import Target, fetch, tunnel
from pilothouse.kit.http.message import Request, Response
from tests.kit.http.exchange import Exchange


@pytest.mark.parametrize("path", ["/fetched", "/tunnelled"])
async def test_a_request_goes_on_at_once(path: str) -> None:
    async with Exchange() as far:
        target = Target("127.0.0.1", far.server.port, path)

        async def near(request: Request) -> Response:
            if path == "/tunnelled":
                try:
                    return await tunnel(request.method, target, {"connection": "Upgrade", "upgrade": "raw"})
                except StatusError as error:
                    return Response(error.status_code, {}, str(error).encode())
            code, _, body = await fetch(request.method, target, {})
            return Response(code, {}, b"".join([chunk async for chunk in body]))

        async with Exchange(near) as exchange:
            answer = await exchange.send(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    if path == "/fetched":
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(f"GET {path}  0 ".encode())
    else:
        assert b"invalid upgrade response: status code 200" in answer
