"""Clients of an API server that comes and goes: they write and read a few ConfigMaps and watch them, and note all they are told.

A writer that gets no answer notes that it does not know, and waits until the server is back. A watcher goes on from the last
resourceVersion that it was told, as an informer does.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlencode

import orjson

from pilothouse.kit.http.client import Answer, ConnectionFailed, HttpPool, ResponseTimeout
from tests.store.histories import linearizable
from tests.store.histories.calls import Call, Outcome, Record, Snapshot, Verb
from tests.store.histories.watched import Told, Watched, check_same

NAMESPACE = "histories"
_PATH = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
_JSON = {"content-type": "application/json"}
_MERGE = {"content-type": "application/merge-patch+json"}
_OUTCOMES = {200: Outcome.DONE, 201: Outcome.DONE, 404: Outcome.MISSING, 409: Outcome.REFUSED}
_NOT_KNOWN = frozenset({500, 503, 504})
"""Answers after which a write may have been made: the store may have failed while it was."""
_DELAYED = frozenset({429})


class Lost(Exception):
    """There was no answer, or one that says nothing."""


class Load:
    """`servers` are (port, context) of the API servers, which all serve the same store."""

    def __init__(self, servers: list[tuple[int, ssl.SSLContext]], *, keys: int = 8, seed: int = 0) -> None:
        self.record = Record()
        self.watches: list[Watched] = []
        self.answered = 0
        """Writes that were acknowledged."""
        self._servers = servers
        self._keys = [f"k{number}" for number in range(keys)]
        self._seen: dict[str, tuple[str, int]] = {}
        """What some client saw last of a key; what updates go on from."""
        self._rng = random.Random(seed)
        self._numbers = iter(range(10**9))
        self._up = [asyncio.Event() for _ in servers]
        self._is_told = asyncio.Event()
        self._is_over = False
        self._progress: list[tuple[int, asyncio.Future[None]]] = []

    # What the test does with it

    def up(self, server: int = 0) -> None:
        self._up[server].set()

    def down(self, server: int = 0) -> None:
        self._up[server].clear()

    async def more(self, writes: int) -> None:
        """Return when so many more writes were acknowledged."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._progress.append((self.answered + writes, waiter))
        await waiter

    async def run(self, test: Callable[[], Any], *, writers: int = 6, watchers: int = 3) -> None:
        """Have clients at work while the test runs; afterwards judge what they noted. Raises AssertionError."""
        async with asyncio.TaskGroup() as group:
            working = [group.create_task(self._write(number)) for number in range(writers)]
            watching = [group.create_task(self._watch(number)) for number in range(watchers)]
            await test()
            self._is_over = True
            for task in working:
                await task
            await self._told_up_to(await self._until(self._last_write))
            for task in watching:
                task.cancel()
        linearizable.check(self.record.calls)
        for watched in self.watches:
            watched.check(self.record.snapshots, self.record.calls)
        check_same(self.watches)

    async def _last_write(self) -> int:
        """Its revision, which tells how far the watches must come."""
        pool = self._pool(0)
        verb = Verb.CREATE
        while await self._do(pool, "k0", verb) is not Outcome.DONE:
            verb = Verb.PATCH if verb is Verb.CREATE else Verb.CREATE
        await self._list(pool)
        await pool.close()
        return self._seen["k0"][1]

    async def _told_up_to(self, revision: int) -> None:
        while any(watched.reached < revision for watched in self.watches):
            self._is_told.clear()
            await self._is_told.wait()

    async def _until(self, step: Callable[[], Any]) -> Any:
        while True:
            await self._up[0].wait()
            try:
                return await step()
            except Lost:
                await asyncio.sleep(0)

    # Writers

    def _pool(self, number: int) -> HttpPool:
        port, context = self._servers[number % len(self._servers)]
        return HttpPool("127.0.0.1", port, ssl_context=context, timeout_s=20)

    async def _write(self, number: int) -> None:
        rng = random.Random(self._rng.random())
        pool = self._pool(number)
        up = self._up[number % len(self._up)]
        verbs = [Verb.CREATE, Verb.UPDATE, Verb.UPDATE, Verb.PATCH, Verb.PATCH, Verb.DELETE, Verb.READ, Verb.READ]
        while not self._is_over:
            await up.wait()
            try:
                if rng.random() < 0.08:
                    await self._list(pool)
                else:
                    await self._do(pool, rng.choice(self._keys), rng.choice(verbs), with_expectation=rng.random() < 0.5)
            except Lost:
                if up.is_set():
                    await asyncio.sleep(0.02)
        await pool.close()

    async def _do(self, pool: HttpPool, key: str, verb: Verb, *, with_expectation: bool = True) -> Outcome:
        seen = self._seen.get(key)
        if verb is Verb.UPDATE and seen is None:
            verb = Verb.READ
        expect = seen if verb is Verb.UPDATE or (verb is Verb.DELETE and with_expectation) else None
        value = None if verb in (Verb.READ, Verb.DELETE) else str(next(self._numbers))
        call = self.record.begin(key, verb, value, expect[0] if expect is not None else None)
        try:
            answer = await self._send(pool, *_request(key, verb, value, expect))
        except Lost:
            if verb is Verb.READ:
                self.record.forget(call)
            raise
        self._note(call, answer)
        return call.outcome

    async def _send(self, pool: HttpPool, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        try:
            answer = await pool.request(method, path, headers=headers, body=body)
        except (ConnectionFailed, ResponseTimeout) as error:
            raise Lost from error
        if answer.status in _NOT_KNOWN | _DELAYED:
            raise Lost
        return answer

    def _note(self, call: Call, answer: Answer) -> None:
        obj = orjson.loads(answer.body)
        outcome = _OUTCOMES[answer.status]
        if call.verb is Verb.READ:
            found = _value(obj) if outcome is Outcome.DONE else None
            self.record.read(call, *(found or (None, None)))
        else:
            if call.verb is Verb.CREATE and outcome is Outcome.REFUSED:
                outcome = Outcome.EXISTS
            is_deletion = call.verb is Verb.DELETE
            found = _value(obj) if outcome is Outcome.DONE and not is_deletion else None
            self.record.end(call, outcome, found[1] if found else None)
            if outcome is Outcome.DONE:
                self._count()
        if found is not None:
            self._seen[call.key] = found
        elif outcome in (Outcome.DONE, Outcome.MISSING):
            self._seen.pop(call.key, None)

    def _count(self) -> None:
        self.answered += 1
        for wanted, waiter in self._progress:
            if self.answered >= wanted and not waiter.done():
                waiter.set_result(None)

    async def _list(self, pool: HttpPool) -> Snapshot:
        reads = [self.record.begin(key, Verb.READ) for key in self._keys]
        try:
            answer = await self._send(pool, "GET", _PATH, {}, b"")
        except Lost:
            for call in reads:
                self.record.forget(call)
            raise
        listing = orjson.loads(answer.body)
        objects = {item["metadata"]["name"]: _value(item) for item in listing["items"]}
        objects.pop("kube-root-ca.crt", None)
        for call in reads:
            self.record.read(call, *objects.get(call.key, (None, None)))
        snapshot = Snapshot(int(listing["metadata"]["resourceVersion"]), objects)
        self.record.snapshots.append(snapshot)
        return snapshot

    # Watchers

    async def _watch(self, number: int) -> None:
        pool = self._pool(number)
        start = await self._until(lambda: self._list(pool))
        watched = Watched(start, reached=start.revision)
        self.watches.append(watched)
        while True:
            await self._up[number % len(self._up)].wait()
            query = {"watch": "1", "resourceVersion": str(watched.reached), "allowWatchBookmarks": "true"}
            try:
                async with pool.stream("GET", f"{_PATH}?{urlencode(query)}", headers={}) as answer:
                    if answer.status == 200:
                        await self._follow(watched, answer.chunks)
            except (ConnectionFailed, ResponseTimeout):
                await asyncio.sleep(0)

    async def _follow(self, watched: Watched, chunks: AsyncIterator[bytes]) -> None:
        rest = b""
        async for chunk in chunks:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                event = orjson.loads(line)
                obj = event["object"]
                assert event["type"] != "ERROR", f"the watch from {watched.reached} was refused: {obj}"
                watched.reached = int(obj["metadata"]["resourceVersion"])
                self._is_told.set()
                if event["type"] != "BOOKMARK":
                    value, revision = _value(obj)
                    watched.events.append(Told(revision, event["type"], obj["metadata"]["name"], value))


def _request(
    key: str, verb: Verb, value: str | None, expect: tuple[str, int] | None
) -> tuple[str, str, dict[str, str], bytes]:
    """Method, path, headers and body."""
    path = f"{_PATH}/{key}"
    match verb:
        case Verb.READ:
            return "GET", path, {}, b""
        case Verb.DELETE:
            preconditions = {"preconditions": {"resourceVersion": str(expect[1])}} if expect is not None else {}
            options = {"kind": "DeleteOptions", "apiVersion": "v1", **preconditions}
            return "DELETE", path, _JSON, orjson.dumps(options)
        case Verb.PATCH:
            return "PATCH", path, _MERGE, orjson.dumps({"data": {"value": value}})
    metadata = {"name": key}
    if expect is not None:
        metadata["resourceVersion"] = str(expect[1])
    obj = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {"value": value}}
    return ("POST", _PATH, _JSON, orjson.dumps(obj)) if verb is Verb.CREATE else ("PUT", path, _JSON, orjson.dumps(obj))


def _value(obj: Any) -> tuple[str, int]:
    return obj.get("data", {}).get("value", ""), int(obj["metadata"]["resourceVersion"])
