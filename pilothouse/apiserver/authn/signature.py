"""The server's own keys on tokens: whether a JWT is signed by one of them, checked once for each token."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from pilothouse.api.status import Unauthorized
from pilothouse.apiserver.authn.issuer import VerifyingKey

_MAX_SIGNATURES = 4096


class SignedTokens:
    """Tokens of the given issuers. `keys` is asked when the first one comes."""

    def __init__(self, issuers: Sequence[str], keys: Callable[[], Sequence[VerifyingKey]]) -> None:
        self._issuers = frozenset(issuers)
        self._read_keys = keys
        self._keys: Sequence[VerifyingKey] | None = None
        self._claims: dict[str, Mapping[str, Any]] = {}

    def claims(self, token: str) -> Mapping[str, Any] | None:
        """The claims of a token that is ours and rightly signed; None for one that is not ours. Raises Unauthorized."""
        return self._claims.get(token) or self._check(token)

    def _check(self, token: str) -> Mapping[str, Any] | None:
        header, claims = _unverified(token)
        if header is None or claims is None or claims.get("iss") not in self._issuers:
            return None
        from jwt import InvalidTokenError, PyJWS

        if self._keys is None:
            self._keys = self._read_keys()
        kid = header.get("kid")
        candidates = [key for key in self._keys if key.id == kid] if kid else self._keys
        if not candidates:
            raise Unauthorized("invalid signature, no keys found")
        for key in candidates:
            try:
                PyJWS().decode_complete(token, key.key, algorithms=[key.algorithm])
            except InvalidTokenError:
                continue
            if len(self._claims) >= _MAX_SIGNATURES:
                self._claims.clear()
            self._claims[token] = claims
            return claims
        raise Unauthorized("go-jose/go-jose: error in cryptographic primitive")


def _unverified(token: str) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    parts = token.split(".")
    if len(parts) != 3:
        return None, None
    decoded = []
    for part in parts[:2]:
        try:
            value = orjson.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        except (ValueError, binascii.Error):
            return None, None
        if not isinstance(value, dict):
            return None, None
        decoded.append(value)
    return decoded[0], decoded[1]
