"""The authorizers of a server, asked in order until one allows or denies. Source: apiserver `pkg/authorization/union`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pilothouse.api.status import aggregate
from pilothouse.api.user import User
from pilothouse.apiserver.authz.attributes import Attributes, Decision, Mode, Remote, UserRules, Verdict


class Link(NamedTuple):
    """An authorizer in its place. `type` and `name` are how metrics call it; without a type it is not counted."""

    authorizer: Mode | Remote
    type: str = ""
    name: str = ""


Counts = dict[tuple[str, str, str], int]
"""Decisions by type, name and what they say: `allowed` or `denied`."""


class Chain:
    """Asks each authorizer in turn. The reasons and errors of those that had no opinion are put together when none decides."""

    def __init__(self, links: Sequence[Link]) -> None:
        self.decisions: Counts = {}
        self.replace(links)

    def replace(self, links: Sequence[Link]) -> None:
        """Ask others from now on; requests that are being decided go on with those that they began with."""
        self._links = tuple(links)

    async def authorize(self, attributes: Attributes) -> Decision:
        reasons, errors = [], []
        for link in self._links:
            authorizer = link.authorizer
            if isinstance(authorizer, Remote):
                decision = authorizer.known(attributes) or await authorizer.ask(attributes)
            else:
                decision = authorizer.authorize(attributes)
            if decision.verdict is not Verdict.NO_OPINION:
                return self._counted(link, decision)
            if decision.reason:
                reasons.append(decision.reason)
            if decision.error:
                errors.append(decision.error)
        return Decision(Verdict.NO_OPINION, "\n".join(reasons), aggregate(errors))

    def at_once(self, attributes: Attributes) -> Decision | None:
        """The decision, or None if it takes waiting."""
        reasons, errors = [], []
        for link in self._links:
            authorizer = link.authorizer
            known = authorizer.known if isinstance(authorizer, Remote) else authorizer.authorize
            decision = known(attributes)
            if decision is None:
                return None
            if decision.verdict is not Verdict.NO_OPINION:
                return self._counted(link, decision)
            if decision.reason:
                reasons.append(decision.reason)
            if decision.error:
                errors.append(decision.error)
        return Decision(Verdict.NO_OPINION, "\n".join(reasons), aggregate(errors))

    def rules_for(self, user: User, namespace: str) -> UserRules:
        answers = [link.authorizer.rules_for(user, namespace) for link in self._links]
        return UserRules(
            [rule for answer in answers for rule in answer.rules],
            all(answer.is_complete for answer in answers),
            aggregate([answer.error for answer in answers if answer.error]),
        )

    def _counted(self, link: Link, decision: Decision) -> Decision:
        if link.type:
            said = "allowed" if decision.verdict is Verdict.ALLOW else "denied"
            key = (link.type, link.name, said)
            self.decisions[key] = self.decisions.get(key, 0) + 1
        return decision
