import ssl
import stat
import subprocess
import sys

import pytest

from pilothouse.kit import certificate
from pilothouse.kit.clock import SystemClock, VirtualClock
from pilothouse.kit.pki import (
    AUTHORITY_LIFETIME_S,
    CERTIFICATE_LIFETIME_S,
    Authority,
    Certificate,
    Pki,
    PkiError,
    SigningKey,
)

SERVER = Certificate(
    "server", "srv", organizations=("o1", "o2"), usages=("server",), dns_names=("localhost",), ip_addresses=("127.0.0.1", "::1")
)  # fmt: skip
ITEMS = (Authority("ca", "test-ca"), SigningKey("sa"), SERVER, Certificate("client", "cl"))

VERSION_1 = b"""
-----BEGIN CERTIFICATE-----
MIIBGTCBvwIUN65ONMc9YB3N7M2aI2zKEXlmYFowCgYIKoZIzj0EAwIwDjEMMAoG
A1UEAwwDb2xkMCAXDTI2MTEyNzA4MDE1NloYDzIxMjYxMTAzMDgwMTU2WjAOMQww
CgYDVQQDDANvbGQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAS7ttNcTIqKoRC3
azILKG6E7Vm2c70Tq2PeEJr2Lc70wg6TZYqDi4iUYricXKzDR7zq+wuyR2XchgHI
ucgsSe5zMAoGCCqGSM49BAMCA0kAMEYCIQDoJyRjnN++gUs5NhTUlWDmgYV8qxPB
cXdXaggoYDOsFQIhAOZDRaICsnKGUmkRVdcQWQlreR2EPx1ZBe0u0YNEwG2O
-----END CERTIFICATE-----
"""


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def pki(tmp_path, clock):
    return Pki(tmp_path / "pki", clock)


def facts(pki, name):
    return certificate.read(certificate.pem_blocks(pki.certificate_path(name).read_bytes())[0])


def test_everything_is_made_once(pki):
    assert pki.ensure(ITEMS) == ["ca", "sa", "server", "client"]
    before = {path: path.read_bytes() for path in pki.directory.iterdir()}
    assert pki.ensure(ITEMS) == []
    assert {path: path.read_bytes() for path in pki.directory.iterdir()} == before


def test_modes(pki):
    pki.ensure(ITEMS)
    modes = {path.suffix: stat.S_IMODE(path.stat().st_mode) for path in pki.directory.iterdir() if path.suffix}
    assert modes == {".crt": 0o644, ".key": 0o600, ".pub": 0o644}


def test_facts_agree_with_what_was_asked(pki, clock):
    pki.ensure(ITEMS)
    server, ca = facts(pki, "server"), facts(pki, "ca")
    assert (server.common_name, server.organizations, server.usages) == ("srv", ("o1", "o2"), {"server"})
    assert server.dns_names == {"localhost"}
    assert server.ip_addresses == {"127.0.0.1", "::1"}
    assert server.not_after == clock.now() + CERTIFICATE_LIFETIME_S
    assert (ca.is_authority, server.is_authority) == (True, False)
    assert (server.issuer, server.authority_key_id) == (ca.subject, ca.subject_key_id)
    assert facts(pki, "client").usages == {"client"}


def test_an_old_authority_without_extensions_is_one():
    """Version 1 has no way to say it. Go's x509 believes its signatures, too."""
    (old,) = certificate.pem_blocks(VERSION_1)
    assert certificate.read(old).is_authority


def test_a_good_directory_needs_no_cryptography(tmp_path):
    program = (
        "import sys; from pathlib import Path; from pilothouse.kit.clock import VirtualClock\n"
        "from pilothouse.kit.pki import *\n"
        f"made = Pki(Path({str(tmp_path)!r}), VirtualClock()).ensure([Authority('ca', 'x'), Certificate('c', 'y')])\n"
        "print(len(made), 'cryptography' in sys.modules)"
    )
    runs = [subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True) for _ in "ab"]
    assert [run.stdout.split() for run in runs] == [["2", "True"], ["0", "False"]]


async def test_a_certificate_is_renewed_before_it_expires(pki, clock):
    pki.ensure(ITEMS)
    old = facts(pki, "client").serial
    due = pki.next_renewal(ITEMS)
    assert clock.now() < due < facts(pki, "client").not_after
    await clock.advance(due - clock.now() + 1)
    assert pki.ensure(ITEMS) == ["server", "client"]
    assert facts(pki, "client").serial != old


async def test_a_renewed_authority_keeps_its_key(pki, clock):
    pki.ensure(ITEMS)
    key = pki.key_path("ca").read_bytes()
    long_lived = Certificate("long", "l", lifetime_s=AUTHORITY_LIFETIME_S * 2)
    pki.ensure([ITEMS[0], long_lived])
    await clock.advance(AUTHORITY_LIFETIME_S * 0.9)
    assert pki.ensure([ITEMS[0], long_lived]) == ["ca"]
    assert pki.key_path("ca").read_bytes() == key


def test_a_new_address_makes_a_new_certificate(pki):
    pki.ensure(ITEMS)
    wider = Certificate("client", "cl", ip_addresses=("10.0.0.1",))
    assert pki.ensure([ITEMS[0], wider]) == ["client"]
    assert pki.ensure([ITEMS[0], ITEMS[3]]) == []


def test_another_authority_makes_new_certificates(pki):
    pki.ensure(ITEMS)
    pki.certificate_path("ca").unlink()
    pki.key_path("ca").unlink()
    assert pki.ensure(ITEMS) == ["ca", "server", "client"]


def test_an_authority_without_key_is_an_error_and_stays(pki):
    pki.ensure(ITEMS)
    pki.key_path("ca").unlink()
    with pytest.raises(PkiError, match=r"without .*ca\.key: put the key back"):
        pki.ensure(ITEMS)


def test_a_key_that_does_not_fit_is_replaced_with_its_certificate(pki):
    pki.ensure(ITEMS)
    pki.key_path("client").write_bytes(pki.key_path("server").read_bytes())
    assert pki.ensure(ITEMS) == ["client"]


def test_a_broken_file_is_named(pki):
    pki.ensure(ITEMS)
    pki.certificate_path("server").write_bytes(b"-----BEGIN CERTIFICATE-----\nMIIB")
    with pytest.raises(PkiError, match=r"server\.crt is not a certificate"):
        pki.ensure(ITEMS)


@pytest.mark.parametrize("der", [b"", b"\x30", b"\x30\x82\xff\xff\x00", b"\x30\x03\x02\x01\x01", b"hello world"])
def test_rubbish_is_not_a_certificate(der):
    with pytest.raises(ValueError):
        certificate.read(der)


def test_openssl_accepts_the_pair(tmp_path):
    pki = Pki(tmp_path, SystemClock())
    pki.ensure(ITEMS)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pki.certificate_path("server"), pki.key_path("server"))
    client = ssl.create_default_context(cafile=pki.certificate_path("ca"))
    assert client.cert_store_stats()["x509_ca"] == 1
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    a = client.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    b = server.wrap_bio(outgoing, incoming, server_side=True)
    for _ in range(4):
        for side in (a, b):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert a.getpeercert()["subject"][-1] == (("commonName", "srv"),)
