"""Requests that take too long."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from pilothouse.api.status import BadRequest
from pilothouse.apiserver.deadline import time_allowed_s
from pilothouse.apiserver.route import parse_query, request_info
from pilothouse.kit.http.message import Response
from tests.apiserver.harness import Harness, config_map

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
LATE = "Timeout: request did not complete within the allotted timeout"


@pytest.fixture
async def server() -> Harness:
    harness = Harness()
    await harness.request("POST", "/api/v1/namespaces", body={"metadata": {"name": "default"}})
    return harness


class Stuck:
    """An authorizer that never says anything, and knows whether it was interrupted."""

    def __init__(self, server: Harness) -> None:
        self.was_interrupted = False
        server.app._authorizer = self

    async def authorize(self, user: Any, info: Any, annotations: Any = None) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.was_interrupted = True
            raise


def status_of(response: Response) -> dict[str, Any]:
    assert isinstance(response.body, bytes)
    found: dict[str, Any] = orjson.loads(response.body)
    return found


@pytest.mark.parametrize(
    ("query", "seconds"),
    [("", 60), ("timeout=5s", 5), ("timeout=1m30s", 60), ("timeout=0s", 60), ("timeout=-3s", 60), ("timeout=", 60)],
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_request_has_its_time_and_no_more(server: Harness, method: str, query: str, seconds: int) -> None:
    stuck = Stuck(server)
    task = asyncio.ensure_future(server.request(method, CONFIG_MAPS, query=query))
    await server.clock.advance(seconds - 1)
    assert not task.done()
    await server.clock.advance(1)
    response = await task
    assert response.status == 504
    assert stuck.was_interrupted
    told = status_of(response)
    assert (told["reason"], told["message"], told["code"]) == ("Timeout", LATE, 504)
    metrics = await page(server)
    assert 'apiserver_request_terminations_total{component="apiserver"' in metrics
    assert 'code="504"' in metrics


@pytest.mark.parametrize(("query", "seconds"), [("", 34), ("timeout=40s", 34), ("timeout=5s", 5)])
async def test_a_write_has_less(server: Harness, query: str, seconds: int) -> None:
    stuck = Stuck(server)
    task = asyncio.ensure_future(server.request("POST", CONFIG_MAPS, query=query, body=config_map()))
    await server.clock.advance(seconds - 1)
    assert not task.done()
    await server.clock.advance(1)
    response = await task
    assert response.status == 504
    assert stuck.was_interrupted
    own = "Timeout: request did not complete within requested timeout - context deadline exceeded"
    assert status_of(response)["message"] == (own if seconds == 34 else LATE)


async def page(server: Harness) -> str:
    server.app._authorizer = server.everybody
    response = await server.request("GET", "/metrics")
    assert isinstance(response.body, bytes)
    return response.body.decode()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("soon", 'time: invalid duration "soon"'),
        ("5", 'time: missing unit in duration "5"'),
        ("5y", 'time: unknown unit "y" in duration "5y"'),
    ],
)
async def test_a_time_that_is_none_is_refused_before_anything_else(server: Harness, text: str, why: str) -> None:
    stuck = Stuck(server)
    response = await server.request("GET", CONFIG_MAPS, query=f"timeout={text}")
    assert response.status == 400
    assert status_of(response)["message"] == f"invalid timeout specified in the request URL - {why}"
    assert not stuck.was_interrupted


@pytest.mark.parametrize(
    "path",
    [
        f"{CONFIG_MAPS}?watch=1&timeout=x",
        "/api/v1/watch/configmaps",
        "/api/v1/namespaces/a/pods/p/exec",
        "/api/v1/namespaces/a/pods/p/attach",
        "/api/v1/namespaces/a/pods/p/portforward",
        "/api/v1/namespaces/a/pods/p/log",
        "/api/v1/nodes/n/proxy/x",
        "/debug/pprof/profile",
    ],
)
def test_what_has_no_set_end_may_take_for_ever(path: str) -> None:
    path, _, text = path.partition("?")
    query = parse_query(text)
    assert time_allowed_s(request_info("GET", path, query), query, 60.0) is None


def test_other_requests_may_not() -> None:
    info = request_info("GET", "/api/v1/namespaces/a/pods/p/status", {})
    assert time_allowed_s(info, {}, 60.0) == 60.0
    assert time_allowed_s(info, {"timeout": "1h"}, 60.0) == 60.0
    assert time_allowed_s(info, {"timeout": "1.5s"}, 60.0) == 1.5
    with pytest.raises(BadRequest):
        time_allowed_s(info, {"timeout": "1 s"}, 60.0)


async def test_who_is_interrupted_by_others_stays_cancelled(server: Harness) -> None:
    """Only a request's own deadline becomes an answer."""
    stuck = Stuck(server)
    task = asyncio.ensure_future(server.request("GET", CONFIG_MAPS))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stuck.was_interrupted


async def test_what_was_done_in_time_is_answered(server: Harness) -> None:
    async def slowly(user: Any, info: Any, annotations: Any = None) -> None:
        await server.clock.sleep(33)

    server.everybody.authorize = slowly  # type: ignore[method-assign]
    task = asyncio.ensure_future(server.request("POST", CONFIG_MAPS, body=config_map()))
    await server.clock.advance(33.5)
    assert (await task).status == 201
