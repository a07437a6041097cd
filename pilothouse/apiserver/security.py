"""The API server's security and side doors, put together from options.

What comes out is what `app.ApiServer` takes: authenticator, authorizer, impersonator, admission, and the handlers of reviews, streams,
proxies and documents. Certificates, keys and `cryptography` are first touched by the first request that needs them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from pilothouse.api import gvr as kinds
from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object
from pilothouse.api.resource import Resource
from pilothouse.api.status import OBJECT_MODIFIED, conflict
from pilothouse.api.user import User
from pilothouse.apiserver.admission import chain as admission
from pilothouse.apiserver.admission.certificates import SigningRequestIdentity
from pilothouse.apiserver.admission.device_access import DeviceAccess
from pilothouse.apiserver.admission.escalation import RbacEscalation
from pilothouse.apiserver.admission.plugin import Plugin
from pilothouse.apiserver.admission.policies.params import served_params, served_structs
from pilothouse.apiserver.admission.resource_quota import WriteStatus
from pilothouse.apiserver.authn import issuer
from pilothouse.apiserver.authn.bearer import BearerTokens, TokenMethod
from pilothouse.apiserver.authn.chain import Chain as Authentication
from pilothouse.apiserver.authn.chain import Method
from pilothouse.apiserver.authn.foreign import Foreign, ForeignOptions
from pilothouse.apiserver.authn.legacy_token import LAST_USED, LegacyTokens, MarkUsed
from pilothouse.apiserver.authn.metrics import families as token_families
from pilothouse.apiserver.authn.request_header import HeaderNames, RequestHeader
from pilothouse.apiserver.authn.service_account import ServiceAccountTokens
from pilothouse.apiserver.authn.token_file import TokenFile
from pilothouse.apiserver.authn.x509 import ClientCertificates
from pilothouse.apiserver.authz.attributes import Authorizer
from pilothouse.apiserver.authz.escalation import EscalationCheck
from pilothouse.apiserver.authz.modes import AuthorizationOptions, Modes
from pilothouse.apiserver.authz.rbac import RBAC_KINDS
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.connection import connection
from pilothouse.apiserver.endpoint import Endpoint
from pilothouse.apiserver.impersonation import Impersonation
from pilothouse.apiserver.negotiate import JSON, check_routed
from pilothouse.apiserver.objects import CachedObjects, Objects
from pilothouse.apiserver.proxy.forward import Forwarder
from pilothouse.apiserver.proxy.kubelet import Kubelets, KubeletTls
from pilothouse.apiserver.proxy.pods import PodStreams
from pilothouse.apiserver.registry import Registry
from pilothouse.apiserver.reviews.access import AccessReviews
from pilothouse.apiserver.reviews.admission import ReviewAdmission
from pilothouse.apiserver.reviews.identity import SelfSubjectReviews, TokenReviews
from pilothouse.apiserver.reviews.token_request import TokenRequests
from pilothouse.apiserver.seams import Answerer, Connector
from pilothouse.apiserver.webhooks.client import WebhookClient
from pilothouse.apiserver.write import Write
from pilothouse.kit.clock import Clock
from pilothouse.kit.http.message import Response
from pilothouse.kit.metrics import Family
from pilothouse.store.cachers import Cachers

_NODE_KINDS = (kinds.PODS, kinds.PERSISTENT_VOLUMES, kinds.VOLUME_ATTACHMENTS, kinds.RESOURCE_SLICES)
_SELF = User("system:apiserver", groups=("system:masters",))
_AUTHENTICATION = "authentication.k8s.io"
_KEY_SET = "application/jwk-set+json"
_AUTHORIZATION = "authorization.k8s.io"

RegistryOf = Callable[[Resource], Awaitable[Registry]]


@dataclass(frozen=True, slots=True)
class SecurityOptions:
    """What the flags say. Files are given as functions that read them, so that one replaced on disk can be read again."""

    client_ca: Callable[[], bytes] | None = None
    front_proxy_ca: Callable[[], bytes] | None = None
    front_proxy_names: tuple[str, ...] = ("front-proxy-client",)
    front_proxy_headers: HeaderNames = field(default_factory=HeaderNames)
    token_file: str = ""
    """The text of the file of static tokens."""
    signing_key: bytes = b""
    """The private key that signs service account tokens, in PEM; without it none are issued."""
    verifying_keys: Callable[[], bytes] | None = None
    """The public keys by which they are known."""
    issuers: tuple[str, ...] = (issuer.DEFAULT_ISSUER,)
    """The first one signs; tokens of the others are accepted."""
    look_up_accounts: bool = True
    """Whether tokens in Secrets must still be there to be believed."""
    api_audiences: tuple[str, ...] = ()
    """Empty: the issuers."""
    jwks_uri: str = ""
    max_token_lifetime_s: int = 0
    extend_token_lifetime: bool = True
    foreign: ForeignOptions = field(default_factory=ForeignOptions)
    bootstrap_tokens: bool = False
    """Whether Secrets of new nodes' tokens are believed."""
    authorization: AuthorizationOptions = field(default_factory=AuthorizationOptions)
    enable_admission: tuple[str, ...] = ()
    disable_admission: tuple[str, ...] = ()
    kubelet_tls: KubeletTls | None = None
    """How kubelets are spoken to; None is plain HTTP."""


