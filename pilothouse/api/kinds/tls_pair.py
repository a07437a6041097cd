"""Whether a certificate and a key belong together: what a Secret for TLS is warned of. Source: Go `crypto/tls.X509KeyPair`."""

from __future__ import annotations

import base64
import re
from typing import Any

_blocks = re.compile(
    rb"^-----BEGIN ([^\n-]+)-----\r?\n(.*?)\r?\n?^-----END \1-----[ \t]*\r?$", re.MULTILINE | re.DOTALL
).finditer
_CERTIFICATE, _KEY = "CERTIFICATE", "PRIVATE KEY"


def fault(certificate: bytes, key: bytes) -> str:
    """What is wrong with the pair, both as PEM; empty if nothing is."""
    skipped: list[str] = []
    found = None
    for kind, _ in _pem(certificate):
        if kind == _CERTIFICATE:
            found = kind
            break
        skipped.append(kind)
    if found is None:
        return _no_certificate(skipped)
    skipped = []
    for kind, _ in _pem(key):
        if kind == _KEY or kind.endswith(f" {_KEY}"):
            return _mismatch(certificate, key)
        skipped.append(kind)
    return _no_key(skipped)


def _pem(text: bytes) -> list[tuple[str, bytes]]:
    found = []
    for match in _blocks(text):
        try:
            found.append((match[1].decode(), base64.b64decode(b"".join(match[2].split()), validate=True)))
        except ValueError:
            continue
    return found


def _no_certificate(skipped: list[str]) -> str:
    if not skipped:
        return "tls: failed to find any PEM data in certificate input"
    if len(skipped) == 1 and skipped[0].endswith(_KEY):
        return (
            "tls: failed to find certificate PEM data in certificate input, but did find a private key; "
            "PEM inputs may have been switched"
        )
    after = "after skipping PEM blocks of the following types"
    return f'tls: failed to find "CERTIFICATE" PEM block in certificate input {after}: [{" ".join(skipped)}]'


def _no_key(skipped: list[str]) -> str:
    if not skipped:
        return "tls: failed to find any PEM data in key input"
    if len(skipped) == 1 and skipped[0] == _CERTIFICATE:
        return "tls: found a certificate rather than a key in the PEM for the private key"
    after = "after skipping PEM blocks of the following types"
    return (
        f'tls: failed to find PEM block with type ending in "PRIVATE KEY" in key input {after}: [{" ".join(skipped)}]'
    )


def _mismatch(certificate: bytes, key: bytes) -> str:
    # Imported here: only Secrets for TLS pay for it.
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    def encoded(public: Any) -> bytes:
        return bytes(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))

    try:
        of_certificate = x509.load_pem_x509_certificate(certificate).public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "x509: malformed certificate"
    try:
        of_key = load_pem_private_key(key, None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return "tls: failed to parse private key"
    if type(of_key) is not type(of_certificate):
        return "tls: private key type does not match public key type"
    return "" if encoded(of_key) == encoded(of_certificate) else "tls: private key does not match public key"
