"""The store in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from pilothouse.kit.clock import VirtualClock
from pilothouse.store.base import Store
from pilothouse.store.memory import MemoryStore
from tests.store.suite import LocalSuite


class TestMemoryStore(LocalSuite):
    @pytest.fixture
    def clock(self) -> VirtualClock:
        return VirtualClock()

    @pytest.fixture
    async def store(self, clock: VirtualClock) -> AsyncIterator[Store]:
        store = MemoryStore(clock, history_writes=10_000)
        yield store
        await store.close()

    @pytest.fixture
    def run_with_store(self) -> Callable[[Callable[[Store], Awaitable[None]]], None]:
        async def run(body: Callable[[Store], Awaitable[None]]) -> None:
            store = MemoryStore(VirtualClock())
            await body(store)
            await store.close()

        return lambda body: asyncio.run(run(body))
