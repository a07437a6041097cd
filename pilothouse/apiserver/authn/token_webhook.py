"""Tokens that a server knows which is sent TokenReviews: `--authentication-token-webhook-config-file`.

What it says is kept for a while, whoever the token is from or not; its failures are not. Source: apiserver
`plugin/pkg/authenticator/token/webhook`.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from pilothouse.api.meta import Object
from pilothouse.api.status import Unauthorized
from pilothouse.api.user import User
from pilothouse.apiserver.authn.bearer import Verified
from pilothouse.apiserver.webhooks.remote import RemoteFailed, RemoteWebhook
from pilothouse.kit.clock import Clock
from pilothouse.kit.log import get_logger

VERSIONS = ("v1", "v1beta1")
DEFAULT_TTL_S = 120.0
_MAX_CACHED = 8192
log = get_logger("pilothouse.apiserver.authn")

_Answer = Verified | None


class TokenWebhook:
    """A TokenMethod."""

    def __init__(
        self,
        webhook: RemoteWebhook,
        audiences: tuple[str, ...],
        clock: Clock,
        *,
        version: str = "v1beta1",
        ttl_s: float = DEFAULT_TTL_S,
    ) -> None:
        """`audiences` are the API server's, for which a token is meant whose answer names none. Raises ValueError for `version`."""
        if version not in VERSIONS:
            raise ValueError(
                f'unsupported authentication webhook version "{version}", supported versions are "v1", "v1beta1"'
            )
        self._webhook = webhook
        self._audiences = audiences
        self._clock = clock
        self._version = f"authentication.k8s.io/{version}"
        self._ttl_s = ttl_s
        self._key = os.urandom(32)
        self._answers: OrderedDict[tuple[bytes, tuple[str, ...]], tuple[float, _Answer]] = OrderedDict()

    async def verify(self, token: str, audiences: tuple[str, ...]) -> Verified | None:
        key = hashlib.blake2b(token.encode(errors="surrogatepass"), key=self._key).digest(), audiences
        now = self._clock.monotonic()
        if (kept := self._answers.get(key)) is not None and now < kept[0]:
            self._answers.move_to_end(key)
            return kept[1]
        answer = await self._ask(token, audiences)
        if self._ttl_s > 0:
            self._answers[key] = self._clock.monotonic() + self._ttl_s, answer
            self._answers.move_to_end(key)
            if len(self._answers) > _MAX_CACHED:
                self._answers.popitem(last=False)
        return answer

    async def run(self) -> None:
        """Until cancelled; then let go of all connections."""
        try:
            await asyncio.Event().wait()
        finally:
            await self._webhook.close()

    async def _ask(self, token: str, audiences: tuple[str, ...]) -> _Answer:
        """Raises Unauthorized if the token is refused with a reason, or nobody can be asked."""
        spec: Object = {"token": token}
        if audiences:
            spec["audiences"] = list(audiences)
        review = {
            "kind": "TokenReview",
            "apiVersion": self._version,
            "metadata": {},
            "spec": spec,
            "status": {"user": {}},
        }
        try:
            status = (await self._webhook.ask(review)).get("status") or {}
        except RemoteFailed as failure:
            log.error("Failed to make webhook authenticator request", reason=str(failure))
            raise Unauthorized(str(failure)) from None
        meant: tuple[str, ...] = ()
        if audiences:
            told = status.get("audiences") or self._audiences
            meant = tuple(audience for audience in audiences if audience in told)
            if not meant:
                return None
        if not status.get("authenticated"):
            if error := status.get("error"):
                raise Unauthorized(str(error))
            return None
        return Verified(_user(status.get("user") or {}), meant)


def _user(info: Mapping[str, Any]) -> User:
    extra = {key: tuple(values or ()) for key, values in (info.get("extra") or {}).items()}
    return User(info.get("username") or "", info.get("uid") or "", tuple(info.get("groups") or ()), extra)
