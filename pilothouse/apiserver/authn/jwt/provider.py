"""An issuer as it presents itself: its discovery document leads to its keys, by which its tokens are known.

Discovery is tried until it works. Keys are fetched when a token is signed by one that is not known, and then as late as the cache
headers of the last answer allow; a token that a known key verifies never waits. Source: `github.com/coreos/go-oidc`, OpenID Connect
Discovery 1.0.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import orjson

from pilothouse.api.status import Unauthorized
from pilothouse.apiserver.authn.jwt.fetch import Fetcher, FetchFailed
from pilothouse.apiserver.server_id import hashed
from pilothouse.kit.clock import Clock
from pilothouse.kit.http.client import Answer
from pilothouse.kit.log import get_logger

if TYPE_CHECKING:
    from jwt import PyJWK

WELL_KNOWN = "/.well-known/openid-configuration"
RETRY_S = 10.0
FETCH_WAIT_S = 60.0
LEEWAY_S = 60.0
"""How far in the future a token may begin."""
_EXPIRY_DELTA_S = 30.0
_max_age = re.compile(r"(s-maxage|max-age)\s*=\s*\"?(\d+)").findall
log = get_logger("pilothouse.apiserver.authn")


class NotReady(Exception):
    """The issuer's document, or its keys, cannot be had."""


class Provider:
    """One issuer. `run` does the fetching; until it has, `verify` refuses."""

    def __init__(
        self, url: str, fetcher: Fetcher, clock: Clock, algorithms: Sequence[str], *, discovery_url: str = ""
    ) -> None:
        self.url = url
        self.problem = f'oidc: authenticator for issuer "{url}" is not initialized'
        """Why no token can be verified; empty once they can."""
        self.fetches: dict[str, float] = {}
        """When keys were fetched last, in seconds since the epoch, by `success` and `failure`."""
        self.key_set_hash = ""
        self._fetcher = fetcher
        self._clock = clock
        self._algorithms = tuple(algorithms)
        self._discovery_url = discovery_url or url.removesuffix("/") + WELL_KNOWN
        self._keys_url = ""
        self._keys: list[PyJWK] = []
        self._fresh_until = 0.0
        self._wanted = asyncio.Event()
        self._fetched: asyncio.Future[NotReady | None] | None = None

    async def run(self) -> None:
        """Discover, then fetch keys whenever they are wanted, until cancelled."""
        while True:
            try:
                self._keys_url = await self._discover()
            except NotReady as error:
                self.problem = str(error)
                log.error("an issuer of tokens cannot be reached", issuer=self.url, reason=str(error))
                await self._clock.sleep(RETRY_S)
            else:
                self.problem = ""
                break
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            fetched, self._fetched = self._fetched, None
            failure = await self._fetch()
            if fetched is not None and not fetched.done():
                fetched.set_result(failure)

    async def verify(self, token: str) -> dict[str, Any]:
        """The claims of a token that the issuer signed and that is valid now. Raises Unauthorized."""
        if self.problem:
            raise Unauthorized("oidc: authenticator not initialized")
        try:
            return self._checked(await self._signed(token))
        except NotReady as error:
            raise Unauthorized(f"oidc: verify token: {error}") from None

    async def _signed(self, token: str) -> dict[str, Any]:
        """The payload, once its signature is verified. Raises NotReady, whose message says what is wrong with the token."""
        from jwt import InvalidTokenError, get_unverified_header

        if token.count(".") != 2:
            raise NotReady("oidc: malformed jwt")
        try:
            header = get_unverified_header(token)
        except InvalidTokenError as error:
            raise NotReady(f"oidc: malformed jwt: {error}") from None
        algorithm = header.get("alg")
        if algorithm not in self._algorithms:
            expected = " ".join(f'"{each}"' for each in self._algorithms)
            raise NotReady(f'oidc: id token signed with unsupported algorithm, expected [{expected}] got "{algorithm}"')
        kid = header.get("kid") or ""
        payload = self._try(token, algorithm, kid)
        if payload is None and self._clock.now() + _EXPIRY_DELTA_S > self._fresh_until:
            await self._refresh()
            payload = self._try(token, algorithm, kid)
        if payload is None:
            raise NotReady("failed to verify signature: failed to verify id token signature")
        return payload

    def _try(self, token: str, algorithm: str, kid: str) -> dict[str, Any] | None:
        from jwt import InvalidTokenError, PyJWS

        for key in self._keys:
            if kid and key.key_id != kid:
                continue
            try:
                decoded = PyJWS().decode_complete(token, key.key, algorithms=[algorithm])
            except (InvalidTokenError, TypeError, ValueError):
                continue
            payload = orjson.loads(decoded["payload"])
            return payload if isinstance(payload, dict) else None
        return None

    def _checked(self, claims: dict[str, Any]) -> dict[str, Any]:
        """Raises NotReady."""
        if claims.get("iss") != self.url and not _is_google(self.url, claims.get("iss")):
            issuer = claims.get("iss")
            raise NotReady(f'oidc: id token issued by a different provider, expected "{self.url}" got "{issuer}"')
        now = self._clock.now()
        expiry = _time(claims, "exp") or 0.0
        if expiry < now:
            raise NotReady(f"oidc: token is expired (Token Expiry: {_shown(expiry)})")
        start = _time(claims, "nbf")
        if start is not None and now + LEEWAY_S < start:
            raise NotReady(f"oidc: current time {_shown(now)} before the nbf (not before) time: {_shown(start)}")
        return claims

    async def _refresh(self) -> None:
        """Have the keys fetched; whoever wants them at the same time waits for the same answer. Raises NotReady."""
        if self._fetched is None:
            self._fetched = asyncio.get_running_loop().create_future()
            self._wanted.set()
        fetched = self._fetched
        # Up to its first suspension a request is worked on outside a task, where no time-out can be set.
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(FETCH_WAIT_S):
                failure = await asyncio.shield(fetched)
        except TimeoutError:
            raise NotReady("failed to verify signature: fetching keys: context deadline exceeded") from None
        if failure is not None:
            raise failure

    async def _fetch(self) -> NotReady | None:
        now = self._clock.now()
        try:
            answer = await self._get(self._keys_url, "oidc: get keys failed")
            self._keys = _keys_of(answer)
        except NotReady as error:
            self.fetches["failure"] = now
            return NotReady(f"failed to verify signature: fetching keys {error}")
        self.fetches["success"] = now
        self.key_set_hash = hashed(answer.body)
        self._fresh_until = max(now, now + _fresh_s(answer.headers, now))
        return None

    async def _discover(self) -> str:
        """Where the keys are. Raises NotReady."""
        answer = await self._get(self._discovery_url, "")
        document = _document(answer, "oidc: failed to decode provider discovery object")
        if document.get("issuer") != self.url:
            issuer = document.get("issuer", "")
            raise NotReady(
                f'oidc: issuer did not match the issuer returned by provider, expected "{self.url}" got "{issuer}"'
            )
        if not document.get("jwks_uri"):
            raise NotReady("provider did not return JWKS URL")
        return str(document["jwks_uri"])

    async def _get(self, url: str, what: str) -> Answer:
        prefix = f"{what}: " if what else ""
        try:
            answer = await self._fetcher.get(url)
        except FetchFailed as error:
            raise NotReady(f"{prefix}{error}") from None
        if answer.status != 200:
            raise NotReady(f"{prefix}{answer.status}: {answer.body[:1024].decode(errors='replace')}")
        return answer


