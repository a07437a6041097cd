"""The authorizers of a server, asked in order until one allows or denies. Source: apiserver `pkg/authorization/union`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pilothouse.api.status import aggregate
from pilothouse.api.user import User
from pilothouse.apiserver.authz.attributes import NO_OPINION, Attributes, Decision, Mode, Remote, UserRules, Verdict
from pilothouse.kit.metrics import Family, labelled

_NO_OPINION = Verdict.NO_OPINION


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
        # Told apart once: asking a class about its abstract ancestors for every request takes longer than deciding.
        self._steps = tuple(
            (link.authorizer.known if isinstance(link.authorizer, Remote) else link.authorizer.authorize, link)
            for link in links
        )

    async def authorize(self, attributes: Attributes) -> Decision:
        passed: list[Decision] = []
        for know, link in self._steps:
            decision = know(attributes)
            if decision is None:
                assert isinstance(link.authorizer, Remote)
                decision = await link.authorizer.ask(attributes)
            if decision.verdict is not _NO_OPINION:
                return self._counted(link, decision)
            if decision.reason or decision.error:
                passed.append(decision)
        return _together(passed)

    def at_once(self, attributes: Attributes) -> Decision | None:
        """The decision, or None if it takes waiting."""
        passed: list[Decision] = []
        for know, link in self._steps:
            decision = know(attributes)
            if decision is None:
                return None
            if decision.verdict is not _NO_OPINION:
                return self._counted(link, decision)
            if decision.reason or decision.error:
                passed.append(decision)
        return _together(passed)

    def rules_for(self, user: User, namespace: str) -> UserRules:
        answers = [link.authorizer.rules_for(user, namespace) for link in self._links]
        return UserRules(
            [rule for answer in answers for rule in answer.rules],
            all(answer.is_complete for answer in answers),
            aggregate([answer.error for answer in answers if answer.error]),
        )

    def families(self) -> Iterable[Family]:
        """For `/metrics`."""
        yield labelled(
            "apiserver_authorization_decisions_total",
            "counter",
            "[ALPHA] Total number of terminal decisions made by an authorizer split by authorizer type, name, and decision.",
            ("type", "name", "decision"),
            self.decisions,
        )

    def _counted(self, link: Link, decision: Decision) -> Decision:
        if link.type:
            key = link.type, link.name, "allowed" if decision.verdict is Verdict.ALLOW else "denied"
            self.decisions[key] = self.decisions.get(key, 0) + 1
        return decision


def _together(passed: Sequence[Decision]) -> Decision:
    """What those say that had no opinion."""
    if not passed:
        return NO_OPINION
    reasons = "\n".join(decision.reason for decision in passed if decision.reason)
    return Decision(Verdict.NO_OPINION, reasons, aggregate(decision.error for decision in passed if decision.error))
