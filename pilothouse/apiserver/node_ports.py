"""Node ports of Services.

A port is taken by creating its key in the store, which can be done once only, whoever else does it at the same moment.
Source: `pkg/registry/core/service/portallocator`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from pilothouse.apiserver.bands import candidates, static_band
from pilothouse.store.base import ABSENT, Revision, Store, WriteConflict

NODE_PORTS_PREFIX = "/registry/ranges/nodeports/"
DEFAULT_NODE_PORTS = range(30000, 32768)


class NodePorts:
    """The ports of one range, each a key in the store while it is taken."""

    def __init__(self, ports: range, store: Store, rng: random.Random) -> None:
        self.ports = ports
        self._store = store
        self._rng = rng

    async def take(self, port: int, owner: str) -> None:
        """Raises ValueError, with upstream's message, if the port is out of range or taken."""
        if port not in self.ports:
            raise ValueError(
                f"provided port is not in the valid range. The range of valid ports is {self.ports[0]}-{self.ports[-1]}"
            )
        try:
            await self._store.put(f"{NODE_PORTS_PREFIX}{port}", owner.encode(), expect=ABSENT)
        except WriteConflict:
            raise ValueError("provided port is already allocated") from None

    async def take_any(self, owner: str) -> int:
        """A free port, from the upper band while it has one. Raises ValueError if the range is full."""
        for port in candidates(self.ports, static_band(len(self.ports), 32, 128), self._rng):
            try:
                await self.take(port, owner)
            except ValueError:
                continue
            return port
        raise ValueError("range is full")

    async def release(self, port: int) -> None:
        try:
            await self._store.delete(f"{NODE_PORTS_PREFIX}{port}")
        except WriteConflict:
            return

    async def revisions(self) -> Mapping[int, Revision]:
        """Every taken port with the revision at which it was taken."""
        page = await self._store.list(NODE_PORTS_PREFIX)
        return {int(entry.key.removeprefix(NODE_PORTS_PREFIX)): entry.mod_revision for entry in page.entries}

    async def taken(self) -> Mapping[int, str]:
        """Every taken port with the `namespace/name` of the Service that took it."""
        page = await self._store.list(NODE_PORTS_PREFIX)
        return {int(entry.key.removeprefix(NODE_PORTS_PREFIX)): entry.value.decode() for entry in page.entries}
