"""Certificates of clients that others than the authorities themselves have signed, and sent along."""

import asyncio
import ssl
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pilothouse.api.status import Unauthorized
from pilothouse.apiserver.authn.x509 import ClientCertificates
from pilothouse.kit.clock import SystemClock, VirtualClock
from pilothouse.kit.http.limits import Limits
from pilothouse.kit.http.message import Response
from pilothouse.kit.http.server import Server
from pilothouse.kit.http.tls import server_context

CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH


class Maker:
    """Makes certificates, valid around the clock's time."""

    def __init__(self, now):
        self._now = now

    def __call__(self, name, signer=None, *, is_authority=True, usage=None, length=None, names=None, days=10):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer, signing = (subject, key) if signer is None else (signer[0].subject, signer[1])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - timedelta(days=1))
            .not_valid_after(self._now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(is_authority, length if is_authority else None), critical=True)
        )
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if names is not None:
            permitted = [x509.DNSName(names)]
            builder = builder.add_extension(x509.NameConstraints(permitted, None), critical=True)
        return builder.sign(signing, hashes.SHA256()), key


def der(made):
    return made[0].public_bytes(serialization.Encoding.DER)


def pem(*made):
    return b"".join(each[0].public_bytes(serialization.Encoding.PEM) for each in made)


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def make(clock):
    from datetime import UTC, datetime

    return Maker(datetime.fromtimestamp(clock.now(), UTC))


def leaf_of(make, signer):
    return make("alice", signer, is_authority=False, usage=CLIENT)


def judge(clock, root):
    return ClientCertificates(lambda: pem(root), clock)


def test_certificates_in_between_are_used_if_they_are_sent(make, clock):
    root = make("root")
    first = make("first", root)
    second = make("second", first)
    leaf = leaf_of(make, second)
    certificates = judge(clock, root)
    with pytest.raises(Unauthorized, match="unknown authority"):
        certificates.identify(der(leaf))
    with pytest.raises(Unauthorized, match="unknown authority"):
        certificates.identify(der(leaf), (der(second),))
    for chain in ((second, first), (first, second), (first, leaf, second)):
        user = certificates.identify(der(leaf), tuple(map(der, chain)))
        assert user is not None
        assert user.name == "alice"
    with pytest.raises(Unauthorized, match="unknown authority"):
        certificates.identify(der(leaf))


@pytest.mark.parametrize(
    "limits",
    [{"is_authority": False}, {"usage": SERVER}, {"names": "example.com"}],
    ids=["no authority", "for servers", "for some names"],
)
def test_what_may_not_sign_does_not_count(make, clock, limits):
    root = make("root")
    between = make("between", root, **limits)
    leaf = leaf_of(make, between)
    with pytest.raises(Unauthorized, match="unknown authority"):
        judge(clock, root).identify(der(leaf), (der(between),))


def test_the_length_of_the_way_is_limited(make, clock):
    root = make("root", length=0)
    between = make("between", root)
    leaf = leaf_of(make, between)
    with pytest.raises(Unauthorized, match="unknown authority"):
        judge(clock, root).identify(der(leaf), (der(between),))


def test_others_of_the_same_name_have_not_signed(make, clock):
    root, stranger = make("root"), make("root")
    between = make("between", stranger)
    leaf = leaf_of(make, between)
    with pytest.raises(Unauthorized, match="unknown authority"):
        judge(clock, root).identify(der(leaf), (der(between), der(stranger)))


async def test_it_lasts_as_long_as_all_of_them(make, clock):
    root = make("root")
    between = make("between", root, days=2)
    leaf = leaf_of(make, between)
    certificates = judge(clock, root)
    assert certificates.identify(der(leaf), (der(between),)) is not None
    await clock.advance(3 * 86400)
    with pytest.raises(Unauthorized, match="expired"):
        certificates.identify(der(leaf), (der(between),))


async def test_a_server_tells_what_was_sent(tmp_path):
    from datetime import UTC, datetime

    make = Maker(datetime.now(UTC))
    root = make("root")
    between = make("between", root)
    leaf = leaf_of(make, between)
    server_own = make("server", root, is_authority=False, usage=SERVER)
    for name, made in (("leaf", leaf), ("server", server_own)):
        key = made[1].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (tmp_path / f"{name}.key").write_bytes(key)
    (tmp_path / "root.crt").write_bytes(pem(root))
    (tmp_path / "server.crt").write_bytes(pem(server_own))
    (tmp_path / "leaf.crt").write_bytes(pem(leaf, between))
    certificates = ClientCertificates((tmp_path / "root.crt").read_bytes, SystemClock())

    async def who(request):
        user = await certificates.authenticate(request)
        return Response(200, {}, (user.name if user else "").encode())

    context = server_context(tmp_path / "server.crt", tmp_path / "server.key", client_cas=[tmp_path / "root.crt"])
    limits = Limits(shutdown_s=0.2)
    server = Server(who, host="127.0.0.1", port=0, ssl_context=context, clock=SystemClock(), limits=limits)
    await server.start()
    try:
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
        client.load_cert_chain(tmp_path / "leaf.crt", tmp_path / "leaf.key")
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=client)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
    finally:
        await server.stop()
    assert answer.partition(b"\r\n\r\n")[2] == b"alice"
