"""What is remembered of requests must not let a client fill the server's memory: it chooses how long all of it is."""

from __future__ import annotations

import tracemalloc

import pytest

from pilothouse.kit.http.head import HeaderNames
from tests.apiserver.harness import Harness
from tests.kit.http.exchange import Exchange

LONG = 500_000


@pytest.fixture
def server() -> Harness:
    return Harness()


async def test_long_requests_leave_nothing_behind(server: Harness) -> None:
    async def send(number: int) -> None:
        text = f"{number}{'a' * LONG}"
        await server.request("GET", f"/api/v1/namespaces/{text}/pods")
        await server.request("GET", f"/{text}")
        await server.request("GET", "/api/v1/namespaces", query=f"labelSelector={text}")
        await server.request("GET", "/api/v1/namespaces", headers={"accept": f"application/json, x/{text}"})

    await send(0)
    tracemalloc.start()
    try:
        for number in range(1, 21):
            await send(number)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 5 * LONG


async def test_short_ones_are_looked_up(server: Harness) -> None:
    from pilothouse.apiserver.route import PLAIN_REQUEST_INFO

    plain_request_info = PLAIN_REQUEST_INFO["GET"]

    path = "/api/v1/namespaces/default/pods/remembered"
    assert plain_request_info(path) is plain_request_info(path)
    long = path + "a" * LONG
    assert plain_request_info(long) is not plain_request_info(long)
    assert plain_request_info(long) == plain_request_info(long)


async def test_long_names_of_headers_and_hosts_are_not_kept() -> None:
    names = HeaderNames()
    assert names[b"X" * 1000] == "x" * 1000
    assert names[b"X-Short"] == "x-short"
    assert list(names) == [b"X-Short"]
    async with Exchange() as exchange:
        for host in (b"h" * 1000, b"short"):
            answer = await exchange.send(b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % host)
            assert answer.startswith(b"HTTP/1.1 200 ")
        assert exchange.server.hosts == {"short"}
