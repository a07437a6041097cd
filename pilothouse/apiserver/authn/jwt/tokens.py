"""The tokens of all issuers of a configuration, which may be replaced while the server runs.

A file that cannot be used, or whose issuers cannot be reached, leaves everything as it is. Source: apiserver
`plugin/pkg/authenticator/token/oidc`, `pkg/kubeapiserver/{authenticator,options}`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pilothouse.api.meta import Object
from pilothouse.api.status import Unauthorized, aggregate
from pilothouse.apiserver.authn.bearer import Verified
from pilothouse.apiserver.authn.jwt.configuration import Configuration, ConfigurationError, load
from pilothouse.apiserver.authn.jwt.distributed import expand
from pilothouse.apiserver.authn.jwt.fetch import Fetcher
from pilothouse.apiserver.authn.jwt.mapping import ClaimMapping
from pilothouse.apiserver.authn.jwt.provider import NotReady, Provider
from pilothouse.apiserver.authn.jwt.token import issuer_of
from pilothouse.apiserver.authn.jwt.validation import faults
from pilothouse.apiserver.configuration import FileWatch
from pilothouse.apiserver.reloads import Reloads
from pilothouse.apiserver.server_id import hashed
from pilothouse.kit.clock import Clock
from pilothouse.kit.log import get_logger
from pilothouse.kit.metrics import Family, Histogram, labelled

UPDATE_S = 60.0
"""How long new issuers may take until they can be used."""
OLD_S = 60.0
"""How long the former ones stay, for tokens that are being verified."""
CHECK_S = 10.0
_BUCKETS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_METRICS = "apiserver_authentication_jwt_authenticator_"
log = get_logger("pilothouse.apiserver.authn")

Latencies = dict[tuple[str, str], Histogram]
"""By result, `success` or `failure`, and issuer."""


def checked(configuration: Configuration, disallowed_issuers: Sequence[str]) -> Configuration:
    """The configuration. Raises ConfigurationError if it is not valid."""
    if found := faults(configuration, disallowed_issuers):
        raise ConfigurationError(f"invalid authentication configuration: {aggregate(map(str, found))}")
    return configuration


class Issuer:
    """One JWTAuthenticator at work."""

    def __init__(self, jwt: Object, algorithms: Sequence[str], clock: Clock, latencies: Latencies) -> None:
        issuer = jwt["issuer"]
        self.url: str = issuer["url"]
        self._audiences: frozenset[str] = frozenset(issuer["audiences"])
        self._mapping = ClaimMapping(jwt)
        self._fetcher = Fetcher(issuer.get("certificateAuthority") or "")
        self._clock = clock
        self._latencies = latencies
        self._algorithms = tuple(algorithms)
        discovery_url = issuer.get("discoveryURL") or ""
        self.provider = Provider(self.url, self._fetcher, clock, algorithms, discovery_url=discovery_url)
        self._others: dict[str, Provider] = {}
        self._new: asyncio.Queue[Provider] = asyncio.Queue()

    async def run(self) -> None:
        """Fetch what is needed, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.provider.run())
            while True:
                tasks.create_task((await self._new.get()).run())

    async def user(self, token: str) -> Verified | None:
        """Whose a token is; None for one of another issuer. Raises Unauthorized."""
        if issuer_of(token) != self.url:
            return None
        began = self._clock.monotonic()
        result = "failure"
        try:
            claims = await self._verified(self.provider, token)
            if self._mapping.groups_claim:
                await expand(claims, self._mapping.groups_claim, self._fetcher, self._verify_other)
            verified = Verified(self._mapping.user(claims))
            result = "success"
        finally:
            histogram = self._latencies.setdefault((result, self.url), Histogram(_BUCKETS_S))
            histogram.observe(self._clock.monotonic() - began)
        return verified

    async def _verified(self, provider: Provider, token: str) -> dict[str, Any]:
        """Raises Unauthorized."""
        claims = await provider.verify(token)
        audience = claims.get("aud")
        meant_for = [audience] if isinstance(audience, str) else audience or []
        if not isinstance(meant_for, list) or not self._audiences & {
            each for each in meant_for if isinstance(each, str)
        }:
            shown = f"[{' '.join(map(str, meant_for))}]" if isinstance(meant_for, list) else str(meant_for)
            if len(self._audiences) == 1:
                (expected,) = self._audiences
                raise Unauthorized(f'oidc: verify token: oidc: expected audience "{expected}" got {_quoted(meant_for)}')
            expected = _quoted(sorted(self._audiences))
            raise Unauthorized(
                f"oidc: verify token: oidc: expected audience in {expected} got {_quoted(meant_for) or shown}"
            )
        return claims

    async def _verify_other(self, token: str, url: str) -> dict[str, Any]:
        """The claims of a token of an issuer that only gives distributed claims. Raises Unauthorized."""
        provider = self.provider if url == self.url else self._others.get(url)
        if provider is None:
            provider = self._others[url] = Provider(url, self._fetcher, self._clock, self._algorithms)
            self._new.put_nowait(provider)
        if provider.problem:
            raise Unauthorized(f'verifying untrusted issuer {url} failed: verifier not initialized for issuer: "{url}"')
        return await self._verified(provider, token)


def _quoted(values: Any) -> str:
    if not isinstance(values, list):
        return str(values)
    return "[" + " ".join(f'"{value}"' for value in values) + "]"


