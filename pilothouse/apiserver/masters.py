"""The endpoints of the `kubernetes` Service where several API servers share a store: the addresses of all that live.

Each server keeps a key with its address that expires unless it is renewed; whoever renews its own writes the addresses of all. A server
that ends removes its key. Source: `pkg/controlplane/reconcilers/lease.go`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from pilothouse.api.status import StatusError
from pilothouse.kit.clock import Clock
from pilothouse.kit.log import get_logger
from pilothouse.store.base import Store, StoreUnavailable, WriteConflict

PREFIX = "/registry/masterleases/"
RENEW_S = 10.0
TTL_S = 15.0
LEAVE_TIMEOUT_S = 2.0

Write = Callable[[Sequence[str]], Awaitable[None]]
"""Makes the endpoints lead to some addresses."""


class Masters:
    """One server's part in it. `run` is background work of the server."""

    def __init__(self, store: Store, address: str, write: Write, clock: Clock) -> None:
        self._store = store
        self._address = address
        self._write = write
        self._clock = clock
        self._log = get_logger("pilothouse.apiserver.masters")

    async def run(self) -> None:
        """Be among the masters until cancelled."""
        try:
            while True:
                await self._clock.sleep(RENEW_S)
                try:
                    await self.turn()
                except (StatusError, StoreUnavailable) as error:
                    self._log.warning("this server could not be renewed among the masters", error=str(error))
        finally:
            await self._leave()

    async def turn(self) -> None:
        """Renew this server's key and write the addresses of all. Raises StatusError, StoreUnavailable."""
        await self._store.put(PREFIX + self._address, b"", ttl_s=TTL_S)
        await self._publish(await self._addresses())

    async def _publish(self, addresses: Sequence[str]) -> None:
        """Write them, and again while others come or go meanwhile: this write may have undone that of one who saw more."""
        while addresses:
            await self._write(addresses)
            if (now := await self._addresses()) == addresses:
                return
            addresses = now

    async def _addresses(self) -> Sequence[str]:
        page = await self._store.list(PREFIX)
        return [entry.key.removeprefix(PREFIX) for entry in page.entries]

    async def _leave(self) -> None:
        """The others find out by themselves in a few seconds if this cannot be done."""
        try:
            async with asyncio.timeout(LEAVE_TIMEOUT_S):
                await self._store.delete(PREFIX + self._address)
                await self._publish(await self._addresses())
        except (StatusError, StoreUnavailable, WriteConflict, TimeoutError) as error:
            self._log.info("this server remains among the masters until its key expires", error=str(error))