@dataclass(frozen=True, slots=True)
class Security:
    """Arguments of `ApiServer`."""

    authenticator: Authentication
    foreign: Foreign
    accounts: ServiceAccountTokens
    legacy: LegacyTokens
    authorizer: Authorizer
    modes: Modes
    impersonator: Impersonation
    admission: admission.Chain
    answerers: Mapping[tuple[str, str, str], Answerer]
    connectors: Mapping[tuple[str, str, str], Connector]
    paths: Mapping[str, Connector]
    objects: Objects
    webhooks: WebhookClient
    certificates: ClientCertificates | None
    """Of clients."""
    proxies: ClientCertificates | None
    """Of front proxies."""

    async def run(self) -> None:
        """Follow what the configuration names, until cancelled."""
        parts = (self.modes, self.foreign, self.webhooks, self.certificates, self.proxies)
        async with asyncio.TaskGroup() as tasks:
            for part in parts:
                if part is not None:
                    tasks.create_task(part.run())

    def families(self, server: str) -> Iterable[Family]:
        """For `/metrics`, of the server of that name."""
        yield from self.authenticator.attempts.families()
        if self.certificates is not None:
            yield from self.certificates.families()
        yield from token_families(self.accounts, self.legacy)
        yield from self.foreign.families(server)
        yield from self.modes.families(server)
        yield from self.impersonator.families()


async def build(
    options: SecurityOptions,
    cachers: Cachers,
    resources: Sequence[Resource],
    clock: Clock,
    rng: random.Random,
    *,
    registry_of: RegistryOf,
    endpoint_of_kind: Callable[[str, str], Endpoint | None],
) -> Security:
    """`registry_of` and `endpoint_of_kind`, by apiVersion and kind, are first called by a request.

    Raises ValueError for an unknown mode or plugin, a bad token file or bundle; OSError, StoreUnavailable.
    """
    by_gvr = {resource.gvr: resource for resource in resources}
    objects = CachedObjects(cachers, by_gvr.__getitem__)
    types = {each["type"] for each in options.authorization.authorizers()}
    await objects.prepare(RBAC_KINDS if "RBAC" in types else ())
    await objects.prepare(_NODE_KINDS if "Node" in types else ())
    modes = Modes(options.authorization, objects, clock, rng)
    authorizer = modes.chain
    always: list[Plugin] = [SigningRequestIdentity(), DeviceAccess(objects, authorizer)]
    if modes.rbac is not None:
        always.append(RbacEscalation(EscalationCheck(modes.rbac, authorizer)))
    webhooks = WebhookClient(objects, rng)
    admitting = admission.build(
        objects,
        authorizer,
        clock,
        rng,
        _quota_status(by_gvr[kinds.RESOURCE_QUOTAS], registry_of),
        webhooks,
        served_params(endpoint_of_kind),
        served_structs(endpoint_of_kind),
        enable=options.enable_admission,
        disable=options.disable_admission,
        always=always,
    )
    audiences = options.api_audiences or options.issuers
    keys = _Keys(options)
    foreign = Foreign(options.foreign, audiences, options.issuers, clock, rng)
    accounts = ServiceAccountTokens(options.issuers, keys, objects, clock, audiences)
    mark_used = _mark_used(by_gvr[kinds.SECRETS], registry_of)
    legacy = LegacyTokens(keys, objects, audiences, clock, mark_used, looks_up=options.look_up_accounts)
    methods = [*_token_methods(options, (legacy, accounts), objects, audiences, clock), *foreign.methods]
    bearer = BearerTokens(methods, audiences, clock)
    certificates = _certificates(options.client_ca, "clients", clock)
    proxies = _certificates(options.front_proxy_ca, "front proxies", clock)
    return Security(
        authenticator=_authentication(options, certificates, proxies, bearer, foreign, clock),
        foreign=foreign,
        accounts=accounts,
        legacy=legacy,
        authorizer=authorizer,
        modes=modes,
        impersonator=Impersonation(authorizer, clock),
        admission=admitting,
        answerers=_answerers(options, authorizer, bearer, admitting, objects, by_gvr, clock, rng),
        connectors=_admitted(_connectors(options, objects, rng), admitting, by_gvr),
        paths=_paths(options, keys),
        objects=objects,
        webhooks=webhooks,
        certificates=certificates,
        proxies=proxies,
    )


