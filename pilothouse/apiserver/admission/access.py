"""What expressions ask of the authorizer, where an answer may take waiting and an evaluation cannot wait.

An evaluation that asks what is not known yet is given up. The questions are asked, and it is begun again with their answers; this is
repeated until nothing is open. Evaluations have no effects, so beginning again changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pilothouse.api.cel.access import AccessAnswer, AccessQuestion
from pilothouse.api.cel.environment import EvaluationError, Program
from pilothouse.api.user import User, authenticated, service_account_groups, service_account_name
from pilothouse.apiserver.authz.attributes import Attributes, Authorizer, Decision

T = TypeVar("T")


class Unanswered(Exception):
    """The evaluation asked what is not known yet."""


class Access:
    """Answers on behalf of `user`, for evaluations of one write."""

    def __init__(self, user: User, authorizer: Authorizer) -> None:
        self._user = user
        self._authorizer = authorizer
        self._answers: dict[Attributes, Decision] = {}
        self._open: list[Attributes] = []

    def evaluate(self, program: Program, values: Mapping[str, Any]) -> Any:
        """The value of an expression. Raises EvaluationError, Unanswered."""
        try:
            value = program.evaluate(values, authorize=self._answer)
        except EvaluationError:
            if not self._open:
                raise
        if self._open:
            raise Unanswered
        return value

    async def settle(self, decide: Callable[[], T]) -> T:
        """What `decide` makes of its evaluations. Raises what it raises but for Unanswered."""
        while True:
            try:
                return decide()
            except Unanswered:
                asked, self._open = self._open, []
                for attributes in asked:
                    self._answers[attributes] = await self._authorizer.authorize(attributes)

    def _answer(self, question: AccessQuestion) -> AccessAnswer:
        attributes = _attributes(self._user, question)
        decision = self._answers.get(attributes) or self._authorizer.at_once(attributes)
        if decision is None:
            self._open.append(attributes)
            return AccessAnswer(False)
        return AccessAnswer(decision.is_allowed, decision.reason, decision.error)


def _attributes(user: User, question: AccessQuestion) -> Attributes:
    if question.service_account is not None:
        namespace, name = question.service_account
        user = authenticated(User(service_account_name(namespace, name), groups=service_account_groups(namespace)))
    if question.path:
        return Attributes(user, question.verb, path=question.path)
    return Attributes(
        user,
        question.verb,
        question.group,
        "*",
        question.resource,
        question.subresource,
        question.namespace,
        question.name,
        field_selector=question.field_selector,
        label_selector=question.label_selector,
    )
