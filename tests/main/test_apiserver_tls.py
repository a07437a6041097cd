"""Certificates that are exchanged while the server runs."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pilothouse.kit import certificate
from pilothouse.kit.clock import SystemClock, VirtualClock
from pilothouse.kit.http.limits import Limits
from pilothouse.kit.http.message import Request, Response
from pilothouse.kit.http.server import Server
from pilothouse.kit.http.tls import server_context
from pilothouse.kit.pki import Authority, Certificate, Pki
from pilothouse.main import apiserver_tls
from pilothouse.main.apiserver_tls import follow


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    pki = Pki(tmp_path_factory.mktemp("pki"), SystemClock())
    names = {"dns_names": ("localhost",), "ip_addresses": ("127.0.0.1",)}
    servers = [Certificate(name, name, usages=("server",), **names) for name in ("old", "new")]
    pki.ensure([Authority("ca", "ca"), Authority("other", "other"), *servers])
    return pki


class World:
    def __init__(self, path: Path, pki: Pki) -> None:
        self.pki = pki
        self.clock = VirtualClock()
        self.certificate, self.key, self.authorities = path / "crt", path / "key", path / "ca"
        self.put(self.certificate, pki.certificate_path("old"))
        self.put(self.key, pki.key_path("old"))
        self.put(self.authorities, pki.certificate_path("ca"))
        self.context = server_context(self.certificate, self.key, client_cas=[self.authorities])
        self.port = 0

    def put(self, file: Path, source: Path) -> None:
        shutil.copyfile(source, file)

    async def shown(self) -> str:
        """Which certificate a new connection is shown."""
        client = ssl.create_default_context(cafile=str(self.pki.certificate_path("ca")))
        _, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=client)
        tls = writer.get_extra_info("ssl_object")
        writer.close()
        return certificate.read(tls.getpeercert(binary_form=True)).common_name


async def nothing(request: Request) -> Response:
    return Response(200, {}, b"")


@pytest.fixture
async def world(tmp_path: Path, pki: Pki) -> AsyncIterator[World]:
    world = World(tmp_path, pki)
    clock, limits = SystemClock(), Limits(shutdown_s=0.2)
    server = Server(nothing, host="127.0.0.1", port=0, ssl_context=world.context, clock=clock, limits=limits)
    await server.start()
    world.port = server.port
    files = world.certificate, world.key, [world.authorities]
    following = asyncio.ensure_future(follow(world.context, *files, world.clock))
    try:
        await world.clock.advance(1)
        yield world
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await server.stop()


async def test_the_servers_own(world: World) -> None:
    assert await world.shown() == "old"
    world.put(world.certificate, world.pki.certificate_path("new"))
    await world.clock.advance(1)
    assert await world.shown() == "old", "the key is another certificate's"
    world.put(world.key, world.pki.key_path("new"))
    await world.clock.advance(1)
    assert await world.shown() == "new"
    world.certificate.write_text("rubbish")
    await world.clock.advance(1)
    world.certificate.unlink()
    await world.clock.advance(120)
    assert await world.shown() == "new"


async def test_authorities_of_clients(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[int] = []
    monkeypatch.setattr(apiserver_tls, "name_authorities", lambda context, files: named.append(len(files)))
    await world.clock.advance(120)
    assert not named
    world.put(world.authorities, world.pki.certificate_path("other"))
    await world.clock.advance(1)
    assert named == [1]
    assert {each["subject"] for each in world.context.get_ca_certs()} == {
        ((("commonName", name),),) for name in ("ca", "other")
    }
    world.authorities.write_text("rubbish")
    await world.clock.advance(120)
    assert named == [1]
