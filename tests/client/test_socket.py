"""The socket transport against the real HTTP edge over TLS: failures first, then who the server sees."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pilothouse.api import status
from pilothouse.client.socket import Endpoint, SocketTransport
from pilothouse.kit.clock import SystemClock
from pilothouse.kit.http.message import App, Request, Response
from pilothouse.kit.http.server import Server
from pilothouse.kit.http.tls import server_context
from pilothouse.kit.pki import Authority, Certificate, Pki


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    pki = Pki(tmp_path_factory.mktemp("pki"), SystemClock())
    server = Certificate("server", "server", usages=("server",), dns_names=("api.test",), ip_addresses=("127.0.0.1",))
    pki.ensure([Authority("ca", "ca"), Authority("other", "other"), server, Certificate("jane", "jane")])
    return pki


async def echo(request: Request) -> Response:
    """What the server saw, as text."""
    has_certificate = "with" if request.peer.certificate else "without"
    who = request.headers.get("authorization", "nobody")
    return Response(200, {}, f"{request.method} {request.path}?{request.query} {who} {has_certificate}".encode())


@asynccontextmanager
async def serving(pki: Pki, app: App = echo) -> AsyncIterator[str]:
    context = server_context(
        pki.certificate_path("server"), pki.key_path("server"), client_cas=[pki.certificate_path("ca")]
    )
    server = Server(app, host="127.0.0.1", port=0, ssl_context=context, clock=SystemClock())
    await server.start()
    try:
        yield f"https://127.0.0.1:{server.port}"
    finally:
        await server.stop()


@asynccontextmanager
async def transport(endpoint: Endpoint, **options: float) -> AsyncIterator[SocketTransport]:
    found = SocketTransport(endpoint, **options)
    try:
        yield found
    finally:
        await found.close()


async def ask(found: SocketTransport, path: str = "/x", **query: str) -> str:
    return (await found.request("GET", path, query=query, headers={})).body.decode()


async def test_a_server_that_is_not_there() -> None:
    async with transport(Endpoint("http://127.0.0.1:9")) as found:
        with pytest.raises(status.ServiceUnavailable, match=r"cannot reach the API server at http://127\.0\.0\.1:9"):
            await ask(found)
        with pytest.raises(status.ServiceUnavailable):
            async with found.stream("GET", "/x", query={}, headers={}):
                pass


async def test_a_server_that_others_vouch_for(pki: Pki) -> None:
    async with serving(pki) as url, transport(Endpoint(url, ca=pki.certificate_path("other"))) as found:
        with pytest.raises(status.ServiceUnavailable):
            await ask(found)


async def test_a_server_that_says_nothing(pki: Pki) -> None:
    async def silent(request: Request) -> Response:
        await asyncio.sleep(3600)
        raise AssertionError

    async with (
        serving(pki, silent) as url,
        transport(Endpoint(url, ca=pki.certificate_path("ca")), timeout_s=0.2) as found,
    ):
        with pytest.raises(status.Timeout):
            await ask(found)


async def test_credentials_that_cannot_be_used(pki: Pki, tmp_path: Path) -> None:
    async with transport(Endpoint("https://127.0.0.1:9", ca=b"no certificate")) as found:
        with pytest.raises(status.Unauthorized, match="cannot be used"):
            await ask(found)
    async with transport(Endpoint("http://127.0.0.1:9", token_file=tmp_path / "absent")) as found:
        with pytest.raises(status.Unauthorized, match="cannot read the token file"):
            await ask(found)


async def test_certificates_given_inline_and_names_to_expect(pki: Pki) -> None:
    jane = {"certificate": pki.certificate_path("jane").read_bytes(), "key": pki.key_path("jane").read_bytes()}
    authority = pki.certificate_path("ca").read_bytes()
    async with serving(pki) as url:
        async with transport(Endpoint(url, ca=authority, server_name="api.test", **jane)) as found:
            assert await ask(found, "/a b", limit="5") == "GET /a b?limit=5 nobody with"
        async with transport(Endpoint(url, ca=authority, server_name="other.test")) as found:
            with pytest.raises(status.ServiceUnavailable):
                await ask(found)


async def test_a_token_file_is_read_again_when_it_changes(pki: Pki, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("one\n")
    async with (
        serving(pki) as url,
        transport(Endpoint(url, ca=pki.certificate_path("ca"), token="ignored", token_file=token)) as found,
    ):
        assert await ask(found) == "GET /x? Bearer one without"
        token.write_text("two\n")
        os.utime(token, ns=(1, 1))
        assert await ask(found) == "GET /x? Bearer two without"
        token.unlink()
        assert await ask(found) == "GET /x? Bearer two without", "the last one is used while the file is replaced"


async def test_leaving_a_stream_tells_the_server(pki: Pki) -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"line\n"
                await asyncio.sleep(0.01)
        finally:
            closed.set()

    async def app(request: Request) -> Response:
        return Response(200, {}, endless())

    async with serving(pki, app) as url, transport(Endpoint(url, ca=pki.certificate_path("ca"))) as found:
        async with found.stream("GET", "/x", query={}, headers={}) as reply:
            async for chunk in reply.chunks:
                assert chunk.startswith(b"line\n")
                break
        await asyncio.wait_for(closed.wait(), 5)
