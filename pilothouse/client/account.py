"""Sending requests as a ServiceAccount, with tokens that another client fetches for it.

Source: upstream's controller manager, `--use-service-account-credentials`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

from pilothouse.api import meta, status
from pilothouse.api.gvr import SERVICE_ACCOUNTS
from pilothouse.api.meta import Object
from pilothouse.client.client import Client
from pilothouse.client.transport import Reply, StreamReply, Transport
from pilothouse.kit.clock import Clock

TOKEN_S = 3600
RENEW_AT = 0.8
"""The part of a token's life after which a new one is fetched."""
UNAUTHORIZED = 401


class AccountTransport:
    """Adds a token of `namespace/name` to every request over `plain`, which must carry no credentials of its own.

    The token is fetched with `root` when it is first needed and again before it expires or when the server does not take it; the
    ServiceAccount is created if it does not exist. `plain` may be shared and is not closed.
    """

    def __init__(self, root: Client, plain: Transport, namespace: str, name: str, clock: Clock) -> None:
        self._root = root
        self._plain = plain
        self._namespace = namespace
        self._name = name
        self._clock = clock
        self._token = ""
        self._renew_at = 0.0
        self._fetching = asyncio.Lock()

    async def request(
        self, method: str, path: str, *, query: Mapping[str, str], headers: Mapping[str, str], body: bytes = b""
    ) -> Reply:
        authorized = await self._authorized(headers)
        reply = await self._plain.request(method, path, query=query, headers=authorized, body=body)
        if reply.status == UNAUTHORIZED:
            # The account was deleted and made anew, or the server's keys were changed.
            self._renew_at = 0.0
            authorized = await self._authorized(headers)
            reply = await self._plain.request(method, path, query=query, headers=authorized, body=body)
        return reply

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> AsyncIterator[StreamReply]:
        authorized = await self._authorized(headers)
        async with self._plain.stream(method, path, query=query, headers=authorized) as reply:
            if reply.status == UNAUTHORIZED:
                self._renew_at = 0.0
            yield reply

    async def close(self) -> None:
        """Nothing is held."""

    async def _authorized(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        async with self._fetching:
            if self._clock.now() >= self._renew_at:
                await self._fetch()
        return {**headers, "authorization": f"Bearer {self._token}"}

    async def _fetch(self) -> None:
        try:
            answer = await self._request_token()
        except status.NotFound:
            account = {"apiVersion": "v1", "kind": "ServiceAccount"}
            metadata = {"name": self._name, "namespace": self._namespace}
            with suppress(status.AlreadyExists):
                await self._root.create(SERVICE_ACCOUNTS, {**account, "metadata": metadata})
            answer = await self._request_token()
        now = self._clock.now()
        self._token = answer["status"]["token"]
        expires = meta.parse_time(answer["status"]["expirationTimestamp"])
        self._renew_at = now + RENEW_AT * (expires - now)

    async def _request_token(self) -> Object:
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": {},
            "spec": {"expirationSeconds": TOKEN_S},
        }
        return await self._root.create(
            SERVICE_ACCOUNTS, request, namespace=self._namespace, name=self._name, subresource="token"
        )


class Accounts:
    """The clients of a namespace's ServiceAccounts, one for each name."""

    def __init__(self, root: Client, plain: Transport, clock: Clock, *, namespace: str = "kube-system") -> None:
        self._root = root
        self._plain = plain
        self._clock = clock
        self._namespace = namespace
        self._clients: dict[str, Client] = {}

    def __call__(self, name: str) -> Client:
        client = self._clients.get(name)
        if client is None:
            transport = AccountTransport(self._root, self._plain, self._namespace, name, self._clock)
            client = self._clients[name] = Client(transport, user_agent=f"{self._root.user_agent}/{name}")
        return client
