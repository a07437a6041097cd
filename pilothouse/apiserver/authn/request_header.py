"""The front proxy: a trusted proxy says in headers whom it speaks for.

Source: apiserver `pkg/authentication/request/headerrequest`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import unquote

from pilothouse.api.status import Unauthorized
from pilothouse.api.user import User
from pilothouse.apiserver.authn.x509 import ClientCertificates
from pilothouse.kit.http.fields import values_of
from pilothouse.kit.http.message import Request


class RequestHeader:
    """Believes `X-Remote-User`, `X-Remote-Group` and `X-Remote-Extra-*` from the bearer of a front-proxy certificate.

    A header may be sent several times; a comma in one is part of its value.
    """

    def __init__(self, proxies: ClientCertificates, *, allowed_names: Sequence[str] = ("front-proxy-client",)) -> None:
        """`allowed_names` are the proxies' common names; empty allows every certificate of their authority."""
        self._proxies = proxies
        self._allowed_names = frozenset(allowed_names)

    async def authenticate(self, request: Request) -> User | None:
        name = request.headers.get("x-remote-user", "")
        if not name or request.peer.certificate is None:
            return None
        try:
            proxy = self._proxies.identify(request.peer.certificate)
        except Unauthorized:
            return None
        if self._allowed_names and proxy.name not in self._allowed_names:
            raise Unauthorized(f"x509: subject with cn={proxy.name} is not in the allowed list")
        extra = {
            unquote(header.removeprefix("x-remote-extra-")): tuple(_values(request.headers, header))
            for header in request.headers
            if header.startswith("x-remote-extra-")
        }
        groups = tuple(_values(request.headers, "x-remote-group"))
        return User(name, request.headers.get("x-remote-uid", ""), groups, extra)


def _values(headers: Mapping[str, str], name: str) -> list[str]:
    return [value for value in values_of(headers, name) if value]
