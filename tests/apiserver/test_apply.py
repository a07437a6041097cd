"""managedFields and server-side apply through the whole API server."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from pilothouse.apiserver.attributes import AdmitAll, Attributes
from pilothouse.kit.http.message import Response
from tests.apiserver.harness import Harness, config_map, pod

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
PODS = "/api/v1/namespaces/default/pods"
Object = dict[str, Any]


@pytest.fixture
def server() -> Harness:
    return Harness()


def deployment(**spec: Any) -> Object:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


async def respond(
    server: Harness, path: str, config: Any, manager: str = "me", *, query: str = "", content: str = "apply-patch+yaml"
) -> Response:
    parts = [part for part in (f"fieldManager={manager}" if manager else "", query) if part]
    headers = {"content-type": f"application/{content}"}
    return await server.request("PATCH", path, body=config, query="&".join(parts), headers=headers)


async def apply(server: Harness, path: str, config: Any, manager: str = "me", **options: Any) -> Any:
    response = await respond(server, path, config, manager, **options)
    assert isinstance(response.body, bytes)
    return orjson.loads(response.body)


def owners(obj: Object) -> dict[tuple[str, str, str], Any]:
    return {
        (entry["manager"], entry["operation"], entry.get("subresource", "")): entry["fieldsV1"]
        for entry in obj["metadata"].get("managedFields", ())
    }


# Faults


@pytest.mark.parametrize(
    ("body", "query", "code", "message"),
    [
        (
            b"{}",
            "",
            422,
            'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch',
        ),
        (b"{}", "fieldManager=m", 400, "invalid object type: /, Kind="),
        (b"[]", "fieldManager=m", 400, "error decoding YAML"),
        (b"a: [", "fieldManager=m", 400, "error decoding YAML"),
        (b"", "fieldManager=m", 400, "invalid object type: /, Kind="),
        (b"{apiVersion: v1, kind: Pod}", "fieldManager=m", 400, "invalid object type: /v1, Kind=Pod"),
        (b"{apiVersion: v1, kind: ConfigMap}", "fieldManager=m", 400, "name must be provided"),
        (
            b"{apiVersion: v1, kind: ConfigMap, metadata: {name: b}}",
            "fieldManager=m",
            400,
            "the name of the object (b) does not match the name on the URL (a)",
        ),
        (
            b"{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: other}}",
            "fieldManager=m",
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (b"{apiVersion: v1, kind: ConfigMap, metadata: []}", "fieldManager=m", 500, ".metadata: expected map"),
        (
            b"{apiVersion: v1, kind: ConfigMap, data: [x]}",
            "fieldManager=m",
            500,
            ".data: expected map",
        ),
        (b"{apiVersion: v1, kind: ConfigMap, foo: 1}", "fieldManager=m", 500, ".foo: field not declared in schema"),
        (
            b"{apiVersion: v1, kind: ConfigMap, metadata: {name: a, uid: u}}",
            "fieldManager=m",
            409,
            "uid mismatch: the provided object specified uid u, and no existing object was found",
        ),
        (
            b"{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {a: x, a: z}}",
            "fieldManager=m&fieldValidation=Strict",
            400,
            'key "a" already set in map',
        ),
        (
            b"{apiVersion: v1, kind: ConfigMap, metadata: {name: a, managedFields: []}}",
            "fieldManager=m",
            400,
            "must be nil",
        ),
    ],
)
async def test_bad_applies(server: Harness, body: bytes, query: str, code: int, message: str) -> None:
    headers = {"content-type": "application/apply-patch+yaml"}
    answer = await server.json("PATCH", f"{CONFIG_MAPS}/a", body=body, query=query, headers=headers)
    assert (answer["code"], message in answer["message"]) == (code, True), answer


async def test_force_is_for_applies_only(server: Harness) -> None:
    await apply(server, f"{CONFIG_MAPS}/a", config_map("a"))
    answer = await apply(server, f"{CONFIG_MAPS}/a", {}, query="force=true", content="merge-patch+json")
    assert answer["code"] == 422


async def test_creating_by_an_apply_needs_the_right_to_create(server: Harness) -> None:
    server.everybody.denied.add("create")
    assert (await apply(server, f"{CONFIG_MAPS}/a", config_map("a")))["code"] == 403


async def test_a_subresource_of_what_does_not_exist(server: Harness) -> None:
    status = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "status": {"phase": "Running"}}
    assert (await apply(server, f"{PODS}/p/status", status))["code"] == 404


async def test_an_apply_of_an_old_state_is_a_conflict(server: Harness) -> None:
    await apply(server, f"{CONFIG_MAPS}/a", config_map("a"))
    old = config_map("a", k="new")
    old["metadata"]["resourceVersion"] = "1"
    answer = await apply(server, f"{CONFIG_MAPS}/a", old)
    assert (answer["code"], "the object has been modified" in answer["message"]) == (409, True)


async def test_a_conflict_tells_who_owns_the_field(server: Harness) -> None:
    await server.request(
        "POST", DEPLOYMENTS, body=deployment(replicas=1), headers={"user-agent": "kubectl-edit/v1 (x)"}
    )
    answer = await apply(server, f"{DEPLOYMENTS}/web", deployment(replicas=2))
    assert answer["code"] == 409
    assert (
        answer["message"] == 'Apply failed with 1 conflict: conflict with "kubectl-edit" using apps/v1: .spec.replicas'
    )
    assert answer["details"]["causes"][0]["reason"] == "FieldManagerConflict"
    forced = await apply(server, f"{DEPLOYMENTS}/web", deployment(replicas=2), query="force=true")
    assert forced["spec"]["replicas"] == 2


async def test_what_is_invalid_is_not_applied(server: Harness) -> None:
    answer = await apply(server, f"{DEPLOYMENTS}/web", deployment(replicas=-1))
    assert (answer["code"], answer["reason"]) == (422, "Invalid")


async def test_admission_cannot_break_managed_fields(server: Harness) -> None:
    class Breaker(AdmitAll):
        async def mutate(self, attributes: Attributes) -> None:
            assert attributes.obj is not None
            attributes.obj["metadata"]["managedFields"] = [{"manager": "x", "operation": "None"}]

    response = await Harness(Breaker()).request("POST", CONFIG_MAPS, body=config_map("a"))
    assert isinstance(response.body, bytes)
    assert list(owners(orjson.loads(response.body))) == [("unknown", "Update", "")]
    assert "managedFields was in an invalid state after admission" in response.headers["warning"]


# Who writes


@pytest.mark.parametrize(
    ("query", "agent", "manager"),
    [
        ("fieldManager=me", "kubectl/v1.36.0 (linux/amd64)", "me"),
        ("", "kubectl/v1.36.0 (linux/amd64)", "kubectl"),
        ("", "", "unknown"),
        ("", "a\x01b/c", "ab"),
        ("", "x" * 200, "x" * 128),
        ("", "ä" * 100, "ä" * 64),
    ],
)
async def test_the_name_of_a_manager(server: Harness, query: str, agent: str, manager: str) -> None:
    created = await server.json("POST", CONFIG_MAPS, body=config_map("a"), query=query, headers={"user-agent": agent})
    assert list(owners(created)) == [(manager, "Update", "")]


async def test_every_verb_keeps_owners(server: Harness) -> None:
    created = await server.json("POST", CONFIG_MAPS, body=config_map("a", k="1"), query="fieldManager=post")
    created["data"]["put"] = "1"
    await server.json("PUT", f"{CONFIG_MAPS}/a", body=created, query="fieldManager=put")
    for content, body in (
        ("merge-patch+json", {"data": {"merge": "1"}}),
        ("strategic-merge-patch+json", {"data": {"strategic": "1"}}),
        ("json-patch+json", [{"op": "add", "path": "/data/json", "value": "1"}]),
    ):
        found = await apply(server, f"{CONFIG_MAPS}/a", body, content.partition("-")[0], content=content)
    owned = {manager: set(fields["f:data"]) - {"."} for (manager, _, _), fields in owners(found).items()}
    assert owned == {
        "post": {"f:k"},
        "put": {"f:put"},
        "merge": {"f:merge"},
        "strategic": {"f:strategic"},
        "json": {"f:json"},
    }


async def test_a_client_may_forget_owners(server: Harness) -> None:
    for body in ({"metadata": {"managedFields": [{}]}}, {"metadata": {"managedFields": []}}):
        await apply(server, f"{CONFIG_MAPS}/a", config_map("a"))
        found = await apply(server, f"{CONFIG_MAPS}/a", body, content="merge-patch+json")
        assert owners(found) == {}
        await server.request("DELETE", f"{CONFIG_MAPS}/a")


# Apply


async def test_applying_creates_and_then_changes(server: Harness) -> None:
    response = await respond(
        server, f"{CONFIG_MAPS}/a", b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: '1'}"
    )
    assert response.status == 201
    response = await respond(server, f"{CONFIG_MAPS}/a", config_map("a", k="2"))
    assert response.status == 200
    assert isinstance(response.body, bytes)
    found = orjson.loads(response.body)
    assert found["data"] == {"k": "2"}
    assert owners(found) == {("me", "Apply", ""): {"f:data": {"f:k": {}}}}


async def test_an_apply_that_changes_nothing_writes_nothing(server: Harness) -> None:
    first = await apply(server, f"{DEPLOYMENTS}/web", deployment(replicas=2))
    await server.clock.advance(60)
    assert await apply(server, f"{DEPLOYMENTS}/web", deployment(replicas=2)) == first
    spelled = deployment(replicas=2)
    spelled["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "1000m"}}
    second = await apply(server, f"{DEPLOYMENTS}/web", spelled)
    assert second["metadata"]["generation"] == 2
    await server.clock.advance(60)
    assert await apply(server, f"{DEPLOYMENTS}/web", spelled) == second


async def test_a_dry_run_writes_nothing(server: Harness) -> None:
    found = await apply(server, f"{CONFIG_MAPS}/a", config_map("a"), query="dryRun=All")
    assert found["metadata"]["uid"]
    assert (await server.json("GET", f"{CONFIG_MAPS}/a"))["code"] == 404


async def test_applies_at_the_same_time_do_not_lose_each_other(server: Harness) -> None:
    configs = [config_map("a", **{f"k{number}": "1"}) for number in range(4)]
    await asyncio.gather(
        *(apply(server, f"{CONFIG_MAPS}/a", config, f"m{number}") for number, config in enumerate(configs))
    )
    found = await server.json("GET", f"{CONFIG_MAPS}/a")
    assert set(found["data"]) == {"k0", "k1", "k2", "k3"}
    assert len(owners(found)) == 4


async def test_the_status_is_applied_by_itself(server: Harness) -> None:
    await server.json("POST", PODS, body=pod("p"))
    conditions = [{"type": "Ready", "status": "True"}]
    config = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "status": {"conditions": conditions}}
    found = await apply(server, f"{PODS}/p/status", config)
    assert owners(found)["me", "Apply", "status"] == {
        "f:status": {"f:conditions": {'k:{"type":"Ready"}': {".": {}, "f:type": {}, "f:status": {}}}}
    }
    gone = await apply(server, f"{PODS}/p/status", {**config, "status": {}})
    assert not gone["status"].get("conditions")


async def test_through_the_object_the_status_is_not_applied(server: Harness) -> None:
    found = await apply(server, f"{DEPLOYMENTS}/web", {**deployment(), "status": {"replicas": 7}})
    assert "f:status" not in owners(found)["me", "Apply", ""]
    assert not found["status"].get("replicas")


async def test_scaling_moves_the_ownership_of_replicas(server: Harness) -> None:
    await apply(server, f"{DEPLOYMENTS}/web", deployment(replicas=1))
    scale = {"spec": {"replicas": 3}}
    answer = await apply(server, f"{DEPLOYMENTS}/web/scale", scale, "autoscaler", content="merge-patch+json")
    assert "managedFields" not in answer["metadata"]
    found = await server.json("GET", f"{DEPLOYMENTS}/web")
    assert owners(found)["autoscaler", "Update", "scale"] == {"f:spec": {"f:replicas": {}}}
    assert "f:replicas" not in owners(found)["me", "Apply", ""]["f:spec"]
    config = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": 4}}
    refused = await apply(server, f"{DEPLOYMENTS}/web/scale", config, "other")
    assert refused["message"].startswith(
        'Apply failed with 1 conflict: conflict with "autoscaler" with subresource "scale"'
    )
    await apply(server, f"{DEPLOYMENTS}/web/scale", config, "other", query="force=true")
    found = await server.json("GET", f"{DEPLOYMENTS}/web")
    assert (found["spec"]["replicas"], ("other", "Apply", "scale") in owners(found)) == (4, True)


async def test_another_version_of_the_same_object(server: Harness) -> None:
    path = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers"
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    config = {
        "apiVersion": "autoscaling/v1",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "a"},
        "spec": {"scaleTargetRef": target, "maxReplicas": 3},
    }
    found = await apply(server, f"{path}/a", config)
    assert found["metadata"]["managedFields"][0]["apiVersion"] == "autoscaling/v1"
    found["spec"]["maxReplicas"] = 4
    found = await server.json("PUT", f"{path}/a", body=found, query="fieldManager=other")
    assert owners(found)["other", "Update", ""] == {"f:spec": {"f:maxReplicas": {}}}
    conflict = await apply(server, f"{path}/a", config)
    assert conflict["message"].endswith('conflict with "other" using autoscaling/v1: .spec.maxReplicas')


async def test_doubled_keys_are_warned_about(server: Harness) -> None:
    body = b"{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {a: x, a: z}}"
    response = await respond(server, f"{CONFIG_MAPS}/a", body)
    assert response.status == 201
    assert response.headers["warning"] == '299 - "line 1: key \\"a\\" already set in map"'


async def test_what_one_apply_creates_does_not_change_what_the_next_write_owns(server: Harness) -> None:
    await respond(server, f"{DEPLOYMENTS}/web", deployment())
    other = {**deployment(), "metadata": {"name": "other"}}
    created = await server.json("POST", DEPLOYMENTS, body=other)
    assert "f:strategy" in created["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]
