"""The authorizers of a server, made from flags or from a file that may change while the server runs.

Those that follow objects are made once and stay; webhooks are made anew when the file changes. A file that cannot be used leaves
everything as it is. Source: `pkg/kubeapiserver/authorizer/{config,reload}.go`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pilothouse.api.meta import Object
from pilothouse.apiserver.authz.always import AlwaysAllow, AlwaysDeny, PrivilegedGroup
from pilothouse.apiserver.authz.attributes import Mode, Remote, Verdict
from pilothouse.apiserver.authz.chain import Chain, Link
from pilothouse.apiserver.authz.node import NodeAuthorizer
from pilothouse.apiserver.authz.rbac import Rbac
from pilothouse.apiserver.configuration import FileWatch, seconds
from pilothouse.apiserver.objects import Objects
from pilothouse.apiserver.reloads import Reloads
from pilothouse.kit.clock import Clock
from pilothouse.kit.log import get_logger
from pilothouse.kit.metrics import Family

if TYPE_CHECKING:
    from pilothouse.apiserver.authz.webhook_counts import Counted

DEFAULT_MODES = ("Node", "RBAC")
log = get_logger("pilothouse.apiserver.authz")


@dataclass(frozen=True, slots=True)
class AuthorizationOptions:
    """What the flags say. With a `file` it says everything."""

    modes: tuple[str, ...] = DEFAULT_MODES
    file: str = ""
    """Of an AuthorizationConfiguration."""
    webhook_file: str = ""
    """A kubeconfig, for the mode Webhook."""
    webhook_version: str = "v1beta1"
    authorized_ttl_s: float = 300.0
    unauthorized_ttl_s: float = 30.0
    policy_file: str = ""
    """For the mode ABAC."""

    def authorizers(self) -> list[Object]:
        """As AuthorizationConfiguration has them. Raises ValueError, OSError."""
        if self.file:
            from pilothouse.apiserver.authz.configuration import load

            return load(Path(self.file).read_bytes())
        for mode in self.modes:
            if mode not in _MODES:
                raise ValueError(f'authorization-mode "{mode}" is not a valid mode')
        if len(set(self.modes)) != len(self.modes):
            shown = " ".join(f'"{mode}"' for mode in self.modes)
            raise ValueError(f"authorization-mode [{shown}] has mode specified more than once")
        self._check_files()
        return [self._authorizer(mode) for mode in self.modes]

    def _check_files(self) -> None:
        if "ABAC" in self.modes and not self.policy_file:
            raise ValueError("authorization-mode ABAC's authorization policy file not passed")
        if "Webhook" in self.modes and not self.webhook_file:
            raise ValueError("authorization-mode Webhook's authorization config file not passed")
        if self.policy_file and "ABAC" not in self.modes:
            raise ValueError("cannot specify --authorization-policy-file without mode ABAC")
        if self.webhook_file and "Webhook" not in self.modes:
            raise ValueError("cannot specify --authorization-webhook-config-file without mode Webhook")

    def _authorizer(self, mode: str) -> Object:
        if mode != "Webhook":
            return {"type": mode, "name": mode.lower()}
        webhook = {
            "authorizedTTL": f"{self.authorized_ttl_s:g}s",
            "cacheAuthorizedRequests": self.authorized_ttl_s > 0,
            "unauthorizedTTL": f"{self.unauthorized_ttl_s:g}s",
            "cacheUnauthorizedRequests": self.unauthorized_ttl_s > 0,
            "timeout": "30s",
            "failurePolicy": "NoOpinion",
            "subjectAccessReviewVersion": self.webhook_version,
            "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": self.webhook_file},
        }
        return {"type": "Webhook", "name": "default", "webhook": webhook}


_MODES = frozenset({"ABAC", "AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook"})


@dataclass(slots=True)
class Modes:
    """Makes the chain, and makes it anew. Raises ValueError for what cannot be made, OSError."""

    options: AuthorizationOptions
    objects: Objects
    clock: Clock
    rng: random.Random
    reloads: Reloads = field(default_factory=Reloads)
    chain: Chain = field(init=False)
    rbac: Rbac | None = field(init=False, default=None)
    _lasting: dict[str, Mode] = field(init=False, default_factory=dict)
    _types: frozenset[str] = field(init=False, default=frozenset())
    _webhooks: list[Link] = field(init=False, default_factory=list)
    _counted: Counted | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.options.file:
            self.reloads.loaded(Path(self.options.file).read_bytes())
        authorizers = self.options.authorizers()
        self._types = frozenset(each["type"] for each in authorizers) - {"Webhook"}
        for type_ in self._types:
            self._lasting[type_] = self._mode(type_)
        rbac = self._lasting.get("RBAC")
        self.rbac = rbac if isinstance(rbac, Rbac) else None
        self.chain = Chain(self._links(authorizers))

    @property
    def webhooks(self) -> Sequence[Link]:
        return self._webhooks

    def families(self, server: str) -> Iterable[Family]:
        """For `/metrics`, of the server of that name."""
        yield from self.chain.families()
        yield from self.reloads.families("authorization", server)
        if self._counted is not None:
            yield from self._counted.families()

    async def run(self) -> None:
        """Follow the file, until cancelled; then let go of all connections."""
        try:
            if self.options.file:
                await FileWatch(self.options.file, self.clock).run(lambda: self._reload())
            else:
                await asyncio.Event().wait()
        finally:
            for link in self._webhooks:
                await _close(link)

    async def _reload(self) -> None:
        from pilothouse.apiserver.authz.configuration import load

        try:
            text = Path(self.options.file).read_bytes()
            if not self.reloads.is_new(text):
                return
            self.reloads.tried(text)
            before = list(self._webhooks)
            self.chain.replace(self._links(load(text, self._types)))
        except (OSError, ValueError) as error:
            log.error("reloading authorization config", file=self.options.file, reason=str(error))
            self.reloads.failed(self.clock.now())
            return
        for link in before:
            await _close(link)
        self.reloads.succeeded(text, self.clock.now())
        log.info("reloaded authz config", file=self.options.file)

    def _links(self, authorizers: Sequence[Mapping[str, object]]) -> list[Link]:
        links, webhooks = [Link(PrivilegedGroup())], []
        for each in authorizers:
            type_, name = str(each["type"]), str(each["name"])
            if type_ == "Webhook":
                link = Link(self._webhook(each), type_, name)
                webhooks.append(link)
            else:
                lasting = self._lasting.get(type_)
                if lasting is None and type_ in ("AlwaysAllow", "AlwaysDeny"):
                    lasting = self._mode(type_)
                if lasting is None:
                    why = "is not allowed if it was not enabled at initial server startup"
                    raise ValueError(f"authorizer type {type_} {why}")
                link = Link(lasting, type_, name)
            links.append(link)
        self._webhooks = webhooks
        return links

    def _mode(self, type_: str) -> Mode:
        match type_:
            case "Node":
                return NodeAuthorizer(self.objects)
            case "RBAC":
                return Rbac(self.objects)
            case "AlwaysAllow":
                return AlwaysAllow()
            case "AlwaysDeny":
                return AlwaysDeny()
        from pilothouse.apiserver.authz.abac import Abac

        return Abac(Path(self.options.policy_file).read_text())

    def _webhook(self, authorizer: Mapping[str, object]) -> Remote:
        from pilothouse.apiserver.authz.conditions import Compiler, MatchConditions
        from pilothouse.apiserver.authz.webhook import VERSIONS, WebhookAuthorizer, WebhookSettings
        from pilothouse.apiserver.authz.webhook_counts import Counted
        from pilothouse.apiserver.webhooks.remote import RemoteWebhook, read_endpoint

        webhook = authorizer["webhook"]
        assert isinstance(webhook, dict)
        name, version = str(authorizer["name"]), webhook["subjectAccessReviewVersion"]
        if version not in VERSIONS:
            raise ValueError(
                f'unsupported webhook authorizer version "{version}", supported versions are "v1", "v1beta1"'
            )
        settings = WebhookSettings(
            name,
            version,
            seconds(webhook["authorizedTTL"]) if webhook["cacheAuthorizedRequests"] else 0.0,
            seconds(webhook["unauthorizedTTL"]) if webhook["cacheUnauthorizedRequests"] else 0.0,
            Verdict.DENY if webhook["failurePolicy"] == "Deny" else Verdict.NO_OPINION,
        )
        endpoint = read_endpoint(webhook["connectionInfo"]["kubeConfigFile"])
        counted = self._counted = self._counted or Counted()
        conditions = None
        if webhook.get("matchConditions"):
            compiler = Compiler()
            programs = [compiler.compile(each["expression"]) for each in webhook["matchConditions"]]
            conditions = MatchConditions(programs, self.clock.monotonic, counted.conditions(name))
        remote = RemoteWebhook(endpoint, self.clock, self.rng, timeout_s=seconds(webhook["timeout"]))
        return WebhookAuthorizer(remote, settings, self.clock, conditions, counted.webhook(name))


async def _close(link: Link) -> None:
    if isinstance(link.authorizer, Remote):
        await link.authorizer.close()
