"""The front proxy: a trusted proxy says in headers whom it speaks for.

Source: apiserver `pkg/authentication/request/headerrequest`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from pilothouse.api.status import Unauthorized
from pilothouse.api.user import User
from pilothouse.apiserver.authn.x509 import ClientCertificates
from pilothouse.kit.http.fields import values_of
from pilothouse.kit.http.message import Request


@dataclass(frozen=True, slots=True)
class HeaderNames:
    """How the headers are called, as people write them. Of several names of one thing the first that is there counts."""

    user: tuple[str, ...] = ("X-Remote-User",)
    uid: tuple[str, ...] = ("X-Remote-Uid",)
    group: tuple[str, ...] = ("X-Remote-Group",)
    extra_prefix: tuple[str, ...] = ("X-Remote-Extra-",)


STANDARD = HeaderNames()


class RequestHeader:
    """Believes the headers from the bearer of a front-proxy certificate."""

    def __init__(
        self,
        proxies: ClientCertificates,
        *,
        allowed_names: Sequence[str] = ("front-proxy-client",),
        headers: HeaderNames = STANDARD,
    ) -> None:
        """`allowed_names` are the proxies' common names; empty allows every certificate of their authority."""
        self._proxies = proxies
        self._allowed_names = frozenset(allowed_names)
        self._user, self._uid, self._group, self._extra = (
            tuple(name.lower() for name in names)
            for names in (headers.user, headers.uid, headers.group, headers.extra_prefix)
        )

    async def authenticate(self, request: Request) -> User | None:
        fields = request.headers
        name = _first(fields, self._user)
        if not name or request.peer.certificate is None:
            return None
        try:
            proxy = self._proxies.identify(request.peer.certificate, request.peer.chain)
        except Unauthorized:
            return None
        proxy_name = "" if proxy is None else proxy.name
        if self._allowed_names and proxy_name not in self._allowed_names:
            raise Unauthorized(f"x509: subject with cn={proxy_name} is not in the allowed list")
        groups = tuple(value for header in self._group for value in values_of(fields, header) if value)
        return User(name, _first(fields, self._uid), groups, self._extra_of(fields))

    def _extra_of(self, fields: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
        extra: dict[str, tuple[str, ...]] = {}
        for header in fields:
            for prefix in self._extra:
                if header.startswith(prefix):
                    key = unquote(header.removeprefix(prefix))
                    extra[key] = (*extra.get(key, ()), *values_of(fields, header))
        return extra


def _first(fields: Mapping[str, str], names: Sequence[str]) -> str:
    for name in names:
        if value := fields.get(name):
            return value
    return ""
