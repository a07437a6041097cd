"""Doing a request as somebody else, for who has the verb `impersonate` on that user, service account, group, uid and extra.

Source: apiserver `pkg/endpoints/filters/impersonation`.
"""

from __future__ import annotations

from urllib.parse import unquote

from pilothouse.api.identities import ANONYMOUS, SYSTEM_AUTHENTICATED, SYSTEM_UNAUTHENTICATED
from pilothouse.api.status import BadRequest
from pilothouse.api.user import User, service_account_groups
from pilothouse.apiserver.authz.attributes import Attributes, Authorizer, forbidden
from pilothouse.kit.http.message import Request

_AUTHENTICATION = "authentication.k8s.io"
_EXTRA = "impersonate-extra-"


class Impersonation:
    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    async def impersonate(self, request: Request, user: User) -> User:
        """Whom the request is done as. Raises BadRequest without a user's name, Forbidden for what `user` may not impersonate."""
        headers = request.headers
        name = headers.get("impersonate-user", "")
        if not name:
            for header in headers:
                if header.startswith("impersonate-"):
                    raise BadRequest("impersonation was requested without impersonating a user name")
            return user
        groups = tuple(_values(headers.get("impersonate-group", "")))
        uid = headers.get("impersonate-uid", "")
        extra: dict[str, tuple[str, ...]] = {}
        for header, value in headers.items():
            if header.startswith(_EXTRA):
                extra[unquote(header.removeprefix(_EXTRA)).lower()] = tuple(_values(value))
        wanted = User(name, uid, groups, extra)
        self._check(user, wanted)
        if not groups and wanted.service_account is not None:
            groups = service_account_groups(wanted.service_account[0])
        return User(name, uid, _with_standing(name, groups), extra)

    def _check(self, user: User, wanted: User) -> None:
        if wanted.service_account is not None:
            namespace, name = wanted.service_account
            self._ask(Attributes(user, "impersonate", "", "v1", "serviceaccounts", namespace=namespace, name=name))
        else:
            self._ask(Attributes(user, "impersonate", "", "v1", "users", name=wanted.name))
        if wanted.uid:
            self._ask(Attributes(user, "impersonate", _AUTHENTICATION, "v1", "uids", name=wanted.uid))
        for group in wanted.groups:
            self._ask(Attributes(user, "impersonate", "", "v1", "groups", name=group))
        for key, values in wanted.extra.items():
            for value in values:
                self._ask(Attributes(user, "impersonate", _AUTHENTICATION, "v1", "userextras", key, name=value))

    def _ask(self, attributes: Attributes) -> None:
        decision = self._authorizer.authorize(attributes)
        if not decision.is_allowed:
            raise forbidden(attributes, decision.reason)


def _with_standing(name: str, groups: tuple[str, ...]) -> tuple[str, ...]:
    """`groups` with system:authenticated or, for the anonymous user, system:unauthenticated."""
    standing = SYSTEM_UNAUTHENTICATED if name == ANONYMOUS else SYSTEM_AUTHENTICATED
    if standing in groups or SYSTEM_UNAUTHENTICATED in groups:
        return groups
    return (*groups, standing)


def _values(joined: str) -> list[str]:
    return [value.strip() for value in joined.split(",") if value.strip()]
