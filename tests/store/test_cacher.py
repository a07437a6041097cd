"""The watch cache over a store in memory."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.api import field_selector, selector, status
from pilothouse.api.meta import Object
from pilothouse.kit.clock import VirtualClock
from pilothouse.store.base import ABSENT, Deliver, Entry, Feed, Page, Restart, Revision
from pilothouse.store.cached import Cached
from pilothouse.store.cacher import Cacher
from pilothouse.store.cachers import Cachers
from pilothouse.store.local import LocalStore
from pilothouse.store.memory import MemoryStore
from pilothouse.store.ring import MAX_EVENTS, MOST_BYTES
from pilothouse.store.sqlite import SqliteStore
from pilothouse.store.watcher import QUEUE_BYTES, QUEUE_EVENTS, Watcher
from tests.store.objects import NODE, POD, pod, pod_key


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def store(clock: VirtualClock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture
async def cacher(store: MemoryStore, clock: VirtualClock) -> Cacher:
    return await Cacher.open(store, POD, clock)


async def write(store: LocalStore, namespace: str, name: str, **parts: Any) -> Revision:
    return await store.put(pod_key(namespace, name), pod(namespace, name, **parts))


def names(items: Iterable[Cached]) -> list[str]:
    return [f"{cached.namespace}/{cached.name}" for cached in items]


def ready(watcher: Watcher) -> list[Object]:
    """The events that a watcher can give without waiting."""
    lines: list[bytes] = []
    while True:
        batch = watcher.batch()
        try:
            batch.send(None)  # type: ignore[attr-defined]
        except StopIteration as stop:
            if not stop.value:
                break
            lines += stop.value
        else:
            batch.close()  # type: ignore[attr-defined]
            break
    return [orjson.loads(line) for line in lines]


def told(events: Iterable[Object]) -> list[tuple[str, str, str]]:
    return [
        (event["type"], event["object"]["metadata"].get("name", ""), event["object"]["metadata"]["resourceVersion"])
        for event in events
    ]


# Refusals


async def test_fields_that_cannot_be_selected_by_are_refused(cacher: Cacher) -> None:
    fields = field_selector.parse_fields("spec.color=red")
    with pytest.raises(status.BadRequest, match=r"field label not supported: spec\.color"):
        cacher.list(fields=fields)
    with pytest.raises(status.BadRequest):
        await cacher.watch(fields=fields)


async def test_a_watch_from_before_the_ring_is_refused(store: MemoryStore, clock: VirtualClock) -> None:
    first = await write(store, "x", "a")
    second = await write(store, "x", "a")
    await store.compact(second)
    cacher = await Cacher.open(store, POD, clock)
    with pytest.raises(status.Expired) as error:
        await cacher.watch(after=first)
    assert error.value.message == f"too old resource version: {first} ({second})"
    assert ready(await cacher.watch(after=second)) == []
    for number in range(MAX_EVENTS + 10):
        await write(store, "x", "a", text=str(number))
    with pytest.raises(status.Expired) as error:
        await cacher.watch(after=second)
    assert error.value.message == f"too old resource version: {second} ({second + 10})"
    assert len(ready(await cacher.watch(after=Revision(second + 10)))) == MAX_EVENTS


async def test_the_ring_is_bounded_in_bytes(store: MemoryStore, cacher: Cacher) -> None:
    first = await write(store, "x", "a")
    for _ in range(150):
        await write(store, "x", "a", text="x" * 500_000)
    with pytest.raises(status.Expired):
        await cacher.watch(after=first)
    assert len(ready(await cacher.watch(after=Revision(cacher.revision - 99)))) == 99
    for _ in range(110):
        await write(store, "x", "a", text="x" * 1_000_000)
    kept = MOST_BYTES // 1_000_000 - 1
    assert len(ready(await cacher.watch(after=Revision(cacher.revision - kept)))) == kept
    with pytest.raises(status.Expired):
        await cacher.watch(after=Revision(cacher.revision - 99))


async def test_the_ring_forgets_what_is_old_but_for_the_last_events(
    store: MemoryStore, cacher: Cacher, clock: VirtualClock
) -> None:
    for _ in range(300):
        await write(store, "x", "a")
    watcher = await cacher.watch(bookmarks=True)
    await clock.advance(200)
    assert len(ready(await cacher.watch(after=Revision(cacher.revision - 200)))) == 200
    await clock.advance(300)
    await watcher.aclose()
    with pytest.raises(status.Expired):
        await cacher.watch(after=Revision(cacher.revision - 101))
    assert len(ready(await cacher.watch(after=Revision(cacher.revision - 100)))) == 100


async def test_a_future_revision_is_waited_for_and_then_refused(
    store: MemoryStore, cacher: Cacher, clock: VirtualClock
) -> None:
    await write(store, "x", "a")
    async with asyncio.TaskGroup() as tasks:
        reached = tasks.create_task(cacher.list_at(Revision(cacher.revision + 1)))
        await clock.advance(1)
        assert not reached.done()
        await write(store, "x", "b")
        await clock.advance(1)
    assert names(reached.result().items) == ["x/a", "x/b"]
    waiting = asyncio.ensure_future(cacher.reach(Revision(cacher.revision + 1)))
    await clock.advance(4)
    with pytest.raises(status.Timeout) as error:
        await waiting
    assert (
        error.value.message == f"Timeout: Too large resource version: {cacher.revision + 1}, current: {cacher.revision}"
    )
    assert error.value.to_object()["details"] == {
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }


async def test_a_slow_watcher_is_cut_off_and_the_others_go_on(store: MemoryStore, cacher: Cacher) -> None:
    slow, quick = await cacher.watch(), await cacher.watch()
    seen = 0
    for number in range(QUEUE_EVENTS + 10):
        await write(store, "x", "a", text=str(number))
        seen += len(ready(quick))
    assert seen == QUEUE_EVENTS + 10
    assert sum([len(chunk.splitlines()) async for chunk in slow]) == QUEUE_EVENTS
    assert await slow.batch() == ()


async def test_a_slow_watcher_of_large_objects_is_cut_off_by_their_size(store: MemoryStore, cacher: Cacher) -> None:
    text = "x" * 1_000_000
    slow, fast = [await cacher.watch(after=cacher.revision) for _ in range(2)]
    for number in range(QUEUE_BYTES // len(text) + 2):
        await store.put(pod_key("a", "p"), pod("a", "p", text=f"{number}{text}"))
        assert len(await fast.batch()) == 1
    got = 0
    while lines := await slow.batch():
        got += len(b"".join(lines))
    assert QUEUE_BYTES <= got < QUEUE_BYTES + 2 * len(text)
    assert len(cacher._audience) == 1
    fast.close()


async def test_a_value_that_is_no_object_counts_as_not_there(store: MemoryStore, cacher: Cacher) -> None:
    await write(store, "x", "a")
    watcher = await cacher.watch(send_initial_events=False)
    for value in (b"", b"{}", b"\xff"):
        revision = await store.put(pod_key("x", "a"), value)
    assert cacher.get("x", "a") is None
    assert [event["type"] for event in ready(watcher)] == ["DELETED"]
    assert len(await Cacher.open(store, POD, VirtualClock())) == 0
    await write(store, "x", "a")
    assert cacher.revision == revision + 1
    assert names(cacher.list().items) == ["x/a"]


async def test_a_failing_subscriber_does_not_disturb_the_others(store: MemoryStore, cacher: Cacher) -> None:
    def fail(old: Cached | None, new: Cached | None) -> None:
        raise RuntimeError("subscriber")

    seen: list[str] = []
    cacher.subscribe(fail)
    cacher.subscribe(lambda old, new: seen.append((new or old).name))  # type: ignore[union-attr]
    await write(store, "x", "a")
    assert seen == ["a"]


# Reads


async def test_what_was_written_is_read_at_once(store: MemoryStore, cacher: Cacher) -> None:
    revision = await write(store, "x", "a", labels={"app": "web"})
    cached = cacher.get("x", "a")
    assert cached is not None
    assert (cached.revision, cached.labels, cacher.revision, len(cacher)) == (revision, {"app": "web"}, revision, 1)
    deletion = await store.delete(pod_key("x", "a"), expect=revision)
    assert (cacher.get("x", "a"), cacher.revision, len(cacher)) == (None, deletion, 0)


async def test_the_revision_is_that_of_the_whole_store(store: MemoryStore, cacher: Cacher) -> None:
    revision = await store.put("/registry/core/nodes/n1", b'{"kind":"Node","apiVersion":"v1","metadata":{"name":"n1"}}')
    assert cacher.revision == revision
    assert cacher.list().revision == revision


async def test_lists_are_in_key_order(store: MemoryStore, cacher: Cacher) -> None:
    for namespace, name in (("b", "a"), ("a", "z"), ("a-b", "c"), ("a", "b")):
        await write(store, namespace, name)
    assert names(cacher.list().items) == ["a-b/c", "a/b", "a/z", "b/a"]
    assert names(cacher.list("a").items) == ["a/b", "a/z"]
    assert names(cacher.list("none").items) == []
    assert orjson.loads(b"[%b]" % cacher.list("a").body())[1]["metadata"]["name"] == "z"


async def test_pages(store: MemoryStore, cacher: Cacher) -> None:
    for namespace in ("a", "a-b", "b"):
        for name in ("1", "2"):
            await write(store, namespace, name, labels={"n": name})
    listing = cacher.list(limit=3)
    assert (names(listing.items), listing.has_more, listing.remaining) == (["a-b/1", "a-b/2", "a/1"], True, 3)
    listing = cacher.list(limit=3, after="a/1")
    assert (names(listing.items), listing.has_more, listing.remaining) == (["a/2", "b/1", "b/2"], False, None)
    listing = cacher.list("b", limit=1, after="a/1")
    assert (names(listing.items), listing.remaining) == (["b/1"], 1)
    assert names(cacher.list("a", after="a/1").items) == ["a/2"]
    assert names(cacher.list("a", after="b/1").items) == []
    two = selector.parse_labels("n=2")
    listing = cacher.list(labels=two, limit=2)
    assert (names(listing.items), listing.has_more, listing.remaining) == (["a-b/2", "a/2"], True, None)
    assert cacher.list(labels=two, limit=3).has_more is False


async def test_cluster_scoped_resources(store: MemoryStore, clock: VirtualClock) -> None:
    cacher = await Cacher.open(store, NODE, clock)
    for name in ("n2", "n1", "n3"):
        value = b'{"kind":"Node","apiVersion":"v1","metadata":{"name":"%b"}}' % name.encode()
        await store.put(f"/registry/core/nodes/{name}", value)
    assert names(cacher.list(after="n1", limit=1).items) == ["/n2"]
    watcher = await cacher.watch(fields=field_selector.parse_fields("metadata.name=n2"), send_initial_events=False)
    await store.delete("/registry/core/nodes/n2")
    assert told(ready(watcher)) == [("DELETED", "n2", str(cacher.revision))]


@pytest.mark.parametrize("count", [5, 300])
async def test_selectors_scanned_and_indexed(store: MemoryStore, cacher: Cacher, count: int) -> None:
    for number in range(count):
        await write(store, "x", f"p{number:03}", labels={"mod": str(number % 5)}, node=f"n{number % 3}")

    def numbers(labels: str, fields: str = "") -> list[int]:
        listing = cacher.list(labels=selector.parse_labels(labels), fields=field_selector.parse_fields(fields))
        return [int(cached.name[1:]) for cached in listing.items]

    def expected(accepts: Callable[[int], bool]) -> list[int]:
        return [number for number in range(count) if accepts(number)]

    assert numbers("mod=2") == expected(lambda n: n % 5 == 2)
    assert names(cacher.list("y", labels=selector.parse_labels("mod=2")).items) == []
    listing = cacher.list("x", labels=selector.parse_labels("mod=2"), after="x/p002")
    assert [int(cached.name[1:]) for cached in listing.items] == expected(lambda n: n % 5 == 2)[1:]
    assert numbers("mod=2,mod!=2") == []
    assert numbers("", "spec.nodeName=n1") == expected(lambda n: n % 3 == 1)
    assert numbers("mod in (1,2)") == expected(lambda n: n % 5 in (1, 2))
    assert numbers("mod!=2") == expected(lambda n: n % 5 != 2)
    assert numbers("mod=2", "spec.nodeName=n1") == expected(lambda n: n % 5 == 2 and n % 3 == 1)
    assert numbers("", "spec.nodeName!=n1") == expected(lambda n: n % 3 != 1)
    assert numbers("", "metadata.name=p003,spec.nodeName=n0") == [3]
    assert numbers("", "metadata.namespace=y") == []
    await write(store, "x", "p002", labels={"mod": "9"}, node="n9")
    await store.delete(pod_key("x", "p000"))
    assert numbers("mod=2") == expected(lambda n: n % 5 == 2 and n != 2)
    assert numbers("", "spec.nodeName=n0") == expected(lambda n: n % 3 == 0 and n != 0)
    assert numbers("mod=9") == [2]


@pytest.mark.parametrize("is_in_ring", [True, False])
async def test_an_earlier_revision_is_listed_from_the_ring_or_the_store(
    store: MemoryStore, clock: VirtualClock, is_in_ring: bool
) -> None:
    await write(store, "x", "a", labels={"v": "1"})
    old = await write(store, "x", "b")
    await write(store, "x", "a", labels={"v": "2"})
    await write(store, "w", "c")
    await store.delete(pod_key("x", "b"))
    if not is_in_ring:
        for _ in range(1000):
            await store.put("/registry/core/nodes/n", b"")
    cacher = await Cacher.open(store, POD, clock)
    await write(store, "x", "a", labels={"v": "3"})
    listing = await cacher.list_at(old, limit=1)
    assert (names(listing.items), listing.remaining, listing.revision) == (["x/a"], 1, old)
    assert names((await cacher.list_at(old, labels=selector.parse_labels("v=1"))).items) == ["x/a"]
    assert names((await cacher.list_at(old, "x", after="x/a")).items) == ["x/b"]
    assert names((await cacher.list_at(old, "y")).items) == []
    await store.compact(cacher.revision)
    with pytest.raises(status.Expired, match="The resourceVersion for the provided list is too old"):
        await cacher.list_at(old)


@pytest.mark.parametrize("is_in_ring", [True, False])
@pytest.mark.parametrize("seed", range(8))
async def test_pages_of_the_past_are_those_of_the_list_then(
    store: MemoryStore, cacher: Cacher, clock: VirtualClock, seed: int, is_in_ring: bool
) -> None:
    """However much came, changed and went since, pages of one revision make up the list that it was."""
    rng = random.Random(seed)
    then: dict[Revision, list[Cached]] = {}
    for _ in range(60):
        for _ in range(rng.randrange(4)):
            namespace, name = rng.choice("xyz"), rng.choice("abcdef")
            if cacher.get(namespace, name) is not None and rng.random() < 0.4:
                await store.delete(pod_key(namespace, name))
            else:
                await write(store, namespace, name, labels={"odd": rng.choice(("yes", "no"))})
        then[cacher.revision] = list(cacher.list().items)
    if not is_in_ring:
        for _ in range(1000):
            await store.put("/registry/core/nodes/n", b"")
        cacher = await Cacher.open(store, POD, clock)
    odd = selector.parse_labels("odd=yes")
    for revision in rng.sample(sorted(then), 10):
        for namespace, labels in (("", None), ("y", None), ("", odd), ("z", odd)):
            wanted = [
                cached
                for cached in then[revision]
                if namespace in ("", cached.namespace) and (labels is None or labels.matches(cached.labels))
            ]
            found, after = [], ""
            while True:
                page = await cacher.list_at(revision, namespace, labels=labels, after=after, limit=rng.randrange(1, 5))
                found += page.items
                left = len(wanted) - len(found)
                assert (page.revision, page.has_more) == (revision, left > 0)
                assert page.remaining == (left if left and labels is None else None)
                if not page.has_more:
                    break
                after = page.items[-1].key.removeprefix(cacher.prefix)
            assert [(cached.key, cached.revision) for cached in found] == [
                (cached.key, cached.revision) for cached in wanted
            ]


async def test_a_new_cacher_knows_the_recent_past(store: MemoryStore, clock: VirtualClock) -> None:
    first = await write(store, "x", "a")
    second = await write(store, "x", "a", text="2")
    third = await store.delete(pod_key("x", "a"))
    cacher = await Cacher.open(store, POD, clock)
    assert len(cacher) == 0
    assert told(ready(await cacher.watch(after=first))) == [
        ("MODIFIED", "a", str(second)),
        ("DELETED", "a", str(third)),
    ]


# Watches


async def test_a_watch_without_revision_begins_with_what_there_is(store: MemoryStore, cacher: Cacher) -> None:
    first = await write(store, "x", "a")
    for after in (None, ABSENT):
        watcher = await cacher.watch(after=after)
        assert told(ready(watcher)) == [("ADDED", "a", str(first))]
    second = await write(store, "x", "b")
    assert told(ready(watcher)) == [("ADDED", "b", str(second))]
    assert ready(await cacher.watch(send_initial_events=False)) == []


async def test_a_watch_replays_what_happened_after_a_revision(store: MemoryStore, cacher: Cacher) -> None:
    first = await write(store, "x", "a")
    second = await write(store, "x", "a", text="2")
    third = await store.delete(pod_key("x", "a"))
    watcher = await cacher.watch(after=first)
    fourth = await write(store, "y", "a")
    assert told(ready(watcher)) == [
        ("MODIFIED", "a", str(second)),
        ("DELETED", "a", str(third)),
        ("ADDED", "a", str(fourth)),
    ]
    deleted = ready(await cacher.watch(after=second))[0]
    assert deleted["object"]["status"] == {"message": "2"}


async def test_an_object_that_stops_matching_is_deleted_with_its_old_state(store: MemoryStore, cacher: Cacher) -> None:
    watcher = await cacher.watch("x", labels=selector.parse_labels("app=web"))
    first = await write(store, "x", "a", labels={"app": "web"}, text="old")
    second = await write(store, "x", "a", labels={"app": "db"}, text="new")
    await write(store, "x", "a", labels={"app": "db"}, text="newer")
    third = await write(store, "x", "a", labels={"app": "web"})
    await write(store, "y", "b", labels={"app": "web"})
    events = ready(watcher)
    assert told(events) == [("ADDED", "a", str(first)), ("DELETED", "a", str(second)), ("ADDED", "a", str(third))]
    assert events[1]["object"]["status"] == {"message": "old"}
    assert told(ready(await cacher.watch("x", after=first, labels=selector.parse_labels("app=web")))) == told(
        events[1:]
    )


async def test_watchers_of_one_field_value_hear_only_of_theirs(store: MemoryStore, cacher: Cacher) -> None:
    watchers = {
        node: await cacher.watch(fields=field_selector.parse_fields(f"spec.nodeName={node}"))
        for node in ("", "n1", "n2")
    }
    first = await write(store, "x", "a")
    second = await write(store, "x", "a", node="n1")
    third = await write(store, "x", "a", node="n1", text="running")
    fourth = await store.delete(pod_key("x", "a"))
    assert told(ready(watchers[""])) == [("ADDED", "a", str(first)), ("DELETED", "a", str(second))]
    assert told(ready(watchers["n1"])) == [
        ("ADDED", "a", str(second)),
        ("MODIFIED", "a", str(third)),
        ("DELETED", "a", str(fourth)),
    ]
    assert ready(watchers["n2"]) == []


async def test_events_are_encoded_once_for_all_watchers(store: MemoryStore, cacher: Cacher) -> None:
    watchers = [await cacher.watch() for _ in range(3)]
    await write(store, "x", "a")
    lines = [(await watcher.batch())[0] for watcher in watchers]
    assert lines[0] is lines[1] is lines[2]
    cached = cacher.get("x", "a")
    assert cached is not None
    assert lines[0] == b'{"type":"ADDED","object":%b}\n' % cached.wire


async def test_initial_events_end_with_an_annotated_bookmark(store: MemoryStore, cacher: Cacher) -> None:
    first = await write(store, "x", "a")
    watcher = await cacher.watch("x", send_initial_events=True, bookmarks=True)
    second = await write(store, "x", "b")
    added, bookmark, live = ready(watcher)
    assert told([added, live]) == [("ADDED", "a", str(first)), ("ADDED", "b", str(second))]
    assert bookmark == {
        "type": "BOOKMARK",
        "object": {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {"resourceVersion": str(first), "annotations": {"k8s.io/initial-events-end": "true"}},
        },
    }
    assert len(ready(await cacher.watch(after=first, send_initial_events=True))) == 2


async def test_bookmarks_come_every_minute_and_on_demand(
    store: MemoryStore, cacher: Cacher, clock: VirtualClock
) -> None:
    watcher = await cacher.watch(bookmarks=True)
    without = await cacher.watch()
    await clock.advance(59)
    assert ready(watcher) == []
    revision = await store.put("/registry/core/nodes/n", b'{"metadata":{"name":"n"}}')
    await clock.advance(1)
    bookmark = ("BOOKMARK", "", str(revision))
    assert told(ready(watcher)) == [bookmark]
    await clock.advance(60)
    cacher.bookmark()
    assert told(ready(watcher)) == [bookmark, bookmark]
    assert ready(without) == []
    await watcher.aclose()
    await clock.advance(60)
    assert clock.next_deadline() is None or clock.next_deadline() > clock.monotonic() + 60  # type: ignore[operator]


async def test_a_closed_watcher_ends_its_reader(store: MemoryStore, cacher: Cacher) -> None:
    watcher = await cacher.watch()

    async def read_all() -> list[bytes]:
        return [chunk async for chunk in watcher]

    async with asyncio.TaskGroup() as tasks:
        reader = tasks.create_task(read_all())
        await asyncio.sleep(0)
        await watcher.aclose()
    assert reader.result() == []
    await write(store, "x", "a")
    assert await watcher.batch() == ()


async def test_a_subscriber_hears_of_all_there_is_and_of_every_change(store: MemoryStore, cacher: Cacher) -> None:
    await write(store, "x", "a", text="1")
    heard: list[tuple[str | None, str | None]] = []

    def text(cached: Cached | None) -> str | None:
        return None if cached is None else cached.object()["status"]["message"]

    unsubscribe = cacher.subscribe(lambda old, new: heard.append((text(old), text(new))))
    await write(store, "x", "a", text="2")
    await store.delete(pod_key("x", "a"))
    unsubscribe()
    await write(store, "x", "a", text="3")
    assert heard == [(None, "1"), ("1", "2"), ("2", None)]


async def test_cachers_open_once_and_end_their_watches(store: MemoryStore, clock: VirtualClock) -> None:
    cachers = Cachers(store, clock)
    first, second = await asyncio.gather(cachers.of(POD), cachers.of(POD))
    assert first is second is await cachers.of(POD)
    watcher = await first.watch()
    cachers.drop(POD)
    assert await watcher.batch() == ()
    assert await cachers.of(POD) is not first
    cachers.close()


# A watch replayed equals a list

writes = st.lists(
    st.tuples(
        st.sampled_from(("put", "put", "put", "delete")),
        st.sampled_from(("x", "x-y", "z")),
        st.sampled_from(("a", "b")),
        st.sampled_from(("web", "db")),
        st.sampled_from(("", "n1", "n2")),
    ),
    max_size=30,
)


@asynccontextmanager
async def memory() -> AsyncIterator[LocalStore]:
    store = MemoryStore(VirtualClock())
    yield store
    await store.close()


@asynccontextmanager
async def sqlite() -> AsyncIterator[LocalStore]:
    with TemporaryDirectory() as directory:
        store = await SqliteStore.open(Path(directory) / "store.db", VirtualClock())
        try:
            yield store
        finally:
            await store.close()


@pytest.mark.parametrize("backend", [memory, sqlite])
@settings(max_examples=40, deadline=None)
@given(
    writes=writes,
    labels=st.sampled_from(("", "app=web", "app!=web", "none")),
    fields=st.sampled_from(("", "spec.nodeName=n1", "spec.nodeName!=", "metadata.name=a", "metadata.namespace=x")),
    namespace=st.sampled_from(("", "x")),
    data=st.data(),
)
def test_a_watch_replayed_from_any_revision_equals_a_list(
    backend: Callable[[], AbstractAsyncContextManager[LocalStore]],
    writes: list[tuple[str, str, str, str, str]],
    labels: str,
    fields: str,
    namespace: str,
    data: st.DataObject,
) -> None:
    async def replay(store: LocalStore) -> None:
        cacher = await Cacher.open(store, POD, VirtualClock())
        selected: dict[str, Any] = {
            "labels": selector.parse_labels(labels),
            "fields": field_selector.parse_fields(fields),
        }
        begin = data.draw(st.integers(0, len(writes)))
        live: list[Watcher] = []
        after = cacher.revision
        for number, (verb, where, name, app, node) in enumerate(writes):
            if number == begin:
                after = cacher.revision
                live = [await cacher.watch(namespace, after=after, **selected)]
            if verb == "put":
                await write(store, where, name, labels={"app": app}, node=node)
            elif cacher.get(where, name) is not None:
                await store.delete(pod_key(where, name))
        late = await cacher.watch(namespace, after=after, **selected)
        expected = [cached.object() for cached in cacher.list(namespace, **selected).items]
        start = (await cacher.list_at(after, namespace, **selected)).items
        for watcher in (*live, late):
            state = {(cached.namespace, cached.name): cached.object() for cached in start}
            for event in ready(watcher):
                obj = event["object"]
                key = obj["metadata"]["namespace"], obj["metadata"]["name"]
                assert (event["type"] == "ADDED") is (key not in state)
                if event["type"] == "DELETED":
                    del state[key]
                else:
                    state[key] = obj
            assert sorted(
                state.values(), key=lambda obj: obj["metadata"]["namespace"] + "/" + obj["metadata"]["name"]
            ) == sorted(expected, key=lambda obj: obj["metadata"]["namespace"] + "/" + obj["metadata"]["name"])

    async def run() -> None:
        async with backend() as store:
            await replay(store)

    asyncio.run(run())


# History that was lost


class ForgetfulStore(MemoryStore):
    """Keeps how to tell the cacher that history was lost."""

    restart: Restart | None = None

    async def follow(self, prefix: str, deliver: Deliver, *, after: Revision, restart: Restart | None = None) -> Feed:
        self.restart = restart
        return await super().follow(prefix, deliver, after=after)


async def test_after_lost_history_watches_end_and_subscribers_learn_the_difference(clock: VirtualClock) -> None:
    store = ForgetfulStore(clock)
    old = [await write(store, "x", name) for name in ("gone", "changed", "kept")]
    cacher = await Cacher.open(store, POD, clock)
    watcher = await cacher.watch(after=old[-1])
    told: list[tuple[str | None, str | None]] = []
    cacher.subscribe(lambda before, now: told.append((before and before.name, now and now.name)))
    told.clear()
    entries = [
        Entry(pod_key("x", "changed"), pod("x", "changed", text="2"), Revision(90)),
        Entry(pod_key("x", "kept"), pod("x", "kept"), old[-1]),
        Entry(pod_key("x", "new"), pod("x", "new"), Revision(95)),
    ]
    assert store.restart is not None
    store.restart(Page(entries, Revision(100), 0))
    assert await watcher.batch() == ()
    assert sorted(told, key=str) == [("changed", "changed"), ("gone", None), (None, "new")]
    assert names(cacher.list().items) == ["x/changed", "x/kept", "x/new"]
    assert cacher.revision == 100
    with pytest.raises(status.Expired, match=f"too old resource version: {old[-1]}"):
        await cacher.watch(after=old[-1])
