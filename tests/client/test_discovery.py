"""Discovery, aggregated and group by group, from the real server and from one that is partly down."""

from __future__ import annotations

import orjson

from pilothouse.api import status
from pilothouse.api.gvr import DEPLOYMENTS, HORIZONTAL_POD_AUTOSCALERS, PODS
from pilothouse.client.client import Client
from pilothouse.client.discovery import discover
from pilothouse.client.inprocess import InProcessTransport
from pilothouse.kit.http.message import Request, Response
from tests.controllers.cluster import api_server


async def test_both_ways_find_the_same() -> None:
    async with api_server() as server:

        async def unaggregated(request: Request) -> Response:
            request.headers = {**request.headers, "accept": "application/json"}
            return await server.app(request)

        one = await discover(server.client)
        other = await discover(Client(InProcessTransport(unaggregated)))
        assert {served.gvr for served in one.resources} == {served.gvr for served in other.resources}
        assert one.by_kind("v1", "Pod") == PODS
        assert one.by_kind("apps/v1beta2", "Deployment") == DEPLOYMENTS
        assert one.by_kind("example.com/v1", "Pod") is None
        preferred = {served.gvr for served in one.preferred()}
        assert HORIZONTAL_POD_AUTOSCALERS in preferred
        assert len({(gvr.group, gvr.plural) for gvr in preferred}) == len(preferred)


async def test_a_group_that_is_down_is_named_and_hides_no_other() -> None:
    groups = [
        {
            "name": name,
            "versions": [{"version": "v1", "groupVersion": f"{name}/v1"}],
            "preferredVersion": {"version": "v1"},
        }
        for name in ("up.example.com", "down.example.com")
    ]
    answers = {
        "/api": {"versions": []},
        "/apis": {"groups": groups},
        "/apis/up.example.com/v1": {"resources": [{"name": "things", "kind": "Thing", "verbs": ["list"]}]},
    }

    async def app(request: Request) -> Response:
        if request.path not in answers:
            error = status.ServiceUnavailable("down")
            return Response(503, {}, orjson.dumps(error.to_object()))
        return Response(200, {}, orjson.dumps(answers[request.path]))

    found = await discover(Client(InProcessTransport(app)))
    assert [served.gvr.plural for served in found.resources] == ["things"]
    assert found.failures == {"down.example.com/v1": "down"}