def _quota_status(quotas: Resource, registry_of: RegistryOf) -> WriteStatus:
    async def write(quota: Object) -> None:
        metadata = quota["metadata"]

        async def change(present: Object) -> Object:
            if present["metadata"]["resourceVersion"] != metadata["resourceVersion"]:
                raise conflict(quotas.gvr.plural, quotas.gvr.group, metadata["name"], OBJECT_MODIFIED)
            return {**present, "status": quota["status"]}

        write = Write(_SELF, metadata["namespace"], metadata["name"], "status")
        await (await registry_of(quotas)).change(change, write)

    return write


def _mark_used(secrets: Resource, registry_of: RegistryOf) -> MarkUsed:
    async def write(secret: Object, day: str) -> None:
        metadata = secret["metadata"]

        async def change(present: Object) -> Object:
            if present["metadata"].get("uid") != metadata.get("uid"):
                raise conflict(secrets.gvr.plural, secrets.gvr.group, metadata["name"], OBJECT_MODIFIED)
            labels = {**(present["metadata"].get("labels") or {}), LAST_USED: day}
            return {**present, "metadata": {**present["metadata"], "labels": labels}}

        await (await registry_of(secrets)).change(change, Write(_SELF, metadata["namespace"], metadata["name"]))

    return write


class _Keys:
    """The verifying keys, read when they are first needed."""

    def __init__(self, options: SecurityOptions) -> None:
        self._read = options.verifying_keys
        self._keys: list[issuer.VerifyingKey] | None = None

    def __call__(self) -> Sequence[issuer.VerifyingKey]:
        if self._keys is None:
            self._keys = issuer.read_public_keys(self._read()) if self._read is not None else []
        return self._keys


def _token_methods(
    options: SecurityOptions,
    accounts: Sequence[TokenMethod],
    objects: Objects,
    audiences: tuple[str, ...],
    clock: Clock,
) -> list[TokenMethod]:
    methods: list[TokenMethod] = []
    if options.token_file:
        methods.append(TokenFile(options.token_file, audiences))
    if options.verifying_keys is not None:
        methods += accounts
    if options.bootstrap_tokens:
        from pilothouse.apiserver.authn.bootstrap_token import BootstrapTokens

        methods.append(BootstrapTokens(objects, audiences, clock))
    return methods


def _authentication(
    options: SecurityOptions,
    certificates: ClientCertificates | None,
    proxies: ClientCertificates | None,
    bearer: BearerTokens,
    foreign: Foreign,
    clock: Clock,
) -> Authentication:
    methods: list[Method] = []
    if proxies is not None:
        methods.append(
            RequestHeader(proxies, allowed_names=options.front_proxy_names, headers=options.front_proxy_headers)
        )
    if certificates is not None:
        methods.append(certificates)
    methods.append(bearer)
    return Authentication(
        methods, clock, allow_anonymous=foreign.allow_anonymous, anonymous_paths=foreign.anonymous_paths
    )


