"""What a JWT says before anybody has verified it."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import orjson


def issuer_of(token: str) -> str | None:
    """Whom a token claims to be from; None for one that is no JWT."""
    claims = unverified_claims(token)
    if claims is None:
        return None
    issuer = claims.get("iss", "")
    if issuer == "accounts.google.com":
        return "https://accounts.google.com"
    return issuer if isinstance(issuer, str) else None


def unverified_claims(token: str) -> dict[str, Any] | None:
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = orjson.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error):
        return None
    return claims if isinstance(claims, dict) else None
