"""Clients that speak protobuf: what client-go's informers and typed clients send and ask for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pilothouse.api.codec import protobuf
from pilothouse.api.codec.decoder import decode_message
from pilothouse.api.codec.wire import fields
from pilothouse.kit.http.message import Response
from tests.apiserver.harness import Harness, config_map, pod

WANTED = {"accept": "application/vnd.kubernetes.protobuf,application/json"}
ALONE = {"accept": "application/vnd.kubernetes.protobuf"}
METADATA = "application/vnd.kubernetes.protobuf;as={};g=meta.k8s.io;v=v1"
SENT = {"content-type": "application/vnd.kubernetes.protobuf"}
MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"


@pytest.fixture
async def harness() -> Harness:
    harness = Harness()
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}
    assert (await harness.request("POST", "/api/v1/namespaces", body=namespace)).status == 201
    return harness


def read(response: Response) -> Any:
    assert response.headers["content-type"] == "application/vnd.kubernetes.protobuf"
    assert isinstance(response.body, bytes)
    return protobuf.decode(response.body)


def frames(data: bytes) -> Iterator[tuple[str, Any]]:
    """Types and objects of a watch's events."""
    while data:
        length = int.from_bytes(data[:4], "big")
        event = dict(fields(data, 4, 4 + length))
        yield event[1].decode(), protobuf.decode(dict(fields(event[2], 0, len(event[2])))[1])
        data = data[4 + length :]


async def watched(harness: Harness, path: str, query: str, headers: Any = WANTED) -> list[tuple[str, Any]]:
    """The events that are there at once."""
    response = await harness.request("GET", path, query=f"watch=1&{query}", headers=headers)
    assert response.headers["content-type"] == "application/vnd.kubernetes.protobuf;stream=watch"
    if isinstance(response.body, bytes):
        return list(frames(response.body))
    chunk = await anext(aiter(response.body))
    await response.body.aclose()
    return list(frames(chunk))


async def test_the_same_object_as_in_json(harness: Harness) -> None:
    created = read(await harness.request("POST", PODS, body=pod(), headers=WANTED))
    assert created["kind"] == "Pod"
    as_json = await harness.json("GET", f"{PODS}/p")
    got = read(await harness.request("GET", f"{PODS}/p", headers=ALONE))
    assert got["metadata"] == as_json["metadata"]
    assert got["spec"]["containers"][0]["name"] == "c"


async def test_what_is_sent_as_protobuf_is_what_json_would_have_been(harness: Harness) -> None:
    sent = protobuf.encode(config_map("b"))
    created = read(await harness.request("POST", MAPS, body=sent, headers={**SENT, **WANTED}))
    assert created["data"] == {"k": "v"}
    created["data"]["k"] = "w"
    body = protobuf.encode(created)
    updated = read(await harness.request("PUT", f"{MAPS}/b", body=body, headers={**SENT, **WANTED}))
    first = await harness.json("POST", MAPS, body=config_map("c"))
    second = await harness.json("GET", f"{MAPS}/b")
    assert second.keys() == first.keys()
    assert second["metadata"].keys() == first["metadata"].keys()
    assert second["data"] == {"k": "w"}
    assert updated["metadata"]["resourceVersion"] != created["metadata"]["resourceVersion"]


async def test_lists(harness: Harness) -> None:
    for name in ("a", "b"):
        await harness.request("POST", MAPS, body=config_map(name))
    listed = read(await harness.request("GET", MAPS, query="limit=1", headers=WANTED))
    assert listed["kind"] == "ConfigMapList"
    assert [item["metadata"]["name"] for item in listed["items"]] == ["a"]
    assert listed["metadata"]["remainingItemCount"] == 1
    assert listed["metadata"]["continue"]
    deleted = read(await harness.request("DELETE", MAPS, headers=WANTED))
    assert [item["metadata"]["name"] for item in deleted["items"]] == ["a", "b"]


async def test_metadata_alone(harness: Harness) -> None:
    await harness.request("POST", MAPS, body=config_map("a"))
    accept = {"accept": METADATA.format("PartialObjectMetadata")}
    one = read(await harness.request("GET", f"{MAPS}/a", headers=accept))
    assert (one["kind"], one["metadata"]["name"], "data" in one) == ("PartialObjectMetadata", "a", False)
    accept = {"accept": METADATA.format("PartialObjectMetadataList")}
    many = read(await harness.request("GET", MAPS, headers=accept))
    assert (many["kind"], many["apiVersion"]) == ("PartialObjectMetadataList", "meta.k8s.io/v1")
    assert many["items"][0]["metadata"]["name"] == "a"


async def test_watches(harness: Harness) -> None:
    first = await harness.json("POST", MAPS, body=config_map("a"))
    version = first["metadata"]["resourceVersion"]
    await harness.request("PUT", f"{MAPS}/a", body=config_map("a", k="w"))
    await harness.request("DELETE", f"{MAPS}/a")
    events = await watched(harness, MAPS, f"resourceVersion={version}")
    assert [type for type, _ in events] == ["MODIFIED", "DELETED"]
    assert events[0][1]["data"] == {"k": "w"}
    accept = {"accept": METADATA.format("PartialObjectMetadata")}
    events = await watched(harness, MAPS, f"resourceVersion={version}", accept)
    assert [obj["kind"] for _, obj in events] == ["PartialObjectMetadata"] * 2


