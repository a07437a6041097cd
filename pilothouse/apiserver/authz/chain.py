"""The modes of `--authorization-mode`, asked in order until one allows or denies."""

from __future__ import annotations

from collections.abc import Sequence

from pilothouse.api.user import User
from pilothouse.apiserver.authz.always import AlwaysAllow, AlwaysDeny, PrivilegedGroup
from pilothouse.apiserver.authz.attributes import Attributes, Authorizer, Decision, UserRules, Verdict
from pilothouse.apiserver.authz.node import NodeAuthorizer
from pilothouse.apiserver.authz.rbac import Rbac
from pilothouse.apiserver.objects import Objects

DEFAULT_MODES = ("Node", "RBAC")


class Chain:
    """Asks each authorizer in turn. The reasons of those that had no opinion are put together when none decides."""

    def __init__(self, authorizers: Sequence[Authorizer]) -> None:
        self._authorizers = tuple(authorizers)

    def authorize(self, attributes: Attributes) -> Decision:
        reasons = []
        for authorizer in self._authorizers:
            decision = authorizer.authorize(attributes)
            if decision.verdict is not Verdict.NO_OPINION:
                return decision
            if decision.reason:
                reasons.append(decision.reason)
        return Decision(Verdict.NO_OPINION, "\n".join(reasons))

    def rules_for(self, user: User, namespace: str) -> UserRules:
        answers = [authorizer.rules_for(user, namespace) for authorizer in self._authorizers]
        return UserRules(
            [rule for answer in answers for rule in answer.rules],
            all(answer.is_complete for answer in answers),
            ", ".join(answer.error for answer in answers if answer.error),
        )


def build(modes: Sequence[str], objects: Objects) -> tuple[Chain, Rbac | None]:
    """The chain for the names given to `--authorization-mode`, and its RBAC member. Raises ValueError for an unknown name."""
    authorizers: list[Authorizer] = [PrivilegedGroup()]
    rbac = None
    for mode in modes:
        match mode:
            case "Node":
                authorizers.append(NodeAuthorizer(objects))
            case "RBAC":
                rbac = Rbac(objects)
                authorizers.append(rbac)
            case "AlwaysAllow":
                authorizers.append(AlwaysAllow())
            case "AlwaysDeny":
                authorizers.append(AlwaysDeny())
            case _:
                raise ValueError(f"unknown authorization mode {mode!r}; known: AlwaysAllow, AlwaysDeny, Node, RBAC")
    return Chain(authorizers), rbac
