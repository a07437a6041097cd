"""TLS: clients are asked for certificates, and the application sees whatever they show."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from pilothouse.kit import certificate
from pilothouse.kit.clock import SystemClock
from pilothouse.kit.http.limits import Limits
from pilothouse.kit.http.message import Request, Response
from pilothouse.kit.http.server import Server
from pilothouse.kit.http.tls import leave_verification_to_application, server_context
from pilothouse.kit.pki import Authority, Certificate, Pki, SigningKey


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    pki = Pki(tmp_path_factory.mktemp("pki"), SystemClock())
    pki.ensure(
        [
            Authority("ca", "ca"),
            Authority("other", "other"),
            SigningKey("sa"),
            Certificate("server", "server", usages=("server",), dns_names=("localhost",), ip_addresses=("127.0.0.1",)),
            Certificate("friend", "friend"),
            Certificate("stranger", "stranger", authority="other"),
        ]
    )
    return pki


async def shown(request: Request) -> Response:
    return Response(200, {}, b"nothing" if request.peer.certificate is None else b"a certificate")


async def ask(pki: Pki, name: str) -> bytes:
    context = server_context(
        pki.certificate_path("server"), pki.key_path("server"), client_cas=[pki.certificate_path("ca")]
    )
    server = Server(
        shown, host="127.0.0.1", port=0, ssl_context=context, clock=SystemClock(), limits=Limits(shutdown_s=0.2)
    )
    await server.start()
    try:
        client = ssl.create_default_context(cafile=str(pki.certificate_path("ca")))
        if name:
            client.load_cert_chain(pki.certificate_path(name), pki.key_path(name))
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=client)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        return answer.partition(b"\r\n\r\n")[2]
    finally:
        await server.stop()


def can_leave_it(pki: Pki) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    return leave_verification_to_application(context)


@pytest.mark.parametrize(("name", "answer"), [("", b"nothing"), ("friend", b"a certificate")])
async def test_a_certificate_is_asked_for_and_not_needed(pki: Pki, name: str, answer: bytes) -> None:
    assert await ask(pki, name) == answer


async def test_a_bad_certificate_is_for_the_application_to_refuse(pki: Pki) -> None:
    if not can_leave_it(pki):
        pytest.skip("this interpreter has OpenSSL linked in; it refuses bad certificates during the handshake")
    assert await ask(pki, "stranger") == b"a certificate"


def test_clients_are_told_whose_certificates_are_wanted(pki: Pki) -> None:
    """Until TLS 1.3 that goes over the wire in plain sight."""
    if not can_leave_it(pki):
        pytest.skip("this interpreter has OpenSSL linked in; it names no authorities")
    (other,) = certificate.pem_blocks(pki.certificate_path("other").read_bytes())
    assert certificate.read(other).subject in answer_in_plain_sight(pki, ["ca", "other"])
    assert certificate.read(other).subject not in answer_in_plain_sight(pki, ["ca"])


def answer_in_plain_sight(pki: Pki, authorities: list[str]) -> bytes:
    """What a server sends to a client that begins a handshake by TLS 1.2."""
    context = server_context(
        pki.certificate_path("server"),
        pki.key_path("server"),
        client_cas=[pki.certificate_path(name) for name in authorities],
    )
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    trusting = ssl.create_default_context(cafile=str(pki.certificate_path("ca")))
    client = trusting.wrap_bio(to_client, to_server, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(to_server, to_client, server_side=True).do_handshake()
    return to_client.read()


async def test_large_bodies_arrive_whole(pki: Pki) -> None:
    body = bytes(range(256)) * 8192

    async def large(request: Request) -> Response:
        return Response(200, {}, body)

    context = server_context(pki.certificate_path("server"), pki.key_path("server"))
    server = Server(
        large, host="127.0.0.1", port=0, ssl_context=context, clock=SystemClock(), limits=Limits(shutdown_s=0.2)
    )
    await server.start()
    try:
        client = ssl.create_default_context(cafile=str(pki.certificate_path("ca")))
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=client)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")[2] == body
        writer.close()
    finally:
        await server.stop()


def test_files_that_are_missing_are_told(pki: Pki) -> None:
    with pytest.raises(OSError):
        server_context(Path("/nowhere"), pki.key_path("server"))
