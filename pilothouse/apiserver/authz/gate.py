"""The chain's authorization link: asks the authorizer about a request and refuses what it does not allow."""

from __future__ import annotations

from pilothouse.api.user import User
from pilothouse.apiserver.authz.attributes import Attributes, Authorizer, forbidden
from pilothouse.apiserver.route import RequestInfo


class Gate:
    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    async def authorize(self, user: User, info: RequestInfo) -> None:
        """Return if `user` may do this. Raises Forbidden, which names user, verb, resource and namespace."""
        attributes = attributes_of(user, info)
        decision = self._authorizer.authorize(attributes)
        if not decision.is_allowed:
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
    )
