"""What a policy's rules make of a write: decisions, decided without waiting for anything."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pilothouse.api.cel.environment import BOOL, COST_EXCEEDED, NULL, STRING, CompileError, EvaluationError
from pilothouse.api.cel.objects import as_maps
from pilothouse.apiserver.admission.access import Access
from pilothouse.apiserver.admission.expressions import Expressions
from pilothouse.apiserver.admission.measures import COMPILE_ERROR, INVALID_ERROR, OUT_OF_BUDGET
from pilothouse.apiserver.admission.policies.source import Policy

MAX_MESSAGE_BYTES = 5 * 1024
_find_variables = re.compile(r"\bvariables\s*\.\s*([A-Za-z_]\w*)").findall
_missing_key = re.compile(r"no such key: (\w+)").fullmatch


@dataclass(frozen=True, slots=True)
class Denial:
    """A rule that a write breaks. `index` is that of the validation; -1 for what is no validation."""

    message: str
    reason: str = ""
    index: int = -1
    error: str = ""
    """What kind of failure an expression without a value has; empty for one that is false."""


@dataclass(slots=True)
class Outcome:
    denials: list[Denial] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    """Of audit annotations: they refuse whatever the binding's actions are."""
    annotations: list[tuple[str, str]] = field(default_factory=list)
    admitted: int = 0
    """How many validations hold, or fail open."""


class Failure(Exception):
    """An expression that gives no value; the text is for the client. `why` is the text without the expression."""

    def __init__(self, text: str, why: str = "", kind: str = INVALID_ERROR) -> None:
        super().__init__(text)
        self.why = why or text
        self.kind = OUT_OF_BUDGET if self.why.startswith(COST_EXCEEDED) else kind


class Scope:
    """The values of one write and one parameter, and the variables that a policy composes of them.

    Variables are worked out when an expression mentions them, each once. One that fails does so for the expressions that need its
    value only: it is left out, and who asks for it gets its error.
    """

    def __init__(
        self, expressions: Expressions, policy: Mapping[str, Any], access: Access, values: Mapping[str, Any]
    ) -> None:
        self._expressions = expressions
        self._access = access
        self._variables = {each["name"]: each["expression"] for each in policy.get("variables") or ()}
        self._failed: dict[str, Failure] = {}
        self._known: dict[str, Any] = {}
        self._values = {**values, "variables": self._known}

    def evaluate(self, expression: str, *returns: str, shown: str = "") -> Any:
        """The value; messages speak of the expression as `shown`. Raises Failure, Unanswered."""
        try:
            program = self._expressions.compile(expression, *returns)
        except CompileError as error:
            raise Failure(f"compilation error: {error}", kind=COMPILE_ERROR) from None
        for name in _find_variables(expression):
            self._compose(name)
        try:
            return self._access.evaluate(program, self._values)
        except EvaluationError as error:
            missing = _missing_key(str(error))
            why = str(error)
            if missing is not None and missing[1] in self._failed:
                why = self._failed[missing[1]].why
            raise Failure(f"expression '{(shown or expression).strip()}' resulted in error: {why}", why) from None

    def construct(self, expression: str, *returns: str) -> Any:
        """The value of an expression with object literals. Raises Failure, Unanswered."""
        try:
            return self.evaluate(as_maps(expression), *returns, shown=expression)
        except CompileError as error:
            raise Failure(str(error)) from None

    def _compose(self, name: str) -> None:
        expression = self._variables.get(name)
        if expression is None or name in self._known or name in self._failed:
            return
        # Until it has a value it has failed: a variable that mentions itself ends here.
        self._failed[name] = Failure(f"composited variable {name!r} fails to evaluate")
        try:
            self._known[name] = self.evaluate(expression)
            del self._failed[name]
        except Failure as failure:
            self._failed[name] = Failure(f'composited variable "{name}" fails to evaluate: {failure.why}')


def judge(scope: Scope, policy: Policy) -> Outcome:
    """What the validations and audit annotations of a policy say; its match conditions hold already."""
    outcome = Outcome()
    for index, validation in enumerate(policy.spec.get("validations") or ()):
        try:
            holds = scope.evaluate(validation["expression"], BOOL)
        except Failure as failure:
            if policy.fails_open:
                outcome.admitted += 1
            else:
                outcome.denials.append(Denial(str(failure), index=index, error=failure.kind))
            continue
        if holds is True:
            outcome.admitted += 1
        else:
            outcome.denials.append(Denial(_message(scope, validation), validation.get("reason") or "Invalid", index))
    for annotation in policy.spec.get("auditAnnotations") or ():
        try:
            value = scope.evaluate(annotation["valueExpression"], STRING, NULL)
        except Failure as failure:
            if not policy.fails_open:
                outcome.errors.append(str(failure))
            continue
        if isinstance(value, str) and value.strip():
            outcome.annotations.append((annotation["key"], value.strip()))
    return outcome


def _message(scope: Scope, validation: Mapping[str, Any]) -> str:
    if expression := validation.get("messageExpression"):
        try:
            text = scope.evaluate(expression, STRING)
        except Failure:
            text = ""
        text = text.strip() if isinstance(text, str) else ""
        if text and "\n" not in text and len(text.encode()) <= MAX_MESSAGE_BYTES:
            return text
    given = (validation.get("message") or "").strip()
    return given or f"failed expression: {validation['expression'].strip()}"


def conditions_hold(scope: Scope, policy: Policy) -> bool | str:
    """Whether all match conditions of a policy hold; or the message of the failure, if one fails and the policy fails closed."""
    failures = []
    for _, expression in policy.conditions:
        try:
            if scope.evaluate(expression, BOOL) is False:
                return False
        except Failure as failure:
            failures.append(str(failure))
    if not failures:
        return True
    if policy.fails_open:
        return False
    return failures[0] if len(failures) == 1 else f"[{', '.join(failures)}]"
