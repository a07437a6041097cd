"""Where events go: lines of a file, lists for a webhook, and what stands before them."""

import asyncio
import gzip
import random
from contextlib import asynccontextmanager

import orjson
import pytest
import yaml

from pilothouse.apiserver.audit.buffer import BatchConfig, Buffered
from pilothouse.apiserver.audit.event import Event
from pilothouse.apiserver.audit.log_file import LogFile
from pilothouse.apiserver.audit.sink import FileSink, Forgiving, Losses, Truncated, WebhookSink
from pilothouse.apiserver.webhooks.remote import RemoteWebhook, read_endpoint
from pilothouse.kit.clock import VirtualClock
from tests.apiserver.webhooks.server import serving


def event(number=1, **fields):
    obj = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": str(number),
        "stage": "ResponseComplete",
        "requestURI": "/api",
        "verb": "get",
        "user": {"username": "jane", "groups": ["a", "b"]},
        "requestReceivedTimestamp": "2026-01-01T00:00:00.000000Z",
    }
    return Event({**obj, **fields})


class Collecting:
    """Keeps what it is given, or refuses it."""

    def __init__(self):
        self.batches = []
        self.keeps = True

    async def process(self, events):
        self.batches.append([each.obj["auditID"] for each in events])
        return self.keeps

    async def run(self):
        await asyncio.Event().wait()


