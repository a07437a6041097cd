"""The shared suite on a real etcd."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from pilothouse.kit.clock import VirtualClock
from pilothouse.store.base import Store
from pilothouse.store.etcd.options import EtcdOptions
from pilothouse.store.etcd.store import EtcdStore
from tests.store.etcd.server import Etcd, needs_etcd
from tests.store.suite import StoreSuite


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    with Etcd(tmp_path_factory.mktemp("etcd")) as etcd:
        yield etcd


@pytest.fixture(scope="module")
def prefixes() -> Iterator[str]:
    """One for every store, so that none sees another's keys."""
    return (f"/test-{number}" for number in itertools.count())


async def opened(etcd: Etcd, prefix: str) -> EtcdStore:
    return await EtcdStore.open(EtcdOptions(etcd.urls, prefix=prefix), VirtualClock(), random.Random(1))


@needs_etcd
@pytest.mark.real
class TestEtcdStore(StoreSuite):
    @pytest.fixture
    async def store(self, etcd: Etcd, prefixes: Iterator[str]) -> AsyncIterator[Store]:
        store = await opened(etcd, next(prefixes))
        yield store
        await store.close()

    @pytest.fixture
    def run_with_store(
        self, etcd: Etcd, prefixes: Iterator[str]
    ) -> Callable[[Callable[[Store], Awaitable[None]]], None]:
        async def run(body: Callable[[Store], Awaitable[None]]) -> None:
            store = await opened(etcd, next(prefixes))
            try:
                await body(store)
            finally:
                await store.close()

        return lambda body: asyncio.run(run(body))