class _Set:
    """The issuers of one configuration."""

    def __init__(self, configuration: Configuration, clock: Clock, latencies: Latencies) -> None:
        self.issuers = [Issuer(jwt, configuration.algorithms, clock, latencies) for jwt in configuration.jwt]

    @property
    def problem(self) -> str:
        return aggregate(
            f'oidc: authenticator for issuer "{issuer.url}" is not healthy: {issuer.provider.problem}'
            for issuer in self.issuers
            if issuer.provider.problem
        )

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for issuer in self.issuers:
                tasks.create_task(issuer.run())


class JwtTokens:
    """A TokenMethod. `run` has to be at work for tokens to be verified."""

    def __init__(
        self,
        configuration: Configuration,
        audiences: tuple[str, ...],
        clock: Clock,
        *,
        file: str = "",
        text: bytes = b"",
        disallowed_issuers: Sequence[str] = (),
    ) -> None:
        """`audiences` are the API server's, for which alone the tokens are. With a `file`, the configuration is its `text`."""
        self._configuration = configuration
        self._audiences = audiences
        self._clock = clock
        self._file = file
        self._disallowed_issuers = tuple(disallowed_issuers)
        self.latencies: Latencies = {}
        self.reloads = Reloads()
        if file:
            self.reloads.loaded(text)
        self._set = _Set(configuration, clock, self.latencies)

    @property
    def providers(self) -> Mapping[str, Provider]:
        return {issuer.url: issuer.provider for issuer in self._set.issuers}

    def families(self, server: str) -> Iterable[Family]:
        """For `/metrics`, of the server of that name."""
        yield from self.reloads.families("authentication", server)
        yield labelled(
            f"{_METRICS}latency_seconds",
            "histogram",
            "[ALPHA] Latency of jwt authentication operations in seconds. This is the time spent authenticating a token for cache miss "
            "only (i.e. when the token is not found in the cache).",
            ("result", "jwt_issuer_hash"),
            {(result, hashed(url)): seconds for (result, url), seconds in self.latencies.items()},
        )
        shown, providers = hashed(server), self.providers.items()
        yield labelled(
            f"{_METRICS}jwks_fetch_last_timestamp_seconds",
            "gauge",
            "[ALPHA] Timestamp of the last successful or failed JWKS fetch split by result, api server identity and jwt issuer for the "
            "JWT authenticator.",
            ("result", "jwt_issuer_hash", "apiserver_id_hash"),
            {(result, hashed(url), shown): at for url, each in providers for result, at in each.fetches.items()},
        )
        yield labelled(
            f"{_METRICS}jwks_fetch_last_key_set_info",
            "gauge",
            "[ALPHA] Information about the last JWKS fetched by the JWT authenticator with hash as label, split by api server identity "
            "and jwt issuer.",
            ("jwt_issuer_hash", "apiserver_id_hash", "hash"),
            {(hashed(url), shown, each.key_set_hash): 1 for url, each in providers if each.key_set_hash},
        )

    async def verify(self, token: str, audiences: tuple[str, ...]) -> Verified | None:
        meant = tuple(audience for audience in audiences if audience in self._audiences)
        if not meant:
            return None
        for issuer in self._set.issuers:
            verified = await issuer.user(token)
            if verified is not None:
                return Verified(verified.user, meant)
        return None

    async def run(self) -> None:
        """Keep the issuers at work and follow the file, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(self._set.run())
            if not self._file:
                return

            async def changed() -> None:
                nonlocal running
                new = await self._reload(tasks.create_task)
                if new is not None:
                    tasks.create_task(self._end_later(running))
                    running = new

            await FileWatch(self._file, self._clock).run(changed)

    async def _reload(self, start: Callable[[Any], asyncio.Task[None]]) -> asyncio.Task[None] | None:
        """The task of the new issuers, if there are any that can be used."""
        try:
            text = Path(self._file).read_bytes()
            if not self.reloads.is_new(text):
                return None
            try:
                configuration = checked(load(text), self._disallowed_issuers)
                if configuration.anonymous != self._configuration.anonymous:
                    raise ConfigurationError("anonymous: Forbidden: changed from initial configuration file")
            except ConfigurationError:
                self.reloads.tried(text)
                raise
            new = _Set(configuration, self._clock, self.latencies)
            running = start(new.run())
            await self._wait_until_ready(new, running)
        except (OSError, ConfigurationError, NotReady) as error:
            log.error("failed to update authentication config", file=self._file, reason=str(error))
            self.reloads.failed(self._clock.now())
            return None
        self._set = new
        self.reloads.succeeded(text, self._clock.now())
        log.info("reloaded authentication config", file=self._file)
        return running

    async def _wait_until_ready(self, new: _Set, running: asyncio.Task[None]) -> None:
        """Raises NotReady."""
        waited_s = 0.0
        while new.problem and waited_s < UPDATE_S:
            step_s = 1.0 if waited_s < CHECK_S else CHECK_S
            await self._clock.sleep(step_s)
            waited_s += step_s
        if new.problem:
            running.cancel()
            raise NotReady(new.problem)

    async def _end_later(self, running: asyncio.Task[None]) -> None:
        await self._clock.sleep(OLD_S)
        running.cancel()
