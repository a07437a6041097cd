"""Service account tokens: their keys, their signing, and what others need to check them.

Tokens are JWTs (RFC 7519) signed by ES256 or RS256. A key's id is the hash of its public half, so it needs no bookkeeping.
Source: `pkg/serviceaccount/{jwt,claims,openidmetadata}.go`; KEP-1205, KEP-1393.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

DEFAULT_ISSUER = "https://kubernetes.default.svc.cluster.local"
JWKS_PATH = "/openid/v1/jwks"
DISCOVERY_PATH = "/.well-known/openid-configuration"
_EC_ALGORITHMS = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


@dataclass(frozen=True)
class VerifyingKey:
    """A public key that service account tokens may be signed with."""

    key: EllipticCurvePublicKey | RSAPublicKey

    @cached_property
    def id(self) -> str:
        """Upstream's key id: the SHA-256 of the key's SubjectPublicKeyInfo, base64url without padding."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        der = self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()

    @property
    def algorithm(self) -> str:
        curve = getattr(self.key, "curve", None)
        return "RS256" if curve is None else _EC_ALGORITHMS[curve.name]


def read_public_keys(pem: bytes) -> list[VerifyingKey]:
    """The keys in PEM, of which private ones give their public half. Raises ValueError if there is none."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.x509 import load_pem_x509_certificate

    keys = []
    for block in _blocks(pem):
        if b"CERTIFICATE-----" in block:
            key: Any = load_pem_x509_certificate(block).public_key()
        elif b"PRIVATE KEY-----" in block:
            key = serialization.load_pem_private_key(block, None).public_key()
        else:
            key = serialization.load_pem_public_key(block)
        keys.append(VerifyingKey(key))
    if not keys:
        raise ValueError("the file has no key in PEM")
    return keys


def _blocks(pem: bytes) -> Iterable[bytes]:
    for part in pem.split(b"-----BEGIN ")[1:]:
        if not part.startswith(b"EC PARAMETERS"):
            yield b"-----BEGIN " + part


class TokenIssuer:
    """Signs tokens with one private key. The key is read when the first token is signed."""

    def __init__(self, private_pem: bytes, issuer: str = DEFAULT_ISSUER) -> None:
        self._pem = private_pem
        self.issuer = issuer

    @cached_property
    def _key(self) -> Any:
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        return load_pem_private_key(self._pem, None)

    @cached_property
    def _public(self) -> VerifyingKey:
        return VerifyingKey(self._key.public_key())

    def sign(self, claims: Mapping[str, Any]) -> str:
        """The token with `claims` and the issuer's name."""
        from jwt import PyJWS

        payload = orjson.dumps({"iss": self.issuer, **claims})
        headers = {"kid": self._public.id, "typ": None}
        return PyJWS().encode(payload, self._key, algorithm=self._public.algorithm, headers=headers)


def bound_claims(
    *,
    account: Mapping[str, Any],
    audiences: Iterable[str],
    now: float,
    lifetime_s: int,
    token_id: str,
    pod: Mapping[str, Any] | None = None,
    secret: Mapping[str, Any] | None = None,
    node: Mapping[str, Any] | None = None,
    warn_after_s: int = 0,
) -> dict[str, Any]:
    """The claims of a token for a service account that lives no longer than the object that it is bound to."""
    metadata = account["metadata"]
    private: dict[str, Any] = {
        "namespace": metadata["namespace"],
        "serviceaccount": _reference(account),
    }
    for kind, obj in (("node", node), ("pod", pod), ("secret", secret)):
        if obj is not None:
            private[kind] = _reference(obj)
    if warn_after_s:
        private["warnafter"] = int(now) + warn_after_s
    return {
        "aud": list(audiences),
        "exp": int(now) + lifetime_s,
        "iat": int(now),
        "nbf": int(now),
        "jti": token_id,
        "sub": f"system:serviceaccount:{metadata['namespace']}:{metadata['name']}",
        "kubernetes.io": private,
    }


def _reference(obj: Mapping[str, Any]) -> dict[str, str]:
    reference = {"name": obj["metadata"]["name"]}
    if uid := obj["metadata"].get("uid"):
        reference["uid"] = uid
    return reference


def discovery_document(issuer: str, jwks_uri: str, keys: Iterable[VerifyingKey]) -> dict[str, Any]:
    """The OpenID provider's configuration, at `DISCOVERY_PATH`."""
    return {
        "issuer": issuer,
        "jwks_uri": jwks_uri,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": sorted({key.algorithm for key in keys}),
    }


def jwks(keys: Iterable[VerifyingKey]) -> dict[str, Any]:
    """The JSON Web Key Set, at `JWKS_PATH`."""
    return {"keys": [_jwk(key) for key in keys]}


def _jwk(key: VerifyingKey) -> dict[str, Any]:
    numbers: Any = key.key.public_numbers()
    head = {"use": "sig", "kty": "RSA", "kid": key.id, "alg": key.algorithm}
    if key.algorithm.startswith("RS"):
        return {**head, "n": _number(numbers.n), "e": _number(numbers.e)}
    size = (key.key.key_size + 7) // 8
    curve = f"P-{key.key.key_size}"
    return {**head, "kty": "EC", "crv": curve, "x": _number(numbers.x, size), "y": _number(numbers.y, size)}


def _number(value: int, size: int = 0) -> str:
    data = value.to_bytes(size or (value.bit_length() + 7) // 8)
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
