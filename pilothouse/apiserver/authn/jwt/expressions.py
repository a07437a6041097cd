"""The expressions of an issuer's configuration, in CEL: over `claims`, and over `user`, which they make.

Source: apiserver `pkg/authentication/cel`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pilothouse.api.user import User

if TYPE_CHECKING:
    from pilothouse.api.cel.environment import Environment, Program

_strings = re.compile(
    r"""[rRbB]{0,2}(?:"{3}.*?"{3}|'{3}.*?'{3}|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|//[^\n]*""", re.S
)
_selects = r"(?<![\w.])claims\s*\.\s*\??\s*{}(?!\w)"


@lru_cache(1)
def _environments() -> tuple[Environment, Environment]:
    """For checking and for evaluating; made when the first expression is compiled."""
    from pilothouse.api.cel.environment import DYN, Environment
    from pilothouse.api.cel.typed import typed_environment
    from pilothouse.api.schema.types import catalog

    user = catalog().struct("io.k8s.api.authentication.v1.UserInfo")
    return typed_environment({"claims": DYN}, {"user": user}), Environment({"claims": DYN, "user": DYN})


def compile_value(expression: str) -> Program:
    """An expression over the claims, which may have any type. Raises CompileError."""
    return _of_claims().compile(expression)


def compile_rule(expression: str) -> Program:
    """A condition on the claims. Raises CompileError."""
    from pilothouse.api.cel.environment import BOOL, CompileError

    program = _of_claims().compile(expression)
    if program.returns != BOOL:
        raise CompileError("must evaluate to bool")
    return program


def compile_user_rule(expression: str) -> Program:
    """A condition on the user. Raises CompileError."""
    from pilothouse.api.cel.environment import BOOL, CompileError

    checked, evaluated = _environments()
    if checked.compile(expression).returns != BOOL:
        raise CompileError("must evaluate to bool")
    return evaluated.compile(expression)


@lru_cache(1)
def _of_claims() -> Environment:
    from pilothouse.api.cel.environment import DYN, Environment

    return Environment({"claims": DYN})


def uses_claim(expression: str, claim: str) -> bool:
    """Whether an expression selects a claim: `claims.email`, `claims.?email`."""
    return re.search(_selects.format(re.escape(claim)), _strings.sub(" ", expression)) is not None


def claims_value(claims: Mapping[str, Any]) -> Any:
    """The claims as expressions see them: `a.b` can also be reached as `a__dot__b`."""
    return _with_escapes(claims)


def user_value(user: User) -> Mapping[str, Any]:
    extra = _with_escapes({key: list(values) for key, values in user.extra.items()})
    return {"username": user.name, "uid": user.uid, "groups": list(user.groups), "extra": extra}


def _with_escapes(value: Any) -> Any:
    from pilothouse.api.cel.environment import escape

    if isinstance(value, list):
        return [_with_escapes(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    found = {key: _with_escapes(item) for key, item in value.items()}
    for key in value:
        escaped = escape(key)
        if escaped is not None and escaped != key:
            found.setdefault(escaped, found[key])
    return found
