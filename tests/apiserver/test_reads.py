"""GET, LIST and WATCH: forms, pages, revisions, selectors; discovery and the paths beside the resources."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pilothouse.api import gvr, status
from pilothouse.api.kinds.table import RESOURCES
from pilothouse.apiserver.discovery import Discovery
from pilothouse.apiserver.negotiate import ACCEPTED, PROTOBUF, Output, Shape, negotiate
from pilothouse.apiserver.route import parse_query, request_info
from tests.apiserver.harness import Harness, config_map, pod

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
TABLE = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
PARTIAL = {"accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"}


@pytest.fixture
async def server() -> Harness:
    server = Harness()
    for name in ("a", "b", "c", "d"):
        sent = config_map(name)
        sent["metadata"]["labels"] = {"odd": str(name in "ac").lower()}
        await server.client.create(gvr.CONFIG_MAPS, sent)
    return server


@pytest.mark.parametrize(
    ("method", "path", "query", "expected"),
    [
        ("GET", "/api/v1/pods", "", ("list", "", "pods", "", "")),
        ("GET", "/api/v1/pods", "watch=1", ("watch", "", "pods", "", "")),
        ("GET", "/api/v1/pods", "watch=false", ("list", "", "pods", "", "")),
        ("GET", "/api/v1/namespaces/n/pods/p", "", ("get", "n", "pods", "p", "")),
        ("GET", "/api/v1/namespaces/n/pods/p/log", "", ("get", "n", "pods", "p", "log")),
        ("PUT", "/api/v1/namespaces/n/status", "", ("update", "n", "namespaces", "n", "status")),
        ("GET", "/api/v1/namespaces/n", "", ("get", "n", "namespaces", "n", "")),
        ("DELETE", "/apis/apps/v1/namespaces/n/deployments", "", ("deletecollection", "n", "deployments", "", "")),
        ("GET", "/api/v1/watch/pods", "", ("watch", "", "pods", "", "")),
        ("GET", "/api/v1/pods", "fieldSelector=metadata.name%3Dp", ("list", "", "pods", "p", "")),
    ],
)
def test_request_info(method: str, path: str, query: str, expected: tuple[str, ...]) -> None:
    info = request_info(method, path, parse_query(query))
    assert (info.verb, info.namespace, info.resource, info.name, info.subresource) == expected


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/api", "/apis/apps", "/apis/apps/v1", "/api/v1", "/openapi/v3/apis/apps/v1"]
)
def test_other_paths_name_no_resource(path: str) -> None:
    info = request_info("GET", path, {})
    assert (info.is_resource, info.verb, info.path) == (False, "get", path)


@pytest.mark.parametrize(
    ("accept", "output"),
    [
        ("", Output("application/json", Shape.WHOLE)),
        ("application/vnd.kubernetes.protobuf,application/json", Output(PROTOBUF, Shape.WHOLE)),
        ("application/json;q=0.9,application/vnd.kubernetes.protobuf;stream=watch", Output(PROTOBUF, Shape.WHOLE)),
        ("application/vnd.kubernetes.protobuf;stream=other,*/*", Output("application/json", Shape.WHOLE)),
        (f"{PROTOBUF};as=Table;v=v1;g=meta.k8s.io,application/json", Output("application/json", Shape.WHOLE)),
        (f"{PROTOBUF};as=PartialObjectMetadata;v=v1;g=meta.k8s.io", Output(PROTOBUF, Shape.PARTIAL)),
        ("application/yaml", Output("application/yaml", Shape.WHOLE)),
        (TABLE["accept"], Output("application/json", Shape.TABLE)),
        ("application/json;as=Future;v=v9;g=x,application/json", Output("application/json", Shape.WHOLE)),
        ("application/yaml;q=0.5, application/json", Output("application/json", Shape.WHOLE)),
    ],
)
def test_negotiation(accept: str, output: Output) -> None:
    assert negotiate(accept, True, ACCEPTED) == output


@pytest.mark.parametrize(
    "accept",
    [f"{PROTOBUF};as=Table;v=v1;g=meta.k8s.io", "application/json;as=Table;v=v7;g=x", "application/json;as=Table"],
)
def test_what_cannot_be_given_is_refused(accept: str) -> None:
    with pytest.raises(status.NotAcceptable, match="only the following media types are accepted"):
        negotiate(accept, True, ACCEPTED)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"{CONFIG_MAPS}/none", 404),
        ("/api/v1/nonsense", 404),
        ("/api/v1/configmaps/a", 404),
        ("/apis/apps/v9/deployments", 404),
        ("/nonsense", 404),
        ("/api/v1/namespaces/default/bindings", 405),
    ],
)
async def test_what_is_not_there(server: Harness, path: str, code: int) -> None:
    assert (await server.request("GET", path)).status == code


async def test_every_answer_has_an_audit_id(server: Harness) -> None:
    response = await server.request("GET", CONFIG_MAPS)
    assert len(response.headers["audit-id"]) == 36
    assert response.headers["cache-control"] == "no-cache, private"


async def test_forms_of_one_object(server: Harness) -> None:
    table = await server.json("GET", f"{CONFIG_MAPS}/a", headers=TABLE)
    assert (table["kind"], table["rows"][0]["cells"][0]) == ("Table", "a")
    assert table["metadata"] == {"resourceVersion": table["rows"][0]["object"]["metadata"]["resourceVersion"]}
    partial = await server.json("GET", f"{CONFIG_MAPS}/a", headers=PARTIAL)
    assert set(partial) == {"kind", "apiVersion", "metadata"}
    response = await server.request("GET", f"{CONFIG_MAPS}/a", headers={"accept": "application/yaml"})
    assert isinstance(response.body, bytes)
    assert b"kind: ConfigMap" in response.body
    pretty = await server.request("GET", f"{CONFIG_MAPS}/a", query="pretty=true")
    assert isinstance(pretty.body, bytes)
    assert pretty.body.startswith(b'{\n  "kind": "ConfigMap",\n')


async def test_forms_of_a_list(server: Harness) -> None:
    table = await server.json("GET", CONFIG_MAPS, headers=TABLE)
    assert [row["cells"][0] for row in table["rows"]] == ["a", "b", "c", "d"]
    refused = await server.json("GET", CONFIG_MAPS, headers=PARTIAL)
    assert (refused["code"], "is a list (*core.ConfigMapList)" in refused["message"]) == (406, True)
    headers = {"accept": PARTIAL["accept"].replace("Metadata;", "MetadataList;")}
    assert (await server.json("GET", f"{CONFIG_MAPS}/a", headers=headers))["code"] == 406
    partial = await server.json("GET", CONFIG_MAPS, headers=headers)
    assert partial["kind"] == "PartialObjectMetadataList"
    assert len(partial["items"]) == 4
    whole = await server.json("GET", CONFIG_MAPS)
    assert (whole["kind"], whole["apiVersion"]) == ("ConfigMapList", "v1")
    assert [next(iter(item)) for item in whole["items"]] == ["metadata"] * 4
    (one,) = (await server.json("GET", CONFIG_MAPS, query="fieldSelector=metadata.name%3Db"))["items"]
    assert one == whole["items"][1]
    assert {"kind": "ConfigMap", "apiVersion": "v1", **one} == await server.json("GET", f"{CONFIG_MAPS}/b")
    empty = await server.json("GET", "/api/v1/namespaces/none/configmaps")
    assert empty["items"] == []


async def test_selectors(server: Harness) -> None:
    async def names(query: str) -> list[str]:
        return [item["metadata"]["name"] for item in (await server.json("GET", CONFIG_MAPS, query=query))["items"]]

    assert await names("labelSelector=odd%3Dtrue") == ["a", "c"]
    assert await names("fieldSelector=metadata.name%3Db") == ["b"]
    assert (await server.json("GET", CONFIG_MAPS, query="fieldSelector=spec.x%3Db"))["code"] == 400
    assert (await server.json("GET", CONFIG_MAPS, query="labelSelector=a%3D%3D%3Db"))["code"] == 400


async def test_pages_show_one_state(server: Harness) -> None:
    first = await server.json("GET", CONFIG_MAPS, query="limit=2")
    assert first["metadata"]["remainingItemCount"] == 2
    await server.client.create(gvr.CONFIG_MAPS, config_map("bb"))
    await server.client.delete(gvr.CONFIG_MAPS, "default", "d")
    token = first["metadata"]["continue"]
    second = await server.json("GET", CONFIG_MAPS, query=f"limit=2&continue={token}")
    assert [item["metadata"]["name"] for item in second["items"]] == ["c", "d"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert "continue" not in second["metadata"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("continue=nonsense", 400),
        ("limit=x", 400),
        ("resourceVersion=x", 400),
        ("resourceVersionMatch=Exact", 422),
        ("resourceVersionMatch=Sometimes&resourceVersion=1", 422),
        ("sendInitialEvents=true", 422),
        ("watch=1&sendInitialEvents=true", 422),
        ("watch=1&resourceVersionMatch=NotOlderThan", 422),
    ],
)
async def test_bad_options(server: Harness, query: str, code: int) -> None:
    answer = await server.json("GET", CONFIG_MAPS, query=query)
    assert answer["code"] == code


async def test_a_list_at_an_earlier_revision(server: Harness) -> None:
    before = (await server.json("GET", CONFIG_MAPS))["metadata"]["resourceVersion"]
    await server.client.delete(gvr.CONFIG_MAPS, "default", "a")
    query = f"resourceVersion={before}&resourceVersionMatch=Exact"
    assert len((await server.json("GET", CONFIG_MAPS, query=query))["items"]) == 4
    assert len((await server.json("GET", CONFIG_MAPS, query=f"resourceVersion={before}"))["items"]) == 3


async def events(server: Harness, query: str, count: int, **arguments: Any) -> list[Any]:
    response = await server.request("GET", CONFIG_MAPS, query=f"watch=1&{query}", **arguments)
    assert response.status == 200
    assert not isinstance(response.body, bytes)
    found: list[Any] = []
    async for chunk in response.body:
        found += [orjson.loads(line) for line in chunk.splitlines()]
        if len(found) >= count:
            break
    await response.body.aclose()  # type: ignore[attr-defined]
    return found


async def test_a_watch_replays_and_follows(server: Harness) -> None:
    revision = (await server.json("GET", CONFIG_MAPS))["metadata"]["resourceVersion"]
    await server.client.patch(gvr.CONFIG_MAPS, "default", "a", {"metadata": {"labels": {"odd": "false"}}})
    await server.client.delete(gvr.CONFIG_MAPS, "default", "b")
    seen = await events(server, f"resourceVersion={revision}", 2)
    assert [(each["type"], each["object"]["metadata"]["name"]) for each in seen] == [
        ("MODIFIED", "a"),
        ("DELETED", "b"),
    ]
    selected = await events(server, f"resourceVersion={revision}&labelSelector=odd%3Dtrue", 1)
    assert [(each["type"], each["object"]["metadata"]["name"]) for each in selected] == [("DELETED", "a")]


async def test_a_watch_can_send_what_is_there_first(server: Harness) -> None:
    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    seen = await events(server, query, 5)
    assert [each["type"] for each in seen] == ["ADDED"] * 4 + ["BOOKMARK"]
    assert seen[-1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_a_watch_of_tables(server: Harness) -> None:
    seen = await events(server, "", 4, headers=TABLE)
    assert {each["object"]["kind"] for each in seen} == {"Table"}
    assert seen[0]["object"]["rows"][0]["cells"][0] == "a"
    assert [event["object"]["columnDefinitions"] is None for event in seen] == [False, True, True, True]
    gotten = await server.json("GET", f"{CONFIG_MAPS}/a", headers=TABLE)
    assert seen[0]["object"] == gotten
    assert seen[1]["object"]["metadata"] == {
        "resourceVersion": seen[1]["object"]["rows"][0]["object"]["metadata"]["resourceVersion"]
    }


async def test_the_end_of_initial_events_is_told_in_a_row_without_objects(server: Harness) -> None:
    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&includeObject=None"
    seen = await events(server, query, 5, headers=TABLE)
    assert [event["object"]["rows"][0]["object"] for event in seen[:4]] == [None] * 4
    (row,) = seen[4]["object"]["rows"]
    assert row["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_any_state_is_listed_whole_whatever_the_limit(server: Harness) -> None:
    listing = await server.json("GET", CONFIG_MAPS, query="resourceVersion=0&limit=1")
    assert len(listing["items"]) == 4
    assert listing["metadata"].keys() == {"resourceVersion"}
    listing = await server.json("GET", CONFIG_MAPS, query="resourceVersion=1&resourceVersionMatch=NotOlderThan&limit=1")
    assert (len(listing["items"]), listing["metadata"]["remainingItemCount"]) == (1, 3)


async def test_a_watch_ends_at_its_time(server: Harness) -> None:
    response = await server.request("GET", CONFIG_MAPS, query="watch=1&timeoutSeconds=5")
    assert not isinstance(response.body, bytes)
    await server.clock.advance(6)
    chunks = [chunk async for chunk in response.body]
    assert b"".join(chunks).count(b'"ADDED"') == 4


async def test_a_watch_with_bookmarks_gets_a_last_one_just_before_its_end(server: Harness) -> None:
    query = "watch=1&timeoutSeconds=5&resourceVersion=0&allowWatchBookmarks=true"
    response = await server.request("GET", CONFIG_MAPS, query=query)
    assert not isinstance(response.body, bytes)
    await server.client.create(gvr.PODS, pod())
    await server.clock.advance(3.5)
    await server.client.create(gvr.CONFIG_MAPS, config_map("z"))
    await server.clock.advance(2)
    events = [orjson.loads(line) async for chunk in response.body for line in chunk.splitlines()]
    assert [event["type"] for event in events] == [*["ADDED"] * 4, "BOOKMARK", "BOOKMARK", "ADDED"]
    pod_version = (await server.client.get(gvr.PODS, "default", "p"))["metadata"]["resourceVersion"]
    assert "k8s.io/initial-events-end" in events[4]["object"]["metadata"]["annotations"]
    assert events[5]["object"]["metadata"] == {"resourceVersion": pod_version}


async def test_stopping_ends_watches(server: Harness) -> None:
    await server.app.start()
    response = await server.request("GET", CONFIG_MAPS, query="watch=1")
    assert not isinstance(response.body, bytes)
    await server.app.stop()
    assert len([chunk async for chunk in response.body]) == 1


async def test_a_watch_from_a_forgotten_revision_says_so(server: Harness) -> None:
    await server.store.compact(await server.store.revision())
    await server.client.create(gvr.PODS, pod())
    seen = await server.json("GET", "/api/v1/pods", query="watch=1&resourceVersion=1")
    assert (seen["type"], seen["object"]["code"], seen["object"]["reason"]) == ("ERROR", 410, "Expired")


async def test_kinds_in_two_versions_are_the_same_objects(server: Harness) -> None:
    autoscaler = {
        "metadata": {"name": "h", "namespace": "default"},
        "spec": {
            "maxReplicas": 3,
            "targetCPUUtilizationPercentage": 70,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
        },
    }
    old = await server.client.create(gvr.HORIZONTAL_POD_AUTOSCALERS_V1, autoscaler)
    assert (old["apiVersion"], old["spec"]["targetCPUUtilizationPercentage"]) == ("autoscaling/v1", 70)
    new = await server.client.get(gvr.HORIZONTAL_POD_AUTOSCALERS, "default", "h")
    assert new["apiVersion"] == "autoscaling/v2"
    assert new["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 70


async def test_discovery() -> None:
    server = Harness()
    discovery = Discovery(RESOURCES, server_address="192.0.2.1:6443")
    server.app.paths |= dict.fromkeys(discovery.paths, discovery.serve)
    groups = await server.json("GET", "/apis")
    assert [group["name"] for group in groups["groups"]][:3] == ["apiregistration.k8s.io", "apps", "events.k8s.io"]
    listed = await server.json("GET", "/api/v1")
    names = [resource["name"] for resource in listed["resources"]]
    assert names == sorted(names)
    config_maps = next(each for each in listed["resources"] if each["name"] == "configmaps")
    assert config_maps["storageVersionHash"] == "qFsyl6wFWjQ="
    accept = {"accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"}
    response = await server.request("GET", "/apis", headers=accept)
    assert response.headers["content-type"] == accept["accept"].partition(",")[0]
    again = await server.request("GET", "/apis", headers={**accept, "if-none-match": response.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    assert (await server.json("GET", "/apis/autoscaling"))["preferredVersion"]["version"] == "v2"
