"""What the flags of authentication and authorization set up. Source: `pkg/kubeapiserver/options`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pilothouse.apiserver.authn.foreign import ForeignOptions
from pilothouse.apiserver.authn.request_header import HeaderNames
from pilothouse.apiserver.authz.modes import DEFAULT_MODES, AuthorizationOptions
from pilothouse.main.apiserver_store import read_file
from pilothouse.main.failure import Fatal
from pilothouse.main.flags import Flag, Values, boolean, duration, listed

if TYPE_CHECKING:
    from pilothouse.apiserver.authn.jwt.configuration import OidcFlags

_OIDC = (
    Flag("oidc-issuer-url", "", "issuer of OpenID Connect tokens that are believed; https only"),
    Flag("oidc-client-id", "", "audience of the issuer's tokens"),
    Flag("oidc-ca-file", "", "authorities of the issuer's certificate, PEM (default: the machine's)"),
    Flag("oidc-username-claim", "sub", "claim that is the user's name"),
    Flag("oidc-username-prefix", "", "what precedes names; - is nothing (default: the issuer and #, but for email)"),
    Flag("oidc-groups-claim", "", "claim that lists the user's groups"),
    Flag("oidc-groups-prefix", "", "what precedes groups"),
    Flag("oidc-signing-algs", ("RS256",), "algorithms that tokens may be signed by", listed),
    Flag("oidc-required-claim", (), "key=value that tokens must claim", repeated=True),
)

_NAMES = HeaderNames()
FRONT_PROXY_FLAGS = (
    Flag("requestheader-username-headers", _NAMES.user, "headers in which front proxies name users", listed),
    Flag("requestheader-uid-headers", _NAMES.uid, "headers in which they give the users' uids", listed),
    Flag("requestheader-group-headers", _NAMES.group, "headers in which they give groups", listed),
    Flag("requestheader-extra-headers-prefix", _NAMES.extra_prefix, "beginnings of headers with more on users", listed),
)

FLAGS = (
    Flag("anonymous-auth", True, "whether requests without credentials are those of system:anonymous", boolean),
    Flag("authentication-config", "", "file that says which issuers' tokens are believed, and who may be anonymous"),
    *_OIDC,
    Flag("authentication-token-webhook-config-file", "", "kubeconfig of a server that knows bearer tokens"),
    Flag("authentication-token-webhook-version", "v1beta1", "version of TokenReview that it is asked with"),
    Flag("authentication-token-webhook-cache-ttl", 120.0, "how long its answers are kept", duration),
    Flag(
        "authorization-mode",
        DEFAULT_MODES,
        "ABAC, AlwaysAllow, AlwaysDeny, Node, RBAC, Webhook, as they are asked",
        listed,
    ),
    Flag("authorization-config", "", "file that says which authorizers are asked; in place of --authorization-mode"),
    Flag("authorization-policy-file", "", "file of the mode ABAC, a policy in JSON on each line"),
    Flag("authorization-webhook-config-file", "", "kubeconfig of the server of the mode Webhook"),
    Flag("authorization-webhook-version", "v1beta1", "version of SubjectAccessReview that it is asked with"),
    Flag(
        "authorization-webhook-cache-authorized-ttl",
        300.0,
        "how long it is believed that something is allowed",
        duration,
    ),
    Flag("authorization-webhook-cache-unauthorized-ttl", 30.0, "how long that it is not", duration),
)
_AUTHORIZATION = (
    "authorization-mode",
    "authorization-webhook-config-file",
    "authorization-webhook-version",
    "authorization-webhook-cache-authorized-ttl",
    "authorization-webhook-cache-unauthorized-ttl",
)


def header_names(values: Values) -> HeaderNames:
    return HeaderNames(
        tuple(values.requestheader_username_headers),
        tuple(values.requestheader_uid_headers),
        tuple(values.requestheader_group_headers),
        tuple(values.requestheader_extra_headers_prefix),
    )


def authorization_options(values: Values) -> AuthorizationOptions:
    """Raises Fatal for flags that exclude each other."""
    if values.authorization_config and any(map(values.is_given, _AUTHORIZATION)):
        raise Fatal(
            "--authorization-config can not be specified when --authorization-mode or --authorization-webhook-* flags are defined"
        )
    return AuthorizationOptions(
        tuple(values.authorization_mode),
        values.authorization_config,
        values.authorization_webhook_config_file,
        values.authorization_webhook_version,
        values.authorization_webhook_cache_authorized_ttl,
        values.authorization_webhook_cache_unauthorized_ttl,
        values.authorization_policy_file,
    )


def foreign_options(values: Values) -> ForeignOptions:
    """Raises Fatal for flags that exclude each other or files that cannot be read."""
    is_oidc = any(values.is_given(flag.name) for flag in _OIDC)
    if values.authentication_config and is_oidc:
        raise Fatal("authentication-config file and oidc-* flags are mutually exclusive")
    if is_oidc and not (values.oidc_issuer_url and values.oidc_client_id):
        raise Fatal("oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set")
    always_allows = not values.authorization_config and "AlwaysAllow" in values.authorization_mode
    return ForeignOptions(
        values.authentication_config,
        _oidc(values) if is_oidc else None,
        values.authentication_token_webhook_config_file,
        values.authentication_token_webhook_version,
        values.authentication_token_webhook_cache_ttl,
        values.anonymous_auth and not always_allows,
        values.is_given("anonymous-auth"),
    )


def _oidc(values: Values) -> OidcFlags:
    from pilothouse.apiserver.authn.jwt.configuration import OidcFlags

    required: dict[str, str] = {}
    for pair in values.oidc_required_claim:
        claim, separator, value = pair.partition("=")
        if not separator:
            raise Fatal(f'invalid argument "{pair}" for "--oidc-required-claim": malformed pair, expect string=string')
        required[claim] = value
    file = values.oidc_ca_file
    return OidcFlags(
        values.oidc_issuer_url,
        values.oidc_client_id,
        read_file("oidc-ca-file", file).decode() if file else "",
        values.oidc_username_claim,
        values.oidc_username_prefix,
        values.oidc_groups_claim,
        values.oidc_groups_prefix,
        tuple(values.oidc_signing_algs),
        required,
    )
