"""The methods of authentication, tried in order until one knows the caller.

A method gives a user, or None where the request carries nothing for it. A credential that is there but bad does not end the search:
another one may be good. Source: apiserver `pkg/authentication/request/union`, `request/anonymous`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pilothouse.api.identities import SYSTEM_AUTHENTICATED
from pilothouse.api.status import Unauthorized
from pilothouse.api.user import User, anonymous, authenticated
from pilothouse.apiserver.authn.attempts import Attempts
from pilothouse.kit.clock import Clock
from pilothouse.kit.http.message import Request


class Method(Protocol):
    async def authenticate(self, request: Request) -> User | None:
        """The user, or None without a credential of this kind. Raises Unauthorized for one that is not accepted."""


class Chain:
    def __init__(
        self,
        methods: Sequence[Method],
        clock: Clock,
        *,
        allow_anonymous: bool = True,
        anonymous_paths: Sequence[str] = (),
    ) -> None:
        """`anonymous_paths` are those that need no credential, where not all do."""
        self._methods = tuple(methods)
        self._anonymous = anonymous() if allow_anonymous else None
        self._anonymous_paths = frozenset(anonymous_paths)
        self._monotonic = clock.monotonic
        self.attempts = Attempts(clock)

    async def authenticate(self, request: Request) -> User:
        """Who the request comes from, in the group system:authenticated, or system:anonymous. Raises Unauthorized.

        Anonymous is only who presents no credential: a bad one is refused.
        """
        began = self._monotonic()
        refused = False
        for method in self._methods:
            try:
                user = await method.authenticate(request)
            except Unauthorized:
                refused = True
                continue
            if user is not None:
                if SYSTEM_AUTHENTICATED not in user.groups:
                    user = authenticated(user)
                self.attempts.succeeded(user, began)
                return user
        if refused:
            self.attempts.failed(began)
        elif self._anonymous is None or (self._anonymous_paths and request.path not in self._anonymous_paths):
            self.attempts.found_nothing(began)
        else:
            self.attempts.succeeded(self._anonymous, began)
            return self._anonymous
        raise Unauthorized("Unauthorized")
