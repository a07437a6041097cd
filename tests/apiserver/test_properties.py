"""Properties of the whole API server: whatever is sent is answered; a watch leads to what a list shows; applies are idempotent."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import quote

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.api.codec import protobuf
from pilothouse.kit.http.message import Response
from tests.apiserver.harness import Harness, config_map, pod

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
OUR_FAULT = b"Internal error occurred"
few = settings(max_examples=60, deadline=None)

LEAVES = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=4) | st.sampled_from(
        ["v1", "Pod", "ConfigMap", "delete", "replace", "merge", "a", "c", "2020-01-01T00:00:00Z", "1Gi", "YQ=="]
    )
)  # fmt: skip
KEYS = st.sampled_from([
    "apiVersion", "kind", "metadata", "name", "namespace", "labels", "annotations", "finalizers", "ownerReferences", "managedFields",
    "resourceVersion", "uid", "data", "binaryData", "immutable", "spec", "status", "containers", "env", "ports", "containerPort",
    "resources", "requests", "cpu", "volumes", "tolerations", "nodeName", "conditions", "type", "$patch", "$retainKeys",
    "$setElementOrder/containers", "$deleteFromPrimitiveList/finalizers", "op", "path", "from", "value", "fieldsV1", "f:metadata",
]) | st.text(max_size=3)  # fmt: skip
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


def encoded(value: Any) -> bytes:
    """JSON of any value, also of what no sound sender would write."""
    return json.dumps(value).encode()


def seen(response: Response) -> bytes:
    """The body, after the checks that hold for every answer."""
    assert isinstance(response.body, bytes)
    assert OUR_FAULT not in response.body, response.body
    assert response.status < 500 or b'"code":' in response.body
    return response.body


async def prepared() -> Harness:
    server = Harness()
    await server.json("POST", CONFIG_MAPS, body=config_map())
    await server.json("POST", PODS, body=pod())
    return server


@few
@given(
    st.sampled_from([(CONFIG_MAPS, "POST"), (PODS, "POST"), (f"{CONFIG_MAPS}/a", "PUT"), (f"{PODS}/p", "PUT"), (f"{PODS}/p", "DELETE")]),
    st.sampled_from([JSON, YAML, PROTOBUF]),
    VALUES.map(encoded) | st.binary(max_size=40) | st.binary(max_size=30).map(protobuf.encode(config_map()).__add__),
    st.integers(0, 60),
)  # fmt: skip
def test_any_body_is_answered(target: tuple[str, str], content_type: str, body: bytes, cut: int) -> None:
    async def send() -> None:
        server = await prepared()
        path, method = target
        for sent in (body, body[:cut] + body[cut + 1 :]):
            seen(await server.request(method, path, body=sent, headers={"content-type": content_type}))

    asyncio.run(send())


@few
@given(
    st.sampled_from([f"{CONFIG_MAPS}/a", f"{PODS}/p", f"{PODS}/p/status", f"{PODS}/p/resize", f"{CONFIG_MAPS}/new"]),
    st.sampled_from(PATCHES),
    VALUES.map(encoded) | st.binary(max_size=20),
)
def test_any_patch_is_answered(path: str, content_type: str, body: bytes) -> None:
    async def send() -> None:
        server = await prepared()
        headers = {"content-type": content_type}
        query = "fieldManager=m" if "apply" in content_type else ""
        seen(await server.request("PATCH", path, query=query, body=body, headers=headers))
        seen(await server.request("GET", path, headers={"accept": PROTOBUF}))

    asyncio.run(send())


OPTION_NAMES = (
    "limit", "continue", "resourceVersion", "resourceVersionMatch", "labelSelector", "fieldSelector", "timeoutSeconds", "dryRun",
    "fieldManager", "fieldValidation", "sendInitialEvents", "allowWatchBookmarks", "gracePeriodSeconds", "propagationPolicy",
    "orphanDependents", "includeObject", "pretty", "export", "watch", "force",
)  # fmt: skip
OPTION_VALUES = (
    st.sampled_from(["0", "1", "-1", "true", "All", "Exact", "NotOlderThan", "Orphan", "Strict", "a in (b)", "metadata.name=a", "e30"])
    | st.text(max_size=8)
)  # fmt: skip
SELECTORS = st.lists(
    st.sampled_from(["a", "in", "notin", "(", ")", ",", "=", "==", "!=", "!", ">", "<", " ", "b", "1", "/", "\\", "metadata.name"])
).map("".join)  # fmt: skip


@few
@given(
    st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE"]),
    st.dictionaries(st.sampled_from(OPTION_NAMES), OPTION_VALUES, max_size=5),
    SELECTORS,
    st.sampled_from(["labelSelector", "fieldSelector"]),
    st.sampled_from(["", JSON, YAML, PROTOBUF, f"{JSON};as=Table;g=meta.k8s.io;v=v1"]) | st.text(";,=/*q. ajson", max_size=20),
)  # fmt: skip
def test_any_options_are_answered(
    method: str, options: dict[str, str], selector: str, selector_name: str, accept: str
) -> None:
    query = "&".join(f"{name}={quote(value)}" for name, value in {**options, selector_name: selector}.items())

    async def send() -> None:
        server = await prepared()
        for path in (CONFIG_MAPS, f"{CONFIG_MAPS}/a"):
            response = await server.request(
                method, path, query=query, body=config_map(), headers={"accept": accept, "content-type": JSON}
            )
            if isinstance(response.body, bytes):
                seen(response)
            else:
                await response.body.aclose()  # type: ignore[attr-defined]

    asyncio.run(send())


WRITES = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["put", "label", "delete"]), st.sampled_from(["x", "y", ""])),
    min_size=1,
    max_size=12,
)


async def written(server: Harness, name: str, verb: str, label: str) -> None:
    obj = config_map(name, k=label)
    obj["metadata"]["labels"] = {"l": label} if label else {}
    if verb == "delete":
        await server.request("DELETE", f"{CONFIG_MAPS}/{name}")
    elif (await server.request("PUT", f"{CONFIG_MAPS}/{name}", body=obj)).status == 404:
        await server.request("POST", CONFIG_MAPS, body=obj)


async def events(server: Harness, query: str) -> list[dict[str, Any]]:
    response = await server.request("GET", CONFIG_MAPS, query=f"watch=true&timeoutSeconds=1&{query}")
    reading = asyncio.ensure_future(collected(response))
    await server.clock.advance(2)
    return await reading


async def collected(response: Response) -> list[dict[str, Any]]:
    assert not isinstance(response.body, bytes)
    return [orjson.loads(line) for line in b"".join([chunk async for chunk in response.body]).splitlines()]


@few
@given(WRITES, st.sampled_from(["", "labelSelector=l%3Dx", "fieldSelector=metadata.name%3Da"]))
def test_a_watch_from_any_revision_leads_to_what_a_list_shows(writes: list[tuple[str, str, str]], select: str) -> None:
    async def run() -> None:
        server = Harness()
        lists = []
        for name, verb, label in writes:
            lists.append(await server.json("GET", CONFIG_MAPS, query=select))
            await written(server, name, verb, label)
        wanted = {
            item["metadata"]["name"]: item for item in (await server.json("GET", CONFIG_MAPS, query=select))["items"]
        }
        for earlier in lists:
            revision = earlier["metadata"]["resourceVersion"]
            if revision == "0":
                continue
            state = {item["metadata"]["name"]: item for item in earlier["items"]}
            for event in await events(server, f"resourceVersion={revision}&{select}"):
                item = {key: value for key, value in event["object"].items() if key not in ("kind", "apiVersion")}
                name = item["metadata"]["name"]
                assert (event["type"] == "ADDED") == (name not in state)
                if event["type"] == "DELETED":
                    del state[name]
                else:
                    state[name] = item
            assert state == wanted
            exact = await server.json(
                "GET", CONFIG_MAPS, query=f"resourceVersion={revision}&resourceVersionMatch=Exact&{select}"
            )
            assert exact["items"] == earlier["items"]

    asyncio.run(run())


DATA = st.dictionaries(st.sampled_from("pqrs"), st.sampled_from(["1", "2"]), min_size=1, max_size=3)
"""Not empty: an empty map that is owned and then left out of the object is settled only by the second apply, here as upstream."""
APPLIES = {"content-type": "application/apply-patch+yaml"}


async def applied(server: Harness, manager: str, data: dict[str, str], *, force: bool = True) -> Any:
    query = f"fieldManager={manager}&force={'true' if force else 'false'}"
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "z"}, "data": data}
    return await server.json("PATCH", f"{CONFIG_MAPS}/z", query=query, body=config, headers=APPLIES)


@few
@given(st.lists(st.tuples(st.sampled_from("mno"), DATA), min_size=1, max_size=5))
def test_an_apply_holds_what_it_says_and_does_nothing_when_repeated(steps: list[tuple[str, dict[str, str]]]) -> None:
    async def run() -> None:
        server = Harness()
        for manager, data in steps:
            once = await applied(server, manager, data)
            assert data.items() <= once.get("data", {}).items()
            assert await applied(server, manager, data) == once

    asyncio.run(run())


@few
@given(DATA, DATA)
def test_applies_of_different_fields_may_come_in_any_order(one: dict[str, str], two: dict[str, str]) -> None:
    two = {f"other-{key}": value for key, value in two.items()}

    async def run(first: tuple[str, dict[str, str]], second: tuple[str, dict[str, str]]) -> tuple[Any, Any]:
        server = Harness()
        await applied(server, *first, force=False)
        result = await applied(server, *second, force=False)
        owned = sorted(
            (entry["manager"], orjson.dumps(entry["fieldsV1"])) for entry in result["metadata"]["managedFields"]
        )
        return result.get("data"), owned

    forward, backward = asyncio.run(run(("m", one), ("n", two))), asyncio.run(run(("n", two), ("m", one)))
    assert forward == backward
