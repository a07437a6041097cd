"""The endpoints of the `kubernetes` Service with several servers on one store."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence

from pilothouse.api import gvr
from pilothouse.api.status import InternalError
from pilothouse.apiserver.bootstrap import Bootstrap, Surroundings
from pilothouse.apiserver.masters import PREFIX, RENEW_S, TTL_S, Masters
from tests.apiserver.harness import Harness


def master(server: Harness, address: str) -> Masters:
    surroundings = Surroundings(address, 6443, [ipaddress.ip_network("10.96.0.0/24")], shares_store=True)
    bootstrap = Bootstrap(lambda kind: server.app.endpoint(kind).registry(), surroundings, server.clock)
    return Masters(server.store, address, bootstrap.put_endpoints, server.clock)


async def addresses(server: Harness) -> list[str]:
    endpoints = await server.client.get(gvr.ENDPOINTS, "default", "kubernetes")
    piece = await server.client.get(gvr.ENDPOINT_SLICES, "default", "kubernetes")
    found = [each["ip"] for each in endpoints["subsets"][0]["addresses"]]
    assert [each["addresses"] for each in piece["endpoints"]] == [[each] for each in found]
    return found


async def test_a_write_that_fails_is_made_at_the_next_turn() -> None:
    server = Harness()
    written: list[list[str]] = []

    async def write(found: object) -> None:
        if not written:
            written.append([])
            raise InternalError("not now")
        written.append(list(found))  # type: ignore[call-overload]

    running = asyncio.ensure_future(Masters(server.store, "192.0.2.1", write, server.clock).run())
    await server.clock.advance(2 * RENEW_S)
    running.cancel()
    await asyncio.wait((running,))
    assert written == [[], ["192.0.2.1"]]
    assert not (await server.store.list(PREFIX)).entries


async def test_all_that_live_are_endpoints() -> None:
    server = Harness()
    one, other = master(server, "192.0.2.2"), master(server, "192.0.2.1")
    await one.turn()
    assert await addresses(server) == ["192.0.2.2"]
    await other.turn()
    assert await addresses(server) == ["192.0.2.1", "192.0.2.2"]
    before = await server.store.revision()
    await one.turn()
    assert await server.store.revision() == before + 1
    await server.clock.advance(TTL_S - 1)
    await one.turn()
    await server.clock.advance(3)
    await one.turn()
    assert await addresses(server) == ["192.0.2.2"]


async def test_two_that_begin_at_once_are_both_endpoints() -> None:
    server = Harness()
    one, other = "192.0.2.1", "192.0.2.2"
    written: list[list[str]] = []

    async def write(found: Sequence[str]) -> None:
        if not written:
            await Masters(server.store, other, write_of_other, server.clock).turn()
        written.append(list(found))

    async def write_of_other(found: Sequence[str]) -> None:
        written.append(list(found))

    await Masters(server.store, one, write, server.clock).turn()
    assert written == [[one, other], [one], [one, other]]


async def test_who_ends_leaves() -> None:
    server = Harness()
    one, other = master(server, "192.0.2.1"), master(server, "192.0.2.2")
    await one.turn()
    await other.turn()
    running = asyncio.ensure_future(other.run())
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait((running,))
    assert await addresses(server) == ["192.0.2.1"]