def _document(answer: Answer, what: str) -> dict[str, Any]:
    try:
        document = orjson.loads(answer.body)
    except orjson.JSONDecodeError as error:
        media_type = answer.headers.get("content-type", "")
        raise NotReady(f'{what}: expected Content-Type = application/json, got "{media_type}": {error}') from None
    if not isinstance(document, dict):
        raise NotReady(f"{what}: it is not an object")
    return document


def _keys_of(answer: Answer) -> list[PyJWK]:
    """The keys that can verify signatures. Raises NotReady."""
    from jwt import PyJWK
    from jwt.exceptions import PyJWKError, PyJWTError

    found = []
    for key in _document(answer, "oidc: failed to decode keys").get("keys") or ():
        try:
            found.append(PyJWK.from_dict(key))
        except (PyJWKError, PyJWTError, TypeError, ValueError, AttributeError) as error:
            log.info("a key of an issuer of tokens is not understood", kid=str(key)[:64], reason=str(error))
    return found


def _fresh_s(headers: Mapping[str, str], now: float) -> float:
    """How long an answer may be kept by a cache that many share (RFC 9111); 0 where it says nothing."""
    control = headers.get("cache-control", "").lower()
    if any(word in control for word in ("no-store", "no-cache", "private")):
        return 0.0
    ages = dict(_max_age(control))
    if age := ages.get("s-maxage") or ages.get("max-age"):
        return float(age)
    try:
        return parsedate_to_datetime(headers["expires"]).timestamp() - now
    except (KeyError, ValueError, TypeError):
        return 0.0


def _time(claims: Mapping[str, Any], claim: str) -> float | None:
    """Raises NotReady for a time that is none."""
    value = claims.get(claim)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NotReady(f"oidc: failed to unmarshal claims: {claim} is not a number")
    return float(value)


def _is_google(url: str, issuer: Any) -> bool:
    return url == "https://accounts.google.com" and issuer == "accounts.google.com"


def _shown(seconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(int(seconds), UTC):%Y-%m-%d %H:%M:%S} +0000 UTC"
    except (ValueError, OverflowError, OSError):
        return str(seconds)