def _certificates(bundle: Callable[[], bytes] | None, whose: str, clock: Clock) -> ClientCertificates | None:
    if bundle is None:
        return None
    certificates = ClientCertificates(bundle, clock)
    try:
        certificates.check()
    except ValueError as error:
        raise ValueError(f"the authorities of {whose} cannot be used: {error}") from error
    return certificates


def _answerers(
    options: SecurityOptions,
    authorizer: Authorizer,
    bearer: BearerTokens,
    admitting: admission.Chain,
    objects: Objects,
    by_gvr: Mapping[GVR, Resource],
    clock: Clock,
    rng: random.Random,
) -> dict[tuple[str, str, str], Answerer]:
    admitted = ReviewAdmission(admitting, by_gvr.values())
    access = AccessReviews(authorizer, admitted.validate)
    answerers: dict[tuple[str, str, str], Answerer] = {
        (_AUTHENTICATION, "tokenreviews", ""): TokenReviews(bearer, admitted.validate).review,
        (_AUTHENTICATION, "selfsubjectreviews", ""): SelfSubjectReviews(clock, admitted.validate).review,
        (_AUTHORIZATION, "subjectaccessreviews", ""): access.subject_access,
        (_AUTHORIZATION, "selfsubjectaccessreviews", ""): access.self_subject_access,
        (_AUTHORIZATION, "localsubjectaccessreviews", ""): access.local_subject_access,
        (_AUTHORIZATION, "selfsubjectrulesreviews", ""): access.self_subject_rules,
    }
    if options.signing_key:
        answerers["", "serviceaccounts", "token"] = TokenRequests(
            issuer.TokenIssuer(options.signing_key, options.issuers[0]),
            objects,
            clock,
            rng,
            audiences=bearer.audiences,
            max_lifetime_s=options.max_token_lifetime_s,
            extend_lifetime=options.extend_token_lifetime,
            admit=admitted.validate,
        ).create
    return {key: admitted.mutated(answerer) for key, answerer in answerers.items()}


def _admitted(
    connectors: Mapping[tuple[str, str, str], Connector], admitting: admission.Chain, by_gvr: Mapping[GVR, Resource]
) -> dict[tuple[str, str, str], Connector]:
    """The connectors behind admission; a log is only read."""
    resources = {(gvr.group, gvr.plural): resource for gvr, resource in by_gvr.items()}

    def behind(resource: Resource, subresource: str, connector: Connector) -> Connector:
        async def connect(call: Call) -> Response:
            attributes = connection(call, resource, subresource)
            await admitting.mutate(attributes)
            await admitting.validate(attributes)
            return await connector(call)

        return connect

    return {
        key: connector if key[2] == "log" else behind(resources[key[0], key[1]], key[2], connector)
        for key, connector in connectors.items()
    }


def _connectors(
    options: SecurityOptions, objects: Objects, rng: random.Random
) -> dict[tuple[str, str, str], Connector]:
    kubelets = Kubelets(objects, options.kubelet_tls)
    streams, forwarder = PodStreams(objects, kubelets), Forwarder(objects, kubelets, rng)
    return {
        ("", "pods", "log"): streams.log,
        ("", "pods", "exec"): streams.execute,
        ("", "pods", "attach"): streams.attach,
        ("", "pods", "portforward"): streams.port_forward,
        ("", "pods", "proxy"): forwarder.pod,
        ("", "services", "proxy"): forwarder.service,
        ("", "nodes", "proxy"): forwarder.node,
    }


def _paths(options: SecurityOptions, keys: _Keys) -> dict[str, Connector]:
    async def configuration(call: Call) -> Response:
        check_routed(call.request, JSON)
        uri = options.jwks_uri or f"{options.issuers[0]}{issuer.JWKS_PATH}"
        return _public(issuer.discovery_document(options.issuers[0], uri, keys()), JSON)

    async def key_set(call: Call) -> Response:
        check_routed(call.request, _KEY_SET)
        return _public(issuer.jwks(keys()), _KEY_SET)

    paths: dict[str, Connector] = {}
    if options.verifying_keys is not None:
        paths[issuer.DISCOVERY_PATH] = configuration
        paths[issuer.JWKS_PATH] = key_set
    return paths


def _public(document: Object, content_type: str) -> Response:
    headers = {"content-type": content_type, "cache-control": "public, max-age=3600"}
    return Response(200, headers, orjson.dumps(document))
