"""A store whose calls are counted and timed, under the names that upstream gives to its calls of etcd.

Source: apiserver `pkg/storage/etcd3/metrics`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from pathlib import Path

from pilothouse.kit.clock import Clock
from pilothouse.kit.metrics import Family, add_histogram
from pilothouse.store.base import ABSENT, Change, Deliver, Entry, Feed, Page, Restart, Revision, Store, StoreUnavailable

_BUCKETS_S = (
    *(0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0),
    *(3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0),
)
_KEY_PARTS = 4


class _Calls:
    __slots__ = ("buckets", "errors", "seconds")

    def __init__(self) -> None:
        self.buckets = [0] * (len(_BUCKETS_S) + 1)
        self.seconds = 0.0
        self.errors = 0


class StoreCalls:
    """The calls of all stores of a server. `size_bytes` tells how large the file of the first is, where it has one."""

    def __init__(self, clock: Clock, size_bytes: Callable[[], int] | None = None) -> None:
        self.now = clock.monotonic
        self._size_bytes = size_bytes
        self._calls: dict[tuple[str, str, str], _Calls] = {}

    def note(self, operation: str, key: str, began: float, *, has_failed: bool = False) -> None:
        """A call that `began` then is over."""
        parts = key.split("/", _KEY_PARTS)
        label = (operation, parts[2], parts[3]) if len(parts) > _KEY_PARTS - 1 else (operation, "", "")
        calls = self._calls.get(label)
        if calls is None:
            calls = self._calls[label] = _Calls()
        seconds = self.now() - began
        calls.buckets[bisect_left(_BUCKETS_S, seconds)] += 1
        calls.seconds += seconds
        calls.errors += has_failed

    def families(self) -> Iterable[Family]:
        """For `/metrics`."""
        latency = Family(
            "etcd_request_duration_seconds",
            "histogram",
            "[ALPHA] Etcd request latency in seconds for each operation and object type.",
        )
        counts = Family(
            "etcd_requests_total", "counter", "[ALPHA] Etcd request counts for each operation and object type."
        )
        errors = Family(
            "etcd_request_errors_total",
            "counter",
            "[ALPHA] Etcd failed request counts for each operation and object type.",
        )
        for (operation, group, resource), calls in self._calls.items():
            labels = {"group": "" if group == "core" else group, "operation": operation, "resource": resource}
            add_histogram(latency, _BUCKETS_S, calls.buckets, calls.seconds, labels)
            counts.add(sum(calls.buckets), labels)
            if calls.errors:
                errors.add(calls.errors, labels)
        yield from (latency, counts, errors)
        if self._size_bytes is not None:
            size = Family(
                "apiserver_storage_size_bytes",
                "gauge",
                "[STABLE] Size of the storage database file physically allocated in bytes.",
            )
            yield size.add(self._size_bytes(), {"storage_cluster_id": "etcd-0"})


class MeasuredStore:
    """Passes everything on to `store`, and tells `calls`."""

    def __init__(self, store: Store, calls: StoreCalls) -> None:
        self._store = store
        self._calls = calls

    async def revision(self) -> Revision:
        return await self._store.revision()

    async def get(self, key: str) -> Entry | None:
        began = self._calls.now()
        try:
            entry = await self._store.get(key)
        except StoreUnavailable:
            self._calls.note("get", key, began, has_failed=True)
            raise
        self._calls.note("get", key, began)
        return entry

    async def list(self, prefix: str, *, after: str = "", limit: int = 0, at: Revision | None = None) -> Page:
        began = self._calls.now()
        try:
            page = await self._store.list(prefix, after=after, limit=limit, at=at)
        except StoreUnavailable:
            self._calls.note("list", prefix, began, has_failed=True)
            raise
        self._calls.note("list", prefix, began)
        return page

    async def put(
        self, key: str, value: bytes, *, expect: Revision | None = None, ttl_s: float | None = None
    ) -> Revision:
        operation = "create" if expect == ABSENT else "update"
        began = self._calls.now()
        try:
            revision = await self._store.put(key, value, expect=expect, ttl_s=ttl_s)
        except StoreUnavailable:
            self._calls.note(operation, key, began, has_failed=True)
            raise
        self._calls.note(operation, key, began)
        return revision

    async def delete(self, key: str, *, expect: Revision | None = None) -> Revision:
        began = self._calls.now()
        try:
            revision = await self._store.delete(key, expect=expect)
        except StoreUnavailable:
            self._calls.note("delete", key, began, has_failed=True)
            raise
        self._calls.note("delete", key, began)
        return revision

    async def follow(self, prefix: str, deliver: Deliver, *, after: Revision, restart: Restart | None = None) -> Feed:
        return await self._store.follow(prefix, deliver, after=after, restart=restart)

    def watch(self, prefix: str, *, after: Revision) -> AsyncGenerator[Sequence[Change], None]:
        return self._store.watch(prefix, after=after)

    async def compact(self, before: Revision) -> None:
        await self._store.compact(before)

    async def close(self) -> None:
        await self._store.close()


def size_of(file: Path) -> int:
    """How large a database is with what is not yet written into it; 0 where it cannot be told."""
    total = 0
    for path in (file, file.with_name(f"{file.name}-wal")):
        try:
            total += path.stat().st_size
        except OSError:
            continue
    return total
