"""Reading of X.509 certificates without a cryptographic library.

Start-up and every new connection ask only who a certificate names and when it ends; a walk over its DER answers that in
microseconds. Nothing here checks a signature. Source: RFC 5280, X.690.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

_SEQUENCE = 0x30
_CONTEXT_3 = 0xA3
_COMMON_NAME = bytes.fromhex("550403")
_ORGANIZATION = bytes.fromhex("55040a")
_SUBJECT_KEY_ID = bytes.fromhex("551d0e")
_ALT_NAME = bytes.fromhex("551d11")
_BASIC_CONSTRAINTS = bytes.fromhex("551d13")
_AUTHORITY_KEY_ID = bytes.fromhex("551d23")
_EXTENDED_USAGE = bytes.fromhex("551d25")
_USAGES = {
    bytes.fromhex("551d2500"): "any",
    bytes.fromhex("2b06010505070301"): "server",
    bytes.fromhex("2b06010505070302"): "client",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What a certificate says. Times are seconds since the epoch; `serial` is its big-endian bytes in hexadecimal."""

    serial: str
    common_name: str
    organizations: tuple[str, ...]
    issuer: bytes
    """The issuer's name in DER, equal to the `subject` of the certificate that signed this one."""
    subject: bytes
    not_before: float
    not_after: float
    dns_names: frozenset[str]
    ip_addresses: frozenset[str]
    usages: frozenset[str] | None
    """`server`, `client`, `any`, or None if the certificate does not limit them."""
    is_authority: bool
    """It may sign others; one of version 1 cannot say so, and may."""
    public_key: bytes
    """The key's own encoding; for an elliptic curve, the uncompressed point."""
    subject_key_id: bytes
    authority_key_id: bytes


def pem_blocks(pem: bytes, label: str = "CERTIFICATE") -> list[bytes]:
    """The DER of every block with `label` in `pem`. Raises ValueError for a block that is cut off or is not base64."""
    begin, end = f"-----BEGIN {label}-----".encode(), f"-----END {label}-----".encode()
    blocks = []
    for part in pem.split(begin)[1:]:
        body, found, _ = part.partition(end)
        if not found:
            raise ValueError(f"a {label} block has no end")
        blocks.append(base64.b64decode(b"".join(body.split()), validate=True))
    return blocks


def read(der: bytes) -> Facts:
    """The facts of a certificate. Raises ValueError if it is not one."""
    try:
        return _read(der)
    except (IndexError, StopIteration, UnicodeDecodeError) as error:
        raise ValueError("not an X.509 certificate") from error


def _read(der: bytes) -> Facts:
    (_, certificate) = next(_items(der))
    (_, signed) = next(_items(certificate))
    parts = list(_items(signed))
    version = 1
    if parts[0][0] == 0xA0:
        version = 1 + next(_items(parts.pop(0)[1]))[1][0]
    serial, issuer, validity, subject = parts[0][1], parts[2][1], parts[3][1], parts[4][1]
    not_before, not_after = (_time(tag, value) for tag, value in _items(validity))
    names: list[tuple[bytes, str]] = []
    for _, relative in _items(subject):
        for _, pair in _items(relative):
            (_, oid), (_, value) = _items(pair)
            names.append((oid, value.decode()))
    extensions = _extensions(parts)
    dns_names, ip_addresses = _alt_names(extensions.get(_ALT_NAME, b""))
    usages = None
    if (extended := extensions.get(_EXTENDED_USAGE)) is not None:
        usages = frozenset(_USAGES.get(oid, oid.hex()) for _, oid in _items(next(_items(extended))[1]))
    constraints = extensions.get(_BASIC_CONSTRAINTS, b"")
    return Facts(
        serial=serial.hex(),
        common_name=next((value for oid, value in names if oid == _COMMON_NAME), ""),
        organizations=tuple(value for oid, value in names if oid == _ORGANIZATION),
        issuer=issuer,
        subject=subject,
        not_before=not_before,
        not_after=not_after,
        dns_names=dns_names,
        ip_addresses=ip_addresses,
        usages=usages,
        is_authority=_is_authority(version, constraints),
        public_key=list(_items(parts[5][1]))[1][1][1:],
        subject_key_id=next(_items(extensions[_SUBJECT_KEY_ID]))[1] if _SUBJECT_KEY_ID in extensions else b"",
        authority_key_id=_authority_key_id(extensions.get(_AUTHORITY_KEY_ID, b"")),
    )


def _is_authority(version: int, constraints: bytes) -> bool:
    if not constraints:
        return version < 3
    return any(tag == 1 and value != b"\0" for tag, value in _items(next(_items(constraints))[1]))


def _items(der: bytes) -> Iterator[tuple[int, bytes]]:
    """The tags and contents of the elements that follow one another in `der`."""
    position = 0
    while position < len(der):
        tag, length = der[position], der[position + 1]
        position += 2
        if length & 0x80:
            width = length & 0x7F
            length = int.from_bytes(der[position : position + width])
            position += width
        if position + length > len(der):
            raise ValueError("not an X.509 certificate: an element is cut off")
        yield tag, der[position : position + length]
        position += length


def _time(tag: int, value: bytes) -> float:
    text = value.decode("ascii")
    if tag == 0x17:
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _extensions(parts: list[tuple[int, bytes]]) -> dict[bytes, bytes]:
    found = {}
    for tag, value in parts[6:]:
        if tag != _CONTEXT_3:
            continue
        for _, extension in _items(next(_items(value))[1]):
            fields = list(_items(extension))
            found[fields[0][1]] = fields[-1][1]
    return found


def _alt_names(extension: bytes) -> tuple[frozenset[str], frozenset[str]]:
    dns_names, ip_addresses = set(), set()
    if extension:
        for tag, value in _items(next(_items(extension))[1]):
            if tag == 0x82:
                dns_names.add(value.decode("ascii"))
            elif tag == 0x87:
                ip_addresses.add(str(ipaddress.ip_address(value)))
    return frozenset(dns_names), frozenset(ip_addresses)


def _authority_key_id(extension: bytes) -> bytes:
    if not extension:
        return b""
    return next((value for tag, value in _items(next(_items(extension))[1]) if tag == 0x80), b"")
