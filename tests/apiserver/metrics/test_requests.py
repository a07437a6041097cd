"""What is told of requests."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from pilothouse.apiserver.errors import Rejected
from pilothouse.kit.http.feed import Feed
from tests.apiserver.harness import Harness, config_map

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
async def server() -> Harness:
    harness = Harness()
    await harness.request("POST", "/api/v1/namespaces", body={"metadata": {"name": "default"}})
    await harness.request("POST", CONFIG_MAPS, body=config_map())
    return harness


async def page(server: Harness, **headers: str) -> str:
    response = await server.request("GET", "/metrics", headers=headers)
    assert isinstance(response.body, bytes)
    return response.body.decode()


def value(text: str, name: str, **labels: str) -> float | None:
    """The sample with these labels, perhaps among others."""
    for line in text.splitlines():
        if match := re.fullmatch(re.escape(name) + r"(?:\{(.*)\})? (\S+)", line):
            found = dict(re.findall(r'(\w+)="([^"]*)"', match[1] or ""))
            if labels.items() <= found.items():
                return float(match[2])
    return None


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "labels"),
    [
        ("GET", f"{CONFIG_MAPS}/a", "", {}, {"verb": "GET", "scope": "resource", "code": "200"}),
        ("GET", f"{CONFIG_MAPS}/none", "", {}, {"verb": "GET", "scope": "resource", "code": "404"}),
        ("GET", CONFIG_MAPS, "", {}, {"verb": "LIST", "scope": "namespace", "code": "200"}),
        ("GET", "/api/v1/configmaps", "", {}, {"verb": "LIST", "scope": "cluster", "code": "200"}),
        ("DELETE", CONFIG_MAPS, "", {}, {"verb": "DELETE", "scope": "namespace", "code": "200"}),
        ("DELETE", f"{CONFIG_MAPS}/a", "dryRun=All", {}, {"verb": "DELETE", "dry_run": "All", "code": "200"}),
        ("DELETE", f"{CONFIG_MAPS}/a", "dryRun=x", {}, {"verb": "DELETE", "dry_run": "invalid", "code": "422"}),
        ("PATCH", f"{CONFIG_MAPS}/a", "", {"content-type": "application/merge-patch+json"}, {"verb": "PATCH"}),
        ("PATCH", f"{CONFIG_MAPS}/a", "", {"content-type": "application/apply-patch+yaml"}, {"verb": "APPLY"}),
    ],
)
async def test_requests_are_counted_by_verb_kind_and_outcome(
    server: Harness, method: str, path: str, query: str, headers: dict[str, str], labels: dict[str, str]
) -> None:
    body = b"{}" if method == "PATCH" else b""
    await server.request(method, path, query=query, headers=headers, body=body)
    text = await page(server)
    wanted = {"resource": "configmaps", "group": "", "version": "v1", "component": "apiserver", **labels}
    assert value(text, "apiserver_request_total", **wanted) == 1
    wanted.pop("code", None)
    assert value(text, "apiserver_request_duration_seconds_count", **wanted) == 1


async def test_what_reaches_no_kind_is_not_counted(server: Harness) -> None:
    for path in ("/api/v1/nothings", "/apis/no.group/v1/things", "/nowhere", "/metrics"):
        await server.request("GET", path)
    server.everybody.denied.add("get")
    await server.request("GET", f"{CONFIG_MAPS}/a")
    server.everybody.denied.clear()
    text = await page(server)
    assert "nothings" not in text
    assert "nowhere" not in text
    assert value(text, "apiserver_request_total", verb="GET") is None


async def test_sizes_of_what_was_read_are_told(server: Harness) -> None:
    response = await server.request("GET", CONFIG_MAPS)
    text = await page(server)
    assert value(text, "apiserver_response_sizes_sum", verb="LIST", resource="configmaps") == len(response.body)
    assert value(text, "apiserver_response_sizes_bucket", verb="LIST", le="1000") == 1
    assert value(text, "apiserver_response_sizes_sum", verb="POST") is None


async def test_a_watch_counts_while_it_runs_and_when_it_is_over(server: Harness) -> None:
    response = await server.request("GET", CONFIG_MAPS, query="watch=1")
    assert isinstance(response.body, Feed)
    events = response.body.take()
    assert events is not None
    labels = {"verb": "WATCH", "resource": "configmaps", "scope": "namespace"}
    text = await page(server)
    assert value(text, "apiserver_longrunning_requests", **labels) == 1
    assert value(text, "apiserver_request_total", **labels) is None
    assert value(text, "apiserver_watch_events_total", resource="configmaps") == 1
    assert value(text, "apiserver_watch_events_sizes_sum", resource="configmaps") == len(events)
    assert value(text, "apiserver_watch_events_sizes_bucket", resource="configmaps", le="1024") == 1
    await server.clock.advance(100)
    response.body.close()
    response.over()
    response.over()
    text = await page(server)
    assert value(text, "apiserver_longrunning_requests", **labels) == 0
    assert value(text, "apiserver_request_total", code="200", **labels) == 1
    assert value(text, "apiserver_request_duration_seconds_sum", **labels) == 100


async def test_how_long_watches_take_to_list_is_told(server: Harness) -> None:
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    response = await server.request("GET", CONFIG_MAPS, query=query)
    assert isinstance(response.body, Feed)
    assert b"initial-events-end" in (response.body.take() or b"")
    await server.clock.advance(3)
    assert response.body.take() == b""
    text = await page(server)
    assert value(text, "apiserver_watch_list_duration_seconds_sum", resource="configmaps", scope="namespace") == 3
    response.body.close()


async def test_deprecated_apis_are_told(server: Harness) -> None:
    await server.request("GET", "/api/v1/namespaces/default/endpoints")
    text = await page(server)
    assert value(text, "apiserver_requested_deprecated_apis", resource="endpoints", removed_release="") == 1


class Full:
    """Flow control that takes nobody."""

    def take(self, call: Any) -> Any:
        call.headers = {"x-kubernetes-pf-flowschema-uid": "u"}
        raise Rejected(4)

    async def wait(self, seat: Any, call: Any) -> None: ...

    def done(self, seat: Any) -> None: ...

    def goes_on(self, seat: Any) -> None: ...

    def executed(self, seat: Any, seconds: float) -> None: ...


async def test_who_is_turned_away_is_told_so_and_counted(server: Harness) -> None:
    server.app._fairness = Full()
    response = await server.request("GET", CONFIG_MAPS)
    assert (response.status, response.body) == (429, b"Too many requests, please try again later.\n")
    assert response.headers["retry-after"] == "4"
    assert response.headers["x-kubernetes-pf-flowschema-uid"] == "u"
    server.app._fairness = None
    text = await page(server)
    labels = {"verb": "LIST", "resource": "configmaps", "code": "429"}
    assert value(text, "apiserver_request_total", **labels) == 1
    assert value(text, "apiserver_request_terminations_total", **labels) == 1


async def test_time_spent_waiting_is_no_part_of_the_indicator(server: Harness) -> None:
    class Slow(Full):
        def take(self, call: Any) -> Any:
            call.waited_s = 2.0
            return self

        waiting = None

    async def slowly(user: Any, info: Any, annotations: Any = None) -> None:
        await server.clock.sleep(3)

    server.app._fairness = Slow()
    server.everybody.authorize = slowly  # type: ignore[method-assign]
    task = asyncio.ensure_future(server.request("GET", f"{CONFIG_MAPS}/a"))
    await server.clock.advance(3)
    assert (await task).status == 200
    server.app._fairness = None
    del server.everybody.authorize
    text = await page(server)
    labels = {"verb": "GET", "resource": "configmaps"}
    assert value(text, "apiserver_request_duration_seconds_sum", **labels) == 3
    assert value(text, "apiserver_request_sli_duration_seconds_sum", **labels) == 1
    assert value(text, "apiserver_request_sli_duration_seconds_bucket", le="1", **labels) == 1
    assert value(text, "apiserver_request_duration_seconds_bucket", le="1", **labels) == 0
    assert value(text, "apiserver_current_inflight_requests", request_kind="readOnly") == 1
    assert value(text, "apiserver_current_inflight_requests", request_kind="mutating") == 0


async def test_the_build_and_the_process_are_told(server: Harness) -> None:
    text = await page(server)
    assert value(text, "kubernetes_build_info", major="1", minor="36") == 1
    for name in ("process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"):
        assert (value(text, name) or 0) > 0


async def test_openmetrics_is_given_to_those_who_prefer_it(server: Harness) -> None:
    await server.request("GET", CONFIG_MAPS)
    accept = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    text = await page(server, accept=accept)
    assert text.endswith("# EOF\n")
    assert "# TYPE apiserver_request counter\n" in text
    assert value(text, "apiserver_request_total", verb="LIST") == 1
    assert "# EOF" not in await page(server, accept="text/plain")
    assert "# EOF" not in await page(server)
