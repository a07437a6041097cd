"""AuthenticationConfiguration: the issuers whose JWTs are believed, and who may come without any credential.

The flags `--oidc-*` say the same of one issuer. Source: apiserver `pkg/apis/apiserver`, `pkg/kubeapiserver/options/authentication.go`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pilothouse.api.meta import Object
from pilothouse.apiserver.configuration import read

GROUP = "apiserver.config.k8s.io"
ALGORITHMS = ("ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512")
MATCH_ANY = "MatchAny"
EGRESS = ("controlplane", "cluster")

_PREFIXED = {"claim": str, "prefix": str, "expression": str}
_ISSUER = {
    "url": str,
    "discoveryURL": str,
    "certificateAuthority": str,
    "audiences": [str],
    "audienceMatchPolicy": str,
    "egressSelectorType": str,
}
_MAPPINGS = {
    "username": _PREFIXED,
    "groups": _PREFIXED,
    "uid": {"claim": str, "expression": str},
    "extra": [{"key": str, "valueExpression": str}],
}
_JWT = {
    "issuer": _ISSUER,
    "claimValidationRules": [{"claim": str, "requiredValue": str, "expression": str, "message": str}],
    "claimMappings": _MAPPINGS,
    "userValidationRules": [{"expression": str, "message": str}],
}
_SHAPE = {"jwt": [_JWT], "anonymous": {"enabled": bool, "conditions": [{"path": str}]}}


class ConfigurationError(ValueError):
    """The configuration cannot be used; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """`jwt` are JWTAuthenticators, whose tokens may be signed by `algorithms`. `anonymous` is None where the file says nothing."""

    jwt: tuple[Object, ...] = ()
    anonymous: Object | None = None
    algorithms: tuple[str, ...] = ALGORITHMS


def load(text: bytes) -> Configuration:
    """The configuration in a file, not validated yet. Raises ConfigurationError."""
    if not text:
        raise ConfigurationError("empty config data")
    versions = {f"{GROUP}/{version}": _SHAPE for version in ("v1", "v1beta1", "v1alpha1")}
    try:
        document = read(text, "AuthenticationConfiguration", versions)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    return Configuration(tuple(each or {} for each in document.get("jwt") or ()), document.get("anonymous"))


@dataclass(frozen=True, slots=True)
class OidcFlags:
    issuer_url: str = ""
    client_id: str = ""
    authority: str = ""
    """PEM."""
    username_claim: str = "sub"
    username_prefix: str = ""
    groups_claim: str = ""
    groups_prefix: str = ""
    algorithms: tuple[str, ...] = ("RS256",)
    required_claims: Mapping[str, str] = field(default_factory=dict)

    def configuration(self) -> Configuration:
        """Raises ConfigurationError for an algorithm that is not known."""
        for algorithm in self.algorithms:
            if algorithm not in ALGORITHMS:
                raise ConfigurationError(f'oidc: unsupported signing alg: "{algorithm}"')
        prefix = self.username_prefix
        if not prefix and self.username_claim != "email":
            prefix = f"{self.issuer_url}#"
        mappings: Object = {"username": {"claim": self.username_claim, "prefix": "" if prefix == "-" else prefix}}
        if self.groups_claim:
            mappings["groups"] = {"claim": self.groups_claim, "prefix": self.groups_prefix}
        issuer: Object = {"url": self.issuer_url, "audiences": [self.client_id]}
        if self.authority:
            issuer["certificateAuthority"] = self.authority
        jwt: Object = {"issuer": issuer, "claimMappings": mappings}
        if self.required_claims:
            rules = [{"claim": claim, "requiredValue": value} for claim, value in self.required_claims.items()]
            jwt["claimValidationRules"] = rules
        return Configuration((jwt,), algorithms=self.algorithms)
