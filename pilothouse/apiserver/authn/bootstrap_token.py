"""Tokens by which new nodes join: Secrets `bootstrap-token-<id>` in kube-system.

Source: `plugin/pkg/auth/authenticator/token/bootstrap`, `k8s.io/cluster-bootstrap/token`.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Mapping
from typing import Any

from pilothouse.api import gvr
from pilothouse.api.meta import is_deleting, parse_time
from pilothouse.api.user import User
from pilothouse.apiserver.authn.bearer import Verified
from pilothouse.apiserver.objects import Objects
from pilothouse.kit.clock import Clock

NAMESPACE = "kube-system"
SECRET_TYPE = "bootstrap.kubernetes.io/token"
GROUP = "system:bootstrappers"
_parse = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})").fullmatch
_is_group = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]").fullmatch


class BootstrapTokens:
    """Accepts tokens whose Secret says that they authenticate and that have not expired."""

    def __init__(self, objects: Objects, audiences: tuple[str, ...], clock: Clock) -> None:
        """`audiences` are those of the API server, for which alone the tokens are."""
        self._objects = objects
        self._audiences = audiences
        self._clock = clock

    async def verify(self, token: str, audiences: tuple[str, ...]) -> Verified | None:
        parts = _parse(token)
        meant = tuple(audience for audience in audiences if audience in self._audiences)
        if parts is None or not meant:
            return None
        identifier, secret = parts.groups()
        found = await self._objects.get(gvr.SECRETS, NAMESPACE, f"bootstrap-token-{identifier}")
        if found is None or is_deleting(found) or found.get("type") != SECRET_TYPE:
            return None
        data = _texts(found)
        if (
            not hmac.compare_digest(data.get("token-secret", ""), secret)
            or data.get("token-id") != identifier
            or data.get("usage-bootstrap-authentication") != "true"
            or self._is_expired(data.get("expiration", ""))
        ):
            return None
        extra = {group.strip() for group in data.get("auth-extra-groups", "").split(",") if group.strip()}
        if not all(_is_group(group) for group in extra):
            return None
        return Verified(User(f"system:bootstrap:{identifier}", groups=tuple(sorted({GROUP, *extra}))), meant)

    def _is_expired(self, text: str) -> bool:
        """A time that cannot be read is over."""
        if not text:
            return False
        try:
            return parse_time(text) <= self._clock.now()
        except ValueError:
            return True


def _texts(secret: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    for key, value in (secret.get("data") or {}).items():
        try:
            text = base64.b64decode(value).decode("ascii")
        except (binascii.Error, UnicodeDecodeError):
            continue
        found[key] = text
    return found
