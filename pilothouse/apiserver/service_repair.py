"""Gives back the addresses and node ports that belong to no Service, and takes those that a Service has and nobody took.

A crash between taking one and writing the Service leaves it behind. A Service that is being written, perhaps through another server,
looks the same for a moment: so only what is found unused twice, some time apart and not taken anew in between, is given back.
Source: `pkg/registry/core/service/ipallocator/controller`, `portallocator/controller`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pilothouse.api import gvr
from pilothouse.api.gvr import GVR
from pilothouse.api.status import StatusError
from pilothouse.apiserver.allocate import ServiceLifecycle, addresses_of, key_of, ports_of
from pilothouse.apiserver.registry import Registry
from pilothouse.kit.clock import Clock
from pilothouse.kit.log import get_logger
from pilothouse.store.base import StoreUnavailable

GRACE_S = 15.0
INTERVAL_S = 180.0

_Taken = dict[str | int, object]
"""An address or a port, and what tells apart two times at which it was taken."""


class ServiceRepair:
    """See the module. `run` is background work of the server."""

    def __init__(
        self, lifecycle: ServiceLifecycle, registry_of: Callable[[GVR], Awaitable[Registry]], clock: Clock
    ) -> None:
        self._lifecycle = lifecycle
        self._registry_of = registry_of
        self._clock = clock
        self._unused: _Taken = {}
        self._log = get_logger("pilothouse.apiserver.service_repair")

    async def run(self) -> None:
        """Look soon twice, then every three minutes, until cancelled."""
        delay_s = GRACE_S
        while True:
            try:
                await self.turn()
            except (StatusError, StoreUnavailable, ValueError) as error:
                self._log.warning("addresses and ports of Services could not be looked through", error=str(error))
            await self._clock.sleep(delay_s)
            delay_s = INTERVAL_S

    async def turn(self) -> None:
        """Give back what was unused at the last turn already. Raises StatusError, StoreUnavailable."""
        # What is taken is read before the Services: what was taken meanwhile is then no concern.
        taken = await self._taken()
        services = await self._registry_of(gvr.SERVICES)
        await services.cacher.fresh()
        present = [cached.object() for cached in services.cacher.list().items]
        users: dict[str | int, Mapping[str, Any]] = {}
        for service in present:
            users |= dict.fromkeys((*addresses_of(service), *ports_of(service)), service)
        unused = {each: mark for each, mark in taken.items() if each not in users}
        for each, mark in unused.items():
            if self._unused.get(each) == mark:
                self._log.warning("given back, because no Service uses it", what=each)
                await self._release(each)
        self._unused = unused
        for each in users.keys() - taken.keys():
            await self._take(each, users[each])

    async def _taken(self) -> _Taken:
        addresses = await self._registry_of(gvr.IP_ADDRESSES)
        await addresses.cacher.fresh()
        taken: _Taken = {}
        for cached in addresses.cacher.list().items:
            parent = (cached.object().get("spec") or {}).get("parentRef") or {}
            if parent.get("resource") == "services":
                taken[cached.name] = cached.revision
        for port, revision in (await self._lifecycle.ports.revisions()).items():
            taken[port] = revision
        return taken

    async def _release(self, what: str | int) -> None:
        if isinstance(what, int):
            await self._lifecycle.ports.release(what)
        else:
            await self._lifecycle.addresses.release(what)

    async def _take(self, what: str | int, service: Mapping[str, Any]) -> None:
        """A Service may have been deleted, or its address been taken, since it was read: both are fine."""
        try:
            if not isinstance(what, int):
                await self._lifecycle.addresses.take(what, service)
            elif what in self._lifecycle.ports.ports:
                await self._lifecycle.ports.take(what, key_of(service))
        except ValueError as error:
            self._log.info("not taken for a Service that has it", what=what, service=key_of(service), error=str(error))
