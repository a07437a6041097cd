"""Tokens that others vouch for: JWTs of issuers, and a webhook; and what their configuration says of anonymous requests.

Source: `pkg/kubeapiserver/options/authentication.go`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pilothouse.apiserver.authn.bearer import TokenMethod
from pilothouse.kit.clock import Clock
from pilothouse.kit.metrics import Family

if TYPE_CHECKING:
    from pilothouse.apiserver.authn.jwt.configuration import Configuration, OidcFlags
    from pilothouse.apiserver.authn.jwt.tokens import JwtTokens
    from pilothouse.apiserver.authn.token_webhook import TokenWebhook


@dataclass(frozen=True, slots=True)
class ForeignOptions:
    """What the flags say."""

    file: str = ""
    """Of an AuthenticationConfiguration."""
    oidc: OidcFlags | None = None
    webhook_file: str = ""
    """A kubeconfig."""
    webhook_version: str = "v1beta1"
    webhook_ttl_s: float = 120.0
    allow_anonymous: bool = True
    is_anonymous_given: bool = False
    """Whether a flag says whether anonymous requests are allowed."""


class Foreign:
    """The methods, in order. Nothing of it is there that is not configured."""

    def __init__(
        self,
        options: ForeignOptions,
        audiences: tuple[str, ...],
        issuers: Sequence[str],
        clock: Clock,
        rng: random.Random,
    ) -> None:
        """`issuers` are the server's own, which nobody else may be. Raises ValueError for what cannot be, OSError."""
        self.methods: list[TokenMethod] = []
        self.jwt: JwtTokens | None = None
        self.webhook: TokenWebhook | None = None
        self.allow_anonymous = options.allow_anonymous
        self.anonymous_paths: tuple[str, ...] = ()
        self._runs: list[Callable[[], Awaitable[None]]] = []
        if options.file or options.oidc is not None:
            self._add_jwt(options, audiences, issuers, clock)
        if options.webhook_file:
            self._add_webhook(options, audiences, clock, rng)

    def families(self, server: str) -> Iterable[Family]:
        """For `/metrics`, of the server of that name."""
        return () if self.jwt is None else self.jwt.families(server)

    async def run(self) -> None:
        """Fetch keys and follow the file, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for run in self._runs:
                tasks.create_task(_awaited(run))

    def _add_jwt(
        self, options: ForeignOptions, audiences: tuple[str, ...], issuers: Sequence[str], clock: Clock
    ) -> None:
        from pilothouse.apiserver.authn.jwt.configuration import ConfigurationError
        from pilothouse.apiserver.authn.jwt.tokens import JwtTokens, checked

        text = Path(options.file).read_bytes() if options.file else b""
        configuration = _configuration(options, text)
        if (anonymous := configuration.anonymous) is not None:
            if options.is_anonymous_given:
                raise ConfigurationError(
                    "anonymous: Forbidden: --anonymous-auth flag cannot be set when anonymous field is configured in "
                    "authentication configuration file"
                )
            self.allow_anonymous = bool(anonymous.get("enabled"))
            self.anonymous_paths = tuple(each.get("path", "") for each in anonymous.get("conditions") or ())
        checked(configuration, issuers)
        self.jwt = JwtTokens(configuration, audiences, clock, file=options.file, text=text, disallowed_issuers=issuers)
        self.methods.append(self.jwt)
        self._runs.append(self.jwt.run)

    def _add_webhook(
        self, options: ForeignOptions, audiences: tuple[str, ...], clock: Clock, rng: random.Random
    ) -> None:
        from pilothouse.apiserver.authn.token_webhook import TokenWebhook
        from pilothouse.apiserver.webhooks.remote import RemoteWebhook, read_endpoint

        remote = RemoteWebhook(read_endpoint(options.webhook_file), clock, rng)
        self.webhook = TokenWebhook(
            remote, audiences, clock, version=options.webhook_version, ttl_s=options.webhook_ttl_s
        )
        self.methods.append(self.webhook)
        self._runs.append(self.webhook.run)


async def _awaited(run: Callable[[], Awaitable[None]]) -> None:
    await run()


def _configuration(options: ForeignOptions, text: bytes) -> Configuration:
    """Raises ValueError."""
    from pilothouse.apiserver.authn.jwt.configuration import ConfigurationError, load

    if not options.file:
        assert options.oidc is not None
        return options.oidc.configuration()
    try:
        return load(text)
    except ConfigurationError as error:
        raise ConfigurationError(
            f'failed to load authentication configuration from file "{options.file}": {error}'
        ) from None
