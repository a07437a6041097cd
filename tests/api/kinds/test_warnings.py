"""Warnings of addresses, of files in each other's way, and of TLS pairs that are none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pilothouse.api.kinds import address_warnings, tls_pair, volume_warnings


@pytest.mark.parametrize(
    ("address", "warning"),
    [
        ("10.0.0.1", ""),
        ("010.0.0.1", 'non-standard IP address "010.0.0.1" is invalid: use "10.0.0.1"'),
        ("::ffff:1.2.3.4", 'non-standard IP address "::ffff:1.2.3.4" is invalid: use "1.2.3.4"'),
        ("fd00::1", ""),
        ("FD00:0::1", 'IPv6 address "FD00:0::1" should be in RFC 5952 canonical format ("fd00::1")'),
    ],
)
def test_addresses(address: str, warning: str) -> None:
    assert list(address_warnings.of_address(address, "ip")) == ([f"ip: {warning}"] if warning else [])


@pytest.mark.parametrize(
    ("subnet", "warning"),
    [
        ("10.0.0.0/8", ""),
        (
            "10.0.0.1/8",
            'CIDR value "10.0.0.1/8" is ambiguous in this context (should be "10.0.0.0/8" or "10.0.0.1/32"?)',
        ),
        ("10.0.0.0/08", 'non-standard CIDR value "10.0.0.0/08" is invalid: use "10.0.0.0/8"'),
        ("FD00::/8", 'IPv6 CIDR value "FD00::/8" should be in RFC 5952 canonical format ("fd00::/8")'),
    ],
)
def test_subnets(subnet: str, warning: str) -> None:
    assert list(address_warnings.of_subnet(subnet, "cidr")) == ([f"cidr: {warning}"] if warning else [])


def test_files_of_a_volume() -> None:
    items = [{"key": "a", "path": "x"}, {"key": "b", "path": "x/y"}, {"key": "c", "path": "z"}]
    sources = [{"secret": {"name": "s", "items": items[:1]}}, {"serviceAccountToken": {"path": "x/"}}, {}]
    volumes = [
        {"name": "v", "configMap": {"name": "m", "items": items}},
        {"name": "p", "projected": {"sources": sources}},
    ]
    assert list(volume_warnings.of_overlaps(volumes)) == [
        'volume "v" (ConfigMap "m"): overlapping paths: "x/y" with "x"',
        'volume "p" (Projected) has no sources provided',
        'volume "p" (Projected): overlapping paths: "x" (ServiceAccountToken) with "x" (Secret "s")',
    ]


def _pair() -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_tls_pairs() -> None:
    certificate, key = _pair()
    _, other = _pair()
    assert tls_pair.fault(certificate, key) == ""
    assert tls_pair.fault(certificate, other) == "tls: private key does not match public key"
    assert tls_pair.fault(b"", key) == "tls: failed to find any PEM data in certificate input"
    assert tls_pair.fault(key, key).startswith(
        "tls: failed to find certificate PEM data in certificate input, but did find"
    )
    assert tls_pair.fault(certificate, b"x") == "tls: failed to find any PEM data in key input"
    assert tls_pair.fault(certificate, certificate).startswith("tls: found a certificate rather than a key")
    broken = certificate.replace(b"MII", b"AAA", 1)
    assert tls_pair.fault(broken, key) in ("x509: malformed certificate", "tls: private key does not match public key")
