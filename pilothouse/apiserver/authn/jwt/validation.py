"""What makes an AuthenticationConfiguration unusable. Source: apiserver `pkg/apis/apiserver/validation/validation.go`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from pilothouse.api.meta import Object
from pilothouse.api.path import FieldError, Path, duplicate, invalid, required, too_many
from pilothouse.api.validate.values import check_domain_prefixed_path
from pilothouse.apiserver.authn.jwt.configuration import EGRESS, MATCH_ANY, Configuration
from pilothouse.apiserver.authn.jwt.expressions import compile_rule, compile_user_rule, compile_value, uses_claim

MAX_ISSUERS = 64
_BOTH = "claim and expression can't both be set"
_EMAIL = (
    "claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or "
    "claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression"
)


def faults(configuration: Configuration, disallowed_issuers: Sequence[str]) -> list[FieldError]:
    """`disallowed_issuers` are the server's own."""
    root = Path("jwt")
    if len(configuration.jwt) > MAX_ISSUERS:
        return [too_many(root, len(configuration.jwt), MAX_ISSUERS)]
    found: list[FieldError] = []
    urls: set[str] = set()
    discovery_urls: set[str] = set()
    for index, jwt in enumerate(configuration.jwt):
        path = root.index(index)
        issuer = jwt.get("issuer") or {}
        found += _issuer_faults(issuer, disallowed_issuers, path.child("issuer"))
        found += _rule_faults(jwt.get("claimValidationRules") or (), path.child("claimValidationRules"))
        found += _mapping_faults(jwt, path.child("claimMappings"))
        found += _user_rule_faults(jwt.get("userValidationRules") or (), path.child("userValidationRules"))
        url, discovery_url = issuer.get("url") or "", issuer.get("discoveryURL") or ""
        if url in urls:
            found.append(duplicate(path.child("issuer", "url"), url))
        urls.add(url)
        if discovery_url and discovery_url in discovery_urls:
            found.append(duplicate(path.child("issuer", "discoveryURL"), discovery_url))
        discovery_urls.add(discovery_url)
    anonymous = configuration.anonymous
    if anonymous is not None and not anonymous.get("enabled") and anonymous.get("conditions"):
        where, why = Path("anonymous.conditions"), "enabled should be set to true when conditions are defined"
        found.append(invalid(where, anonymous["conditions"], why))
    return found


def _issuer_faults(issuer: Mapping[str, Any], disallowed: Sequence[str], path: Path) -> Iterable[FieldError]:
    url, discovery_url = issuer.get("url") or "", issuer.get("discoveryURL") or ""
    if not url:
        yield required(path.child("url"))
    else:
        yield from _url_faults(url, disallowed, path.child("url"))
    if discovery_url:
        where = path.child("discoveryURL")
        if url and url.rstrip("/") == discovery_url.rstrip("/"):
            yield invalid(where, discovery_url, "discoveryURL must be different from URL")
        yield from _url_faults(discovery_url, (), where)
    yield from _audience_faults(issuer.get("audiences") or (), issuer.get("audienceMatchPolicy") or "", path)
    if authority := issuer.get("certificateAuthority"):
        try:
            has_any = "-----BEGIN CERTIFICATE-----" in authority and _is_pem(authority)
        except ValueError:
            has_any = False
        if not has_any:
            why = "data does not contain any valid RSA or ECDSA certificates"
            yield invalid(path.child("certificateAuthority"), "<omitted>", why)
    egress = issuer.get("egressSelectorType") or ""
    if egress and egress not in EGRESS:
        why = "egress selector must be either controlplane or cluster"
        yield invalid(path.child("egressSelectorType"), egress, why)
    elif egress:
        why = f'oidc: egress lookup required with egress selector type "{egress}"; this server has no egress selectors'
        yield invalid(path.child("egressSelectorType"), egress, why)


def _is_pem(text: str) -> bool:
    from pilothouse.kit import certificate

    return all(certificate.read(der) for der in certificate.pem_blocks(text.encode()))


def _url_faults(url: str, disallowed: Sequence[str], path: Path) -> Iterable[FieldError]:
    if url in disallowed:
        listed = " ".join(sorted(disallowed))
        yield invalid(path, url, f"URL must not overlap with disallowed issuers: [{listed}]")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        yield invalid(path, url, f"parse {url!r}: {error}")
        return
    if parts.scheme != "https":
        yield invalid(path, url, "URL scheme must be https")
    if "@" in parts.netloc:
        yield invalid(path, url, "URL must not contain a username or password")
    if parts.query:
        yield invalid(path, url, "URL must not contain a query")
    if parts.fragment:
        yield invalid(path, url, "URL must not contain a fragment")


