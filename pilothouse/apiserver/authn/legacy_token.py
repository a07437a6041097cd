"""Tokens of service accounts that are kept in Secrets and do not expire.

They are believed as long as their Secret has them. When they were last used is written on it, once a day.
Source: `pkg/serviceaccount/legacy.go`, KEP-2799.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pilothouse.api import gvr as kinds
from pilothouse.api.meta import Object, is_deleting, labels_of, name_of, uid_of
from pilothouse.api.status import StatusError, Unauthorized
from pilothouse.api.user import User, service_account_groups, service_account_name
from pilothouse.apiserver.authn.bearer import Verified
from pilothouse.apiserver.authn.issuer import VerifyingKey
from pilothouse.apiserver.authn.signature import SignedTokens
from pilothouse.apiserver.objects import Objects
from pilothouse.kit.clock import Clock
from pilothouse.kit.log import get_logger
from pilothouse.store.base import StoreError

ISSUER = "kubernetes/serviceaccount"
LAST_USED = "kubernetes.io/legacy-token-last-used"
INVALID_SINCE = "kubernetes.io/legacy-token-invalid-since"
_CLAIM = "kubernetes.io/serviceaccount/"
_AUDIT = "authentication.k8s.io/"
_AUTOMATIC = "Use tokens from the TokenRequest API or manually created secret-based tokens instead of auto-generated secret-based tokens."
_DAY_S = 86400.0
log = get_logger("pilothouse.apiserver.authn")

MarkUsed = Callable[[Object, str], Awaitable[None]]
"""Write on a Secret the day on which its token was used. Raises StatusError."""


class LegacyTokens:
    """A TokenMethod. The counts are of uses."""

    def __init__(
        self,
        keys: Callable[[], Sequence[VerifyingKey]],
        objects: Objects,
        audiences: tuple[str, ...],
        clock: Clock,
        mark_used: MarkUsed,
        *,
        looks_up: bool = True,
    ) -> None:
        """`audiences` are those of the API server, for which alone the tokens are.

        Without `looks_up` a signature is enough, whether or not Secret and service account are still there.
        """
        self._looks_up = looks_up
        self._signed = SignedTokens((ISSUER,), keys)
        self._objects = objects
        self._audiences = audiences
        self._clock = clock
        self._mark_used = mark_used
        self.uses = self.manual = self.automatic = self.invalidated = 0

    async def verify(self, token: str, audiences: tuple[str, ...]) -> Verified | None:
        claims = self._signed.claims(token)
        if claims is None:
            return None
        self.uses += 1
        meant = tuple(audience for audience in audiences or self._audiences if audience in self._audiences)
        if not meant and self._audiences:
            told, asked = (" ".join(f'"{each}"' for each in values) for values in (self._audiences, audiences))
            raise Unauthorized(f"token audiences [{told}] is invalid for the target audiences [{asked}]")
        namespace, secret_name, name, uid = _identity(claims)
        user = User(service_account_name(namespace, name), uid, service_account_groups(namespace))
        if not self._looks_up:
            return Verified(user, meant)
        secret = await self._objects.get(kinds.SECRETS, namespace, secret_name)
        if secret is None or is_deleting(secret):
            raise Unauthorized("Token has been invalidated")
        if not hmac.compare_digest(_token_in(secret), token.encode(errors="surrogatepass")):
            raise Unauthorized("Token does not match server's copy")
        account = await self._account(namespace, name, uid)
        annotations = {f"{_AUDIT}legacy-token": service_account_name(namespace, name)}
        warnings = self._judge(secret, account, annotations)
        await self._mark(secret)
        if labels_of(secret).get(INVALID_SINCE):
            raise Unauthorized(
                f"the token in secret {namespace}/{secret_name} for service account {namespace}/{name} has been marked invalid. Use "
                "tokens from the TokenRequest API or manually created secret-based tokens, or remove the "
                f"'{INVALID_SINCE}' label from the secret to temporarily allow use of this token"
            )
        return Verified(user, meant, annotations, warnings)

    async def _account(self, namespace: str, name: str, uid: str) -> Object:
        account = await self._objects.get(kinds.SERVICE_ACCOUNTS, namespace, name)
        if account is None:
            raise Unauthorized(f'serviceaccounts "{name}" not found')
        if is_deleting(account):
            raise Unauthorized(f"ServiceAccount {namespace}/{name} has been deleted")
        if uid_of(account) != uid:
            raise Unauthorized(f"ServiceAccount UID ({uid_of(account)}) does not match claim ({uid})")
        return account

    def _judge(self, secret: Object, account: Object, annotations: dict[str, str]) -> tuple[str, ...]:
        """Count a use, say to the audit log of what kind it is, and give what its sender is to be warned of."""
        name = name_of(secret)
        if labels_of(secret).get(INVALID_SINCE):
            self.invalidated += 1
            return ()
        if any(reference.get("name") == name for reference in account.get("secrets") or ()):
            self.automatic += 1
            annotations[f"{_AUDIT}legacy-token-autogenerated-secret"] = name
            return (_AUTOMATIC,)
        self.manual += 1
        annotations[f"{_AUDIT}legacy-token-manual-secret"] = name
        return ()

    async def _mark(self, secret: Object) -> None:
        now = self._clock.now()
        today, tomorrow = (f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}" for at in (now, now + _DAY_S))
        # Another server's clock may be a little ahead.
        if labels_of(secret).get(LAST_USED) in (today, tomorrow):
            return
        try:
            await self._mark_used(secret, today)
        except (StatusError, StoreError) as error:
            log.error("a legacy token's Secret is not labelled", secret=name_of(secret), reason=str(error))


def _identity(claims: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Namespace, Secret, name and uid of the account. Raises Unauthorized."""
    if not claims.get("sub"):
        raise Unauthorized("sub claim is missing")
    found = []
    for claim, shown in (
        ("namespace", "namespace"),
        ("secret.name", "secretName"),
        ("service-account.name", "serviceAccountName"),
        ("service-account.uid", "serviceAccountUID"),
    ):
        value = claims.get(f"{_CLAIM}{claim}")
        if not value or not isinstance(value, str):
            raise Unauthorized(f"{shown} claim is missing")
        found.append(value)
    namespace, secret, name, uid = found
    if User(str(claims["sub"])).service_account != (namespace, name):
        raise Unauthorized("sub claim is invalid")
    return namespace, secret, name, uid


def _token_in(secret: Object) -> bytes:
    try:
        return base64.b64decode((secret.get("data") or {}).get("token") or "")
    except (binascii.Error, ValueError):
        return b""
