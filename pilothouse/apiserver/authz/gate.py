"""The chain's authorization link: asks the authorizer about a request and refuses what it does not allow."""

from __future__ import annotations

from pilothouse.api.user import User
from pilothouse.apiserver.authz.attributes import Attributes, Authorizer, Verdict, forbidden
from pilothouse.apiserver.errors import FilterFailed
from pilothouse.apiserver.route import RequestInfo

DECISION = "authorization.k8s.io/decision"
REASON = "authorization.k8s.io/reason"


class Gate:
    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer
        self.allowed = self.denied = self.undecided = self.errors = 0
        """How often requests were decided this way."""

    async def authorize(self, user: User, info: RequestInfo, annotations: dict[str, str] | None = None) -> None:
        """Return if `user` may do this. What is decided, and why, becomes `annotations` of the audit log.

        Raises Forbidden, which names user, verb, resource and namespace; FilterFailed if that cannot be told.
        """
        attributes = attributes_of(user, info)
        decision = await self._authorizer.authorize(attributes)
        if decision.verdict is Verdict.ALLOW:
            self.allowed += 1
            if annotations is not None:
                annotations |= {DECISION: "allow", REASON: decision.reason}
            return
        if decision.error:
            self.errors += 1
            if annotations is not None:
                annotations[REASON] = "internal error"
            raise FilterFailed(decision.error)
        if decision.verdict is Verdict.DENY:
            self.denied += 1
        else:
            self.undecided += 1
        if annotations is not None:
            annotations |= {DECISION: "forbid", REASON: decision.reason}
        raise forbidden(attributes, decision.reason)


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