def _audience_faults(audiences: Sequence[str], policy: str, path: Path) -> Iterable[FieldError]:
    where = path.child("audiences")
    if not audiences:
        yield required(where, f"at least one {where} is required")
        return
    for index, audience in enumerate(audiences):
        if not audience:
            yield required(where.index(index))
        if audience in audiences[:index]:
            yield duplicate(where.index(index), audience)
    if len(audiences) > 1 and policy != MATCH_ANY:
        why = "audienceMatchPolicy must be MatchAny for multiple audiences"
        yield invalid(path.child("audienceMatchPolicy"), policy, why)
    if len(audiences) == 1 and policy not in ("", MATCH_ANY):
        why = "audienceMatchPolicy must be empty or MatchAny for single audience"
        yield invalid(path.child("audienceMatchPolicy"), policy, why)


def _rule_faults(rules: Sequence[Mapping[str, Any]], path: Path) -> Iterable[FieldError]:
    claims: set[str] = set()
    expressions: set[str] = set()
    for index, rule in enumerate(rules):
        at = path.index(index)
        claim, expression = rule.get("claim") or "", rule.get("expression") or ""
        if claim and expression:
            yield invalid(at, claim, _BOTH)
        elif claim:
            if message := rule.get("message"):
                yield invalid(at.child("message"), message, "may not be specified when claim is set")
            if claim in claims:
                yield duplicate(at.child("claim"), claim)
            claims.add(claim)
        elif expression:
            if value := rule.get("requiredValue"):
                yield invalid(at.child("requiredValue"), value, "may not be specified when expression is set")
            if expression in expressions:
                yield duplicate(at.child("expression"), expression)
                continue
            expressions.add(expression)
            yield from _compiled(compile_rule, expression, at.child("expression"))
        else:
            yield required(at, "claim or expression is required")


def _mapping_faults(jwt: Object, path: Path) -> Iterable[FieldError]:
    mappings = jwt.get("claimMappings") or {}
    username = mappings.get("username") or {}
    yield from _prefixed_faults(username, path.child("username"), is_required=True)
    yield from _prefixed_faults(mappings.get("groups") or {}, path.child("groups"), is_required=False)
    uid = mappings.get("uid") or {}
    if uid.get("claim") and uid.get("expression"):
        yield invalid(path.child("uid"), "", _BOTH)
    elif uid.get("expression"):
        yield from _compiled(compile_value, uid["expression"], path.child("uid", "expression"))
    extra = mappings.get("extra") or ()
    yield from _extra_faults(extra, path.child("extra"))
    named = username.get("expression") or ""
    elsewhere = [each.get("valueExpression") or "" for each in extra]
    elsewhere += [rule.get("expression") or "" for rule in jwt.get("claimValidationRules") or ()]
    if uses_claim(named, "email") and not any(uses_claim(each, "email_verified") for each in (named, *elsewhere)):
        yield invalid(path.child("username", "expression"), named, _EMAIL)


def _prefixed_faults(mapping: Mapping[str, Any], path: Path, *, is_required: bool) -> Iterable[FieldError]:
    claim, expression, prefix = mapping.get("claim") or "", mapping.get("expression") or "", mapping.get("prefix")
    if claim and expression:
        yield invalid(path, "", _BOTH)
    elif expression:
        if prefix is not None:
            yield invalid(path.child("prefix"), prefix, "may not be specified when expression is set")
        yield from _compiled(compile_value, expression, path.child("expression"))
    elif claim:
        if prefix is None:
            why = "prefix is required when claim is set. It can be set to an empty string to disable prefixing"
            yield required(path.child("prefix"), why)
    elif is_required:
        yield required(path, "claim or expression is required")


def _extra_faults(extra: Sequence[Mapping[str, Any]], path: Path) -> Iterable[FieldError]:
    seen: set[str] = set()
    for index, mapping in enumerate(extra):
        key, where = mapping.get("key") or "", path.index(index).child("key")
        found: list[FieldError] = []
        check_domain_prefixed_path(key, where, found)
        yield from found
        if key != key.lower():
            yield invalid(where, key, "must be lowercase")
        domain = key.partition("/")[0] if "/" in key else ""
        if f".{domain}".endswith((".kubernetes.io", ".k8s.io")):
            why = "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use"
            yield invalid(where, key, why)
        if key in seen:
            yield duplicate(where, key)
            continue
        seen.add(key)
        at = path.index(index).child("valueExpression")
        if not mapping.get("valueExpression"):
            yield required(at)
        else:
            yield from _compiled(compile_value, mapping["valueExpression"], at)


def _user_rule_faults(rules: Sequence[Mapping[str, Any]], path: Path) -> Iterable[FieldError]:
    seen: set[str] = set()
    for index, rule in enumerate(rules):
        at, expression = path.index(index).child("expression"), rule.get("expression") or ""
        if not expression:
            yield required(at)
        elif expression in seen:
            yield duplicate(at, expression)
        else:
            seen.add(expression)
            yield from _compiled(compile_user_rule, expression, at)


def _compiled(compile_: Callable[[str], object], expression: str, path: Path) -> Iterable[FieldError]:
    from pilothouse.api.cel.environment import CompileError

    try:
        compile_(expression)
    except CompileError as error:
        yield invalid(path, expression, str(error))