@asynccontextmanager
async def at_work(sink):
    task = asyncio.ensure_future(sink.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def losses():
    return Losses()


def test_a_line_of_text():
    full = event(
        sourceIPs=["192.0.2.1"],
        impersonatedUser={"username": "root", "groups": ["g"]},
        objectRef={"namespace": "ns"},
        userAgent='x "y"',
        responseStatus={"code": 200},
    )
    assert full.legacy.decode() == (
        '2026-01-01T00:00:00.000000Z AUDIT: id="1" stage="ResponseComplete" ip="192.0.2.1" method="get" user="jane" '
        'groups="\\"a\\",\\"b\\"" as="root" asgroups="\\"g\\"" user-agent="x \\"y\\"" namespace="ns" uri="/api" response="200"'
    )
    bare = event(user={}, objectRef={"resource": "nodes"})
    assert 'user="<none>" groups="<none>" as="<self>" asgroups="<lookup>"' in bare.legacy.decode()
    assert 'namespace="<none>" uri="/api" response="<deferred>"' in bare.legacy.decode()


async def test_formats_of_a_file(tmp_path, clock, losses):
    for format_ in ("json", "legacy"):
        path = tmp_path / format_
        sink = FileSink(LogFile(str(path), clock), losses, clock, format_)
        async with at_work(sink):
            assert await sink.process([event(1), event(2)])
            await asyncio.sleep(0)
        lines = path.read_bytes().splitlines()
        assert len(lines) == 2
        assert (orjson.loads(lines[0])["auditID"] == "1") if format_ == "json" else b'id="1"' in lines[0]


async def test_a_file_that_cannot_be_written(tmp_path, clock, losses):
    file = LogFile(str(tmp_path / "a"), clock)
    file.close()
    sink = FileSink(file, losses, clock)
    assert not await sink.process([event()])
    assert losses.counts == {"log": 1}
    assert await Forgiving(sink).process([event()])


async def test_old_files_are_compressed(tmp_path, clock):
    file = LogFile(str(tmp_path / "a.log"), clock, max_bytes=10, max_backups=2, compresses=True)
    for number in range(5):
        file.write(b"%d2345678\n" % number)
        await clock.advance(1)
    file.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 3
    assert [name.endswith(".log.gz") for name in names] == [True, True, False]
    assert gzip.decompress((tmp_path / names[1]).read_bytes()) == b"32345678\n"


async def test_a_file_may_grow_without_end(tmp_path, clock):
    file = LogFile(str(tmp_path / "a.log"), clock, max_bytes=0)
    for _ in range(3):
        file.write(b"x" * 100)
    file.close()
    assert [path.name for path in tmp_path.iterdir()] == ["a.log"]


async def test_large_events(losses):
    inner = Collecting()
    sink = Truncated(inner, losses, max_event_bytes=600, max_batch_bytes=700)
    request = {"data": "x" * 1000}
    kept = []

    async def process(events):
        kept.extend(events)
        return await Collecting.process(inner, events)

    inner.process = process
    large = event(2, level="Request", requestObject=request, annotations={"a": "b"})
    await sink.process([event(1), large, event(3, userAgent="y" * 1000), event(4), event(5)])
    assert inner.batches == [["1", "2"], ["4", "5"]]
    assert "requestObject" not in kept[1].obj
    assert kept[1].obj["annotations"] == {"a": "b", "audit.k8s.io/truncated": "true"}
    assert losses.counts == {"truncate": 1}


class TestBuffered:
    async def test_a_full_batch_goes_at_once(self, clock, losses):
        inner = Collecting()
        sink = Buffered(inner, BatchConfig(10, 2, 30.0, qps=0), losses, clock)
        async with at_work(sink):
            await sink.process([event(1)])
            await clock.advance(29)
            assert inner.batches == []
            await sink.process([event(2)])
            await clock.advance(0)
            assert inner.batches == [["1", "2"]]

    async def test_a_batch_waits_only_so_long(self, clock, losses):
        inner = Collecting()
        sink = Buffered(inner, BatchConfig(10, 5, 30.0, qps=0), losses, clock)
        async with at_work(sink):
            await sink.process([event(1), event(2)])
            await clock.advance(30)
            assert inner.batches == [["1", "2"]]

    async def test_what_finds_no_room_is_lost(self, clock, losses):
        sink = Buffered(Collecting(), BatchConfig(2, 5, 30.0), losses, clock)
        assert await sink.process([event(1), event(2), event(3)])
        assert losses.counts == {"buffered": 1}

    async def test_batches_are_not_too_many(self, clock, losses):
        inner = Collecting()
        sink = Buffered(inner, BatchConfig(10, 1, 0.0, qps=1, burst=2), losses, clock)
        async with at_work(sink):
            await sink.process([event(number) for number in range(4)])
            await clock.advance(0)
            assert len(inner.batches) == 2
            await clock.advance(1)
            assert len(inner.batches) == 3
            await clock.advance(1)
            assert len(inner.batches) == 4

    async def test_what_is_left_is_sent_at_the_end(self, clock, losses):
        inner = Collecting()
        sink = Buffered(inner, BatchConfig(10, 5, 30.0), losses, clock)
        async with at_work(sink):
            await clock.advance(0)
            await sink.process([event(1)])
        assert inner.batches == [["1"]]


async def test_a_webhook(tmp_path, clock, losses):
    async with serving(tmp_path / "pki") as hook:
        file = tmp_path / "webhook.yaml"
        cluster = {"server": f"https://localhost:{hook.port}/events", "certificate-authority-data": hook.bundle}
        config = {
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "it"}}],
            "clusters": [{"name": "it", "cluster": cluster}],
        }
        file.write_text(yaml.safe_dump(config))
        answers = iter([(400, b"no"), (503, b""), (200, b"")])
        hook.answer = lambda review: next(answers)
        remote = RemoteWebhook(read_endpoint(str(file)), clock, random.Random(1), retries_all=True)
        sink = WebhookSink(remote, losses, clock)
        sending = asyncio.ensure_future(sink.process([event(1), event(2)]))
        while not sending.done():
            await asyncio.sleep(0.01)
            await clock.advance(1)
        assert sending.result()
        first, *again = hook.reviews
        assert (first["kind"], first["apiVersion"]) == ("EventList", "audit.k8s.io/v1")
        assert [item["auditID"] for item in first["items"]] == ["1", "2"]
        assert again == [first, first]
        hook.answer = lambda review: (500, b"never")
        sending = asyncio.ensure_future(sink.process([event(3)]))
        while not sending.done():
            await asyncio.sleep(0.01)
            await clock.advance(5)
        assert not sending.result()
        assert losses.counts == {"webhook": 1}
        assert len(hook.reviews) == 3 + 5
        await remote.close()