async def test_initial_events_end_with_a_bookmark(harness: Harness) -> None:
    await harness.request("POST", MAPS, body=config_map("a"))
    query = "sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
    events = await watched(harness, MAPS, query)
    assert [type for type, _ in events][-2:] == ["ADDED", "BOOKMARK"]
    assert events[-1][1]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_watchers_share_one_encoding(harness: Harness) -> None:
    endpoint = harness.app.endpoint(next(each.gvr for each in harness.app.resources if each.gvr.plural == "configmaps"))
    for _ in range(2):
        response = await harness.request("GET", MAPS, query="watch=1", headers=WANTED)
        assert not isinstance(response.body, bytes)
        await response.body.aclose()
    assert len(endpoint.encoders) == 1


async def test_failures_are_told_in_protobuf(harness: Harness) -> None:
    response = await harness.request("GET", f"{MAPS}/none", headers=ALONE)
    assert response.status == 404
    failure = read(response)
    assert (failure["kind"], failure["apiVersion"], failure["reason"]) == ("Status", "v1", "NotFound")
    assert failure["details"] == {"name": "none", "kind": "configmaps"}
    invalid = read(await harness.request("POST", PODS, body=pod("Bad_Name"), headers=ALONE))
    assert invalid["details"]["causes"][0]["field"] == "metadata.name"


async def test_options_of_a_deletion(harness: Harness) -> None:
    await harness.request("POST", MAPS, body=config_map("a"))
    options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "other"}}
    body = protobuf.encode(options)
    refused = await harness.request("DELETE", f"{MAPS}/a", body=body, headers={**SENT, **ALONE})
    assert read(refused)["code"] == 409
    options["preconditions"] = None
    body = protobuf.encode(options)
    deleted = read(await harness.request("DELETE", f"{MAPS}/a", body=body, headers={**SENT, **ALONE}))
    assert deleted["status"] == "Success"


async def test_what_subresources_speak(harness: Harness) -> None:
    labels = {"app": "d"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {"replicas": 3, "selector": {"matchLabels": labels}, "template": template},
    }
    path = "/apis/apps/v1/namespaces/default/deployments"
    assert (await harness.request("POST", path, body=deployment)).status == 201
    scale = read(await harness.request("GET", f"{path}/d/scale", headers=ALONE))
    assert (scale["kind"], scale["spec"]["replicas"]) == ("Scale", 3)
    scale["spec"]["replicas"] = 1
    body = protobuf.encode(scale)
    changed = read(await harness.request("PUT", f"{path}/d/scale", body=body, headers={**SENT, **ALONE}))
    assert changed["spec"]["replicas"] == 1
    status = read(await harness.request("GET", f"{path}/d/status", headers=ALONE))
    assert status["spec"]["replicas"] == 1


async def test_tables_are_never_protobuf(harness: Harness) -> None:
    accept = f"{METADATA.format('Table')},application/json;as=Table;g=meta.k8s.io;v=v1"
    table = await harness.request("GET", MAPS, headers={"accept": accept})
    assert table.headers["content-type"] == "application/json"
    refused = await harness.request("GET", MAPS, headers={"accept": METADATA.format("Table")})
    assert refused.status == 406


async def test_yaml_cannot_be_watched(harness: Harness) -> None:
    refused = await harness.request("GET", MAPS, query="watch=1", headers={"accept": "application/yaml"})
    assert refused.status == 406
    assert b"application/vnd.kubernetes.protobuf;stream=watch" in refused.body  # type: ignore[operator]


@pytest.mark.parametrize("body", [b"", b"k8s\0", b"k8s\0\xff", b"k8s\0\x12\x01a", b"{}", protobuf.encode(pod())[:40]])
async def test_broken_bodies_are_refused(harness: Harness, body: bytes) -> None:
    response = await harness.request("POST", PODS, body=body, headers={**SENT, **ALONE})
    assert (response.status, read(response)["reason"]) == (400, "BadRequest")


def test_decoding_is_without_the_envelope_too() -> None:
    assert decode_message("core.v1.LocalObjectReference", b"\x0a\x01a") == {"name": "a"}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "empty data (<empty>)"),
        (b"xxxx", "expected prefix [107 56 115 0] (78787878)"),
        (b"k8s\0", "empty body (6b387300)"),
        (b"k8s\0\n", "unexpected EOF (6b3873000a)"),
        (b"k8s\0\n\x0f\n\x02v9\x12\tConfigMap", 'ConfigMap in version "v9" cannot be handled as a ConfigMap: no kind'),
    ],
)
async def test_what_is_no_message_is_refused_in_upstreams_words(body: bytes, why: str) -> None:
    headers = {"content-type": "application/vnd.kubernetes.protobuf"}
    answer = await Harness().json("POST", "/api/v1/namespaces/default/configmaps", body=body, headers=headers)
    assert (answer["code"], why in answer["message"]) == (400, True), answer
