"""The chain's authorization link: asks the authorizer about a request and refuses what it does not allow."""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.api.user import User
from pilothouse.apiserver.authz.attributes import Attributes, Authorizer, Verdict, forbidden
from pilothouse.apiserver.errors import FilterFailed
from pilothouse.apiserver.route import RequestInfo
from pilothouse.kit.clock import Clock
from pilothouse.kit.metrics import Family, Histogram, exponential, labelled

DECISION = "authorization.k8s.io/decision"
REASON = "authorization.k8s.io/reason"
DURATIONS_S = exponential(0.001, 2, 15)


class Gate:
    def __init__(self, authorizer: Authorizer, clock: Clock) -> None:
        self._authorizer = authorizer
        self._monotonic = clock.monotonic
        self.results = {result: Histogram(DURATIONS_S) for result in ("allowed", "denied", "no-opinion", "error")}
        """How long requests took that were decided this way."""
        self._allowed = self.results["allowed"].observe

    async def authorize(self, user: User, info: RequestInfo, annotations: dict[str, str] | None = None) -> None:
        """Return if `user` may do this. What is decided, and why, becomes `annotations` of the audit log.

        Raises Forbidden, which names user, verb, resource and namespace; FilterFailed if that cannot be told.
        """
        attributes = attributes_of(user, info)
        began = self._monotonic()
        decision = await self._authorizer.authorize(attributes)
        if decision.verdict is Verdict.ALLOW:
            self._allowed(self._monotonic() - began)
            if annotations is not None:
                annotations |= {DECISION: "allow", REASON: decision.reason}
            return
        denied = "denied" if decision.verdict is Verdict.DENY else "no-opinion"
        self.results["error" if decision.error else denied].observe(self._monotonic() - began)
        if decision.error:
            if annotations is not None:
                annotations[REASON] = "internal error"
            raise FilterFailed(decision.error)
        if annotations is not None:
            annotations |= {DECISION: "forbid", REASON: decision.reason}
        raise forbidden(attributes, decision.reason)

    def families(self) -> Iterable[Family]:
        """For `/metrics`."""
        results = {(result,): seconds for result, seconds in self.results.items() if seconds.count}
        yield labelled(
            "authorization_attempts_total",
            "counter",
            "[ALPHA] Counter of authorization attempts broken down by result. It can be either 'allowed', 'denied', 'no-opinion' "
            "or 'error'.",
            ("result",),
            results,
        )
        yield labelled(
            "authorization_duration_seconds",
            "histogram",
            "[ALPHA] Authorization duration in seconds broken out by result.",
            ("result",),
            results,
        )


def attributes_of(user: User, info: RequestInfo) -> Attributes:
    if not info.is_resource:
        return Attributes(user, info.verb, path=info.path)
    return Attributes(
        user,
        info.verb,
        info.api_group,
        info.api_version,
        info.resource,
        info.subresource,
        info.namespace,
        info.name,
        "",
        info.field_selector,
        info.label_selector,
    )
