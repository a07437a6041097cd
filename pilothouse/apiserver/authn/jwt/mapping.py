"""The user that a token's claims make. Pure: the claims are verified, and distributed ones are there.

Source: apiserver `plugin/pkg/authenticator/token/oidc`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pilothouse.api.meta import Object
from pilothouse.api.status import Unauthorized
from pilothouse.api.user import User
from pilothouse.apiserver.authn.jwt.expressions import (
    claims_value,
    compile_rule,
    compile_user_rule,
    compile_value,
    user_value,
)
from pilothouse.apiserver.authn.x509 import CREDENTIAL_ID

if TYPE_CHECKING:
    from pilothouse.api.cel.environment import Program

Claims = Mapping[str, Any]
_NO_LIST = "expression must return a string or a list of strings"


class ClaimMapping:
    """Of one JWTAuthenticator, which is valid."""

    def __init__(self, jwt: Object) -> None:
        mappings = jwt.get("claimMappings") or {}
        self._username = _Part(mappings.get("username") or {})
        self._groups = _Part(mappings.get("groups") or {})
        self._uid = _Part(mappings.get("uid") or {})
        self._extra = [(each["key"], compile_value(each["valueExpression"])) for each in mappings.get("extra") or ()]
        rules = jwt.get("claimValidationRules") or ()
        self._required = {each["claim"]: each.get("requiredValue") or "" for each in rules if each.get("claim")}
        conditions = [each for each in rules if each.get("expression")]
        self._rules = [(compile_rule(each["expression"]), each.get("message") or "") for each in conditions]
        self._user_rules = [
            (compile_user_rule(each["expression"]), each.get("message") or "")
            for each in jwt.get("userValidationRules") or ()
        ]
        parts = (self._username, self._groups, self._uid)
        self._needs_value = bool(self._extra or self._rules or any(part.program for part in parts))

    @property
    def groups_claim(self) -> str:
        """The one claim that may be distributed."""
        return self._groups.claim

    def user(self, claims: Claims) -> User:
        """Raises Unauthorized."""
        value = claims_value(claims) if self._needs_value else None
        user = User(
            self._name(claims, value),
            self._user_id(claims, value),
            self._group_names(claims, value),
            self._extra_values(claims, value),
        )
        for claim, wanted in self._required.items():
            if claim not in claims:
                raise Unauthorized(f"oidc: required claim {claim} not present in ID token")
            found = _string(claims[claim], f"oidc: parse claim {claim}")
            if found != wanted:
                raise Unauthorized(f"oidc: required claim {claim} value does not match. Got = {found}, want = {wanted}")
        if self._rules:
            _hold(self._rules, {"claims": value}, "oidc: error evaluating claim validation expression")
        if self._user_rules:
            _hold(self._user_rules, {"user": user_value(user)}, "oidc: error evaluating user info validation rule")
        return user

    def _name(self, claims: Claims, value: Any) -> str:
        part = self._username
        if part.program is not None:
            what = "oidc: error evaluating username claim expression"
            name = _evaluate(part.program, {"claims": value}, what)
            if not isinstance(name, str):
                raise Unauthorized(f"{what}: username claim expression must return a string")
            if not name:
                raise Unauthorized("oidc: empty username via CEL expression is not allowed")
            return name
        what = f'oidc: parse username claims "{part.claim}"'
        if part.claim not in claims:
            raise Unauthorized(f"{what}: claim not present")
        name = _string(claims[part.claim], what)
        if part.claim == "email" and "email_verified" in claims:
            verified = claims["email_verified"]
            if not isinstance(verified, bool | None):
                found = f"json: cannot unmarshal {_json_type(verified)} into Go value of type bool"
                raise Unauthorized(f"oidc: parse 'email_verified' claim: {found}")
            if not verified:
                raise Unauthorized("oidc: email not verified")
        return part.prefix + name

    def _group_names(self, claims: Claims, value: Any) -> tuple[str, ...]:
        part = self._groups
        if part.claim and part.claim in claims:
            groups = claims[part.claim]
            if isinstance(groups, list) and all(isinstance(group, str) for group in groups):
                return tuple(part.prefix + group for group in groups)
            if groups is None:
                return ()
            return (part.prefix + _string(groups, f'oidc: parse groups claim "{part.claim}"'),)
        if part.program is None:
            return ()
        what = "oidc: error evaluating group claim expression"
        return _strings(_evaluate(part.program, {"claims": value}, what), what)

    def _user_id(self, claims: Claims, value: Any) -> str:
        part = self._uid
        if part.claim:
            what = f'oidc: parse uid claim "{part.claim}"'
            if part.claim not in claims:
                raise Unauthorized(f"{what}: claim not present")
            return _string(claims[part.claim], what)
        if part.program is None:
            return ""
        what = "oidc: error evaluating uid claim expression"
        uid = _evaluate(part.program, {"claims": value}, what)
        if not isinstance(uid, str):
            raise Unauthorized(f"{what}: uid claim expression must return a string")
        return uid

    def _extra_values(self, claims: Claims, value: Any) -> dict[str, tuple[str, ...]]:
        extra: dict[str, tuple[str, ...]] = {}
        token_id = claims.get("jti")
        if isinstance(token_id, str) and token_id:
            extra[CREDENTIAL_ID] = (f"JTI={token_id}",)
        for key, program in self._extra:
            what = "oidc: error evaluating extra claim expression"
            found = _strings(_evaluate(program, {"claims": value}, ""), f"{what}: {program.expression}")
            if found:
                extra[key] = found
        return extra


class _Part:
    """A claim with a prefix, or an expression."""

    def __init__(self, mapping: Mapping[str, Any]) -> None:
        self.claim: str = mapping.get("claim") or ""
        self.prefix: str = mapping.get("prefix") or ""
        expression = mapping.get("expression")
        self.program = compile_value(expression) if expression else None


def _evaluate(program: Program, values: Mapping[str, Any], what: str) -> Any:
    """Raises Unauthorized, whose message begins with `what`."""
    from pilothouse.api.cel.environment import EvaluationError

    try:
        return program.evaluate(values)
    except EvaluationError as error:
        text = f"expression '{program.expression}' resulted in error: {error}"
        raise Unauthorized(f"{what}: {text}" if what else text) from None


def _hold(rules: Sequence[tuple[Program, str]], values: Mapping[str, Any], what: str) -> None:
    """Raises Unauthorized for the first rule that does not hold."""
    results = [_evaluate(program, values, what) for program, _ in rules]
    for (program, message), holds in zip(rules, results, strict=True):
        if not isinstance(holds, bool):
            raise Unauthorized(f"{what}: validation expression must return a boolean")
        if not holds:
            raise Unauthorized(f"{what}: validation expression '{program.expression}' failed: {message}")


def _strings(value: Any, what: str) -> tuple[str, ...]:
    """The strings that an expression gives; empty ones are none. Raises Unauthorized."""
    if value is None:
        return ()
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise Unauthorized(f"{what}: {_NO_LIST}")
    return tuple(each for each in values if each)


def _string(value: Any, what: str) -> str:
    """A claim that has to be text; null is as good as none. Raises Unauthorized."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Unauthorized(f"{what}: json: cannot unmarshal {_json_type(value)} into Go value of type string")
    return value


def _json_type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, list):
        return "array"
    return "object" if isinstance(value, dict) else "number"
