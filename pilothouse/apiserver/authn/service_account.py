"""Service account tokens, which are bound to objects: these are looked at each time a token is asked about.

Source: `pkg/serviceaccount/{jwt,claims}.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pilothouse.api import gvr as kinds
from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object, parse_time, uid_of
from pilothouse.api.status import Unauthorized
from pilothouse.api.user import User, service_account_groups, service_account_name
from pilothouse.apiserver.authn.bearer import Verified
from pilothouse.apiserver.authn.issuer import VerifyingKey
from pilothouse.apiserver.authn.signature import SignedTokens
from pilothouse.apiserver.authn.x509 import CREDENTIAL_ID
from pilothouse.apiserver.objects import Objects
from pilothouse.kit.clock import Clock

LEEWAY_S = 60
_EXTRA = "authentication.kubernetes.io/"
_INVALIDATED = "service account token has been invalidated"


class ServiceAccountTokens:
    """Accepts tokens of the given issuers, signed by one of the keys, bound to objects that still exist."""

    def __init__(
        self,
        issuers: Sequence[str],
        keys: Callable[[], Sequence[VerifyingKey]],
        objects: Objects,
        clock: Clock,
        audiences: tuple[str, ...] = (),
    ) -> None:
        """`keys` is asked when the first token comes. The first issuer is the one that signs; others are accepted.

        `audiences` are those of the API server, for which a token without any is meant.
        """
        self._audiences = audiences
        self.valid = self.stale = 0
        """How many tokens that say when they should be renewed came in time, and too late."""
        self._signed = SignedTokens(issuers, keys)
        self._objects = objects
        self._clock = clock

    async def verify(self, token: str, audiences: tuple[str, ...]) -> Verified | None:
        claims = self._signed.claims(token)
        if claims is None:
            return None
        annotations = {}
        meant_for = claims.get("aud") or []
        meant_for = [meant_for] if isinstance(meant_for, str) else meant_for
        if not meant_for:
            annotations["authentication.k8s.io/legacy-token"] = str(claims.get("sub", ""))
            meant_for = self._audiences
        wanted = audiences or self._audiences
        common = tuple(audience for audience in wanted if audience in meant_for)
        if not common and self._audiences:
            raise Unauthorized(
                f"token audiences {_quoted(meant_for)} is invalid for the target audiences {_quoted(wanted)}"
            )
        self._check_time(claims)
        user = await self._user(claims)
        if stale_s := self._stale(claims):
            text = f"subject: {claims.get('sub', '')}, seconds after warning threshold: {stale_s}"
            annotations["authentication.k8s.io/stale-token"] = text
        return Verified(user, common, annotations)

    def _stale(self, claims: Mapping[str, Any]) -> int:
        """How many seconds ago the token should have been renewed. Counted for the tokens that say when."""
        warn_after = claims["kubernetes.io"].get("warnafter")
        if not warn_after:
            return 0
        now = self._clock.now()
        if now <= warn_after:
            self.valid += 1
            return 0
        self.stale += 1
        return int(now) - int(warn_after)

    def _check_time(self, claims: Mapping[str, Any]) -> None:
        now = self._clock.now()
        if (expiry := claims.get("exp")) is not None and now > expiry + LEEWAY_S:
            raise Unauthorized("service account token has expired")
        if (start := claims.get("nbf")) is not None and now < start - LEEWAY_S:
            raise Unauthorized("service account token is not valid yet")
        if (issued := claims.get("iat")) is not None and now < issued - LEEWAY_S:
            raise Unauthorized("service account token is issued in the future")

    async def _user(self, claims: Mapping[str, Any]) -> User:
        """The user of a token, whose objects all have to exist under the same uid."""
        private = claims.get("kubernetes.io")
        if not isinstance(private, dict) or not isinstance(private.get("serviceaccount"), dict):
            raise Unauthorized("service account token claims could not be validated")
        namespace, account = private.get("namespace", ""), private["serviceaccount"]
        name = account.get("name", "")
        if claims.get("sub") != service_account_name(namespace, name):
            raise Unauthorized("service account token claims could not be validated: wrong subject")
        found = await self._objects.get(kinds.SERVICE_ACCOUNTS, namespace, name)
        if found is None:
            raise Unauthorized(f'serviceaccounts "{name}" not found')
        if uid_of(found) != account.get("uid"):
            raise Unauthorized(f"service account UID ({uid_of(found)}) does not match claim ({account.get('uid')})")
        if self._is_deleted(found):
            raise Unauthorized(f"service account {namespace}/{name} has been deleted")
        pod, node = private.get("pod"), private.get("node")
        await self._check_bound(kinds.SECRETS, namespace, private.get("secret"), "secret")
        await self._check_bound(kinds.PODS, namespace, pod, "pod")
        if pod is None:
            await self._check_bound(kinds.NODES, "", node, "node")
        extra: dict[str, tuple[str, ...]] = {}
        for kind, reference in (("pod", pod), ("node", node)):
            if reference:
                extra[f"{_EXTRA}{kind}-name"] = (reference["name"],)
                if reference.get("uid"):
                    extra[f"{_EXTRA}{kind}-uid"] = (reference["uid"],)
        if token_id := claims.get("jti"):
            extra[CREDENTIAL_ID] = (f"JTI={token_id}",)
        return User(service_account_name(namespace, name), account["uid"], service_account_groups(namespace), extra)

    async def _check_bound(self, gvr: GVR, namespace: str, reference: Mapping[str, Any] | None, kind: str) -> None:
        if reference is None:
            return
        found = await self._objects.get(gvr, namespace, reference["name"])
        if found is None or self._is_deleted(found):
            raise Unauthorized(_INVALIDATED)
        if uid_of(found) != reference.get("uid"):
            raise Unauthorized(
                f"{kind} UID ({uid_of(found)}) does not match service account {kind} ref claim ({reference.get('uid')})"
            )

    def _is_deleted(self, obj: Object) -> bool:
        deleted = obj["metadata"].get("deletionTimestamp")
        return deleted is not None and parse_time(deleted) < self._clock.now() - LEEWAY_S


def _quoted(values: Sequence[str]) -> str:
    return "[" + " ".join(f'"{value}"' for value in values) + "]"
