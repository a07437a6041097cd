"""Leases for keys that expire: one for many keys that expire at about the same time, as upstream shares them.

A key may live a little longer than asked for: by a twentieth, or by the time for which a lease is used again at most.
Source: apiserver `pkg/storage/etcd3/lease_manager.go`.
"""

from __future__ import annotations

import math
from asyncio import Lock
from dataclasses import dataclass

from pilothouse.kit.clock import Clock
from pilothouse.store.etcd.client import EtcdClient
from pilothouse.store.etcd.options import LEASE_REUSE_S

_SHARE = 0.05
_KEYS_PER_LEASE = 1000


@dataclass(slots=True)
class _Lease:
    id: int
    ends: float
    keys: int = 0


class Leases:
    """Gives leases by how long a key is to live."""

    def __init__(self, client: EtcdClient, clock: Clock, *, reuse_s: float = LEASE_REUSE_S) -> None:
        self._client = client
        self._reuse_s = reuse_s
        self._clock = clock
        self._by_ttl: dict[float, _Lease] = {}
        self._granting = Lock()

    async def take(self, ttl_s: float) -> int:
        """The id of a lease that ends in `ttl_s` seconds or a little later. Raises StoreUnavailable."""
        async with self._granting:
            now = self._clock.monotonic()
            lease = self._by_ttl.get(ttl_s)
            if lease is None or now + ttl_s > lease.ends or lease.keys >= _KEYS_PER_LEASE:
                self._by_ttl = {ttl: each for ttl, each in self._by_ttl.items() if each.ends > now}
                lease = self._by_ttl[ttl_s] = await self._grant(ttl_s, now)
            lease.keys += 1
            return lease.id

    async def _grant(self, ttl_s: float, now: float) -> _Lease:
        messages = self._client.messages
        whole_s = math.ceil(ttl_s + min(ttl_s * _SHARE, self._reuse_s))
        # A lease that was granted and is not used expires: trying again does no harm.
        granted = await self._client.read(
            "/etcdserverpb.Lease/LeaseGrant", messages.LeaseGrantRequest(TTL=whole_s), messages.LeaseGrantResponse
        )
        return _Lease(granted.ID, now + whole_s)

    def forget(self, id: int) -> None:
        """A lease that etcd no longer has."""
        self._by_ttl = {ttl: lease for ttl, lease in self._by_ttl.items() if lease.id != id}
