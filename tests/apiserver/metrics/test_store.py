"""A store that is measured is the same store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pilothouse.apiserver.metrics.store import MeasuredStore, StoreCalls, size_of
from pilothouse.kit.clock import VirtualClock
from pilothouse.kit.metrics import render
from pilothouse.store.base import ABSENT, Revision, StoreUnavailable, WriteConflict
from pilothouse.store.memory import MemoryStore

KEY = "/registry/apps/deployments/ns/d"


class Broken(MemoryStore):
    async def put(self, key: str, value: bytes, **arguments: Any) -> Revision:
        raise StoreUnavailable("the disk is full")


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


async def test_calls_are_counted_by_what_they_do_and_to_what(clock: VirtualClock) -> None:
    calls = StoreCalls(clock, lambda: 4096)
    store = MeasuredStore(MemoryStore(clock), calls)
    revision = await store.put(KEY, b"1", expect=ABSENT)
    await store.put(KEY, b"2", expect=revision)
    entry = await store.get(KEY)
    assert entry is not None
    assert entry.value == b"2"
    assert [each.key for each in (await store.list("/registry/apps/deployments/")).entries] == [KEY]
    with pytest.raises(WriteConflict):
        await store.delete(KEY, expect=revision)
    assert await store.delete(KEY) == await store.revision()
    await store.put("/registry/core/pods/ns/p", b"3", expect=ABSENT)
    text = render(calls.families()).decode()
    for operation, count in (("create", 1), ("update", 1), ("get", 1), ("list", 1), ("delete", 1)):
        labels = f'{{group="apps",operation="{operation}",resource="deployments"}}'
        assert f"etcd_requests_total{labels} {count}" in text
        assert f"etcd_request_duration_seconds_count{labels} {count}" in text
    assert 'etcd_requests_total{group="",operation="create",resource="pods"} 1' in text
    assert "errors" not in text
    assert 'apiserver_storage_size_bytes{storage_cluster_id="etcd-0"} 4096' in text


async def test_failures_are_counted_and_passed_on(clock: VirtualClock) -> None:
    calls = StoreCalls(clock)
    store = MeasuredStore(Broken(clock), calls)
    with pytest.raises(StoreUnavailable, match="the disk is full"):
        await store.put(KEY, b"1", expect=ABSENT)
    text = render(calls.families()).decode()
    assert 'etcd_request_errors_total{group="apps",operation="create",resource="deployments"} 1' in text
    assert "apiserver_storage_size_bytes" not in text


def test_the_size_is_that_of_the_file_and_its_log(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    assert size_of(file) == 0
    file.write_bytes(b"a" * 10)
    (tmp_path / "state.db-wal").write_bytes(b"a" * 5)
    assert size_of(file) == 15
