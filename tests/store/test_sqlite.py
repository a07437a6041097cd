"""The store in SQLite: the shared suite, and what only a file can suffer."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from pilothouse.kit.clock import VirtualClock
from pilothouse.store.base import Store
from pilothouse.store.sqlite import SqliteStore
from tests.store.suite import StoreSuite


class TestSqliteStore(StoreSuite):
    @pytest.fixture
    def clock(self) -> VirtualClock:
        return VirtualClock()

    @pytest.fixture
    async def store(self, clock: VirtualClock, tmp_path: Path) -> AsyncIterator[Store]:
        store = await SqliteStore.open(tmp_path / "store.db", clock)
        yield store
        await store.close()

    @pytest.fixture
    def run_with_store(self, tmp_path: Path) -> Callable[[Callable[[Store], Awaitable[None]]], None]:
        numbers = itertools.count()

        async def run(body: Callable[[Store], Awaitable[None]]) -> None:
            store = await SqliteStore.open(tmp_path / f"store-{next(numbers)}.db", VirtualClock())
            try:
                await body(store)
            finally:
                await store.close()

        return lambda body: asyncio.run(run(body))
