"""Claims that are kept elsewhere: the token names an endpoint that gives them, in a token of their own.

Source: OpenID Connect Core 1.0, section 5.6.2; apiserver `plugin/pkg/authenticator/token/oidc`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from pilothouse.api.status import Unauthorized
from pilothouse.apiserver.authn.jwt.fetch import Fetcher, FetchFailed
from pilothouse.apiserver.authn.jwt.token import issuer_of

Verify = Callable[[str, str], Awaitable[dict[str, Any]]]
"""The claims of a token of an issuer. Raises Unauthorized."""
_FAILED = "oidc: could not expand distributed claims"


async def expand(claims: dict[str, Any], claim: str, fetcher: Fetcher, verify: Verify) -> None:
    """Put the one claim into `claims`, if they say that it is elsewhere. Raises Unauthorized."""
    if claim in claims or claims.get("_claim_names") is None:
        return
    names, sources = claims["_claim_names"], claims.get("_claim_sources")
    if not isinstance(names, dict):
        raise Unauthorized(f"{_FAILED}: oidc: error parsing distributed claim names: it is not an object")
    if sources is None:
        raise Unauthorized(f"{_FAILED}: oidc: no claim sources")
    if not isinstance(sources, dict):
        raise Unauthorized(f"{_FAILED}: oidc: could not parse claim sources: it is not an object")
    if claim not in names:
        return
    source = sources.get(names[claim])
    if not isinstance(source, dict):
        raise Unauthorized(
            f"{_FAILED}: id token _claim_names contained a source {names[claim]} missing in _claims_sources"
        )
    if endpoint := source.get("endpoint"):
        claims[claim] = await _resolved(claim, endpoint, source.get("access_token") or "", fetcher, verify)


async def _resolved(claim: str, endpoint: str, access_token: str, fetcher: Fetcher, verify: Verify) -> Any:
    headers = {"authorization": f"Bearer {access_token}"} if access_token else {}
    try:
        answer = await fetcher.get(endpoint, headers)
    except FetchFailed as error:
        raise Unauthorized(f'{_FAILED}: while getting distributed claim "{claim}": {error}') from None
    if not 200 <= answer.status <= 226:
        why = f"error while getting distributed claim JWT: {answer.status}"
        raise Unauthorized(f'{_FAILED}: while getting distributed claim "{claim}": {why}')
    token = answer.body.decode(errors="replace").strip()
    issuer = issuer_of(token)
    if issuer is None:
        raise Unauthorized(
            f'{_FAILED}: getting untrusted issuer from endpoint {endpoint} failed for claim "{claim}": malformed token'
        )
    try:
        found = await verify(token, issuer)
    except Unauthorized as error:
        raise Unauthorized(f"{_FAILED}: verify distributed claim token: {error.message}") from None
    if claim not in found:
        raise Unauthorized(
            f'{_FAILED}: jwt returned by distributed claim endpoint "{endpoint}" did not contain claim: {claim}'
        )
    return found[claim]
