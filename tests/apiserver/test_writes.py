"""Creating, updating, patching: what is refused, what the server sets, what is kept apart."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pilothouse.api import gvr, status
from pilothouse.apiserver.attributes import AdmitAll, Attributes
from pilothouse.apiserver.service_repair import ServiceRepair
from pilothouse.client.client import PatchType
from tests.apiserver.harness import Harness, config_map, pod, service

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
def server() -> Harness:
    return Harness()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            b"{",
            "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error",
        ),
        (b"[]", "json: cannot unmarshal array into Go value"),
        (b'{"kind":"Pod","apiVersion":"v1"}', 'Pod in version "v1" cannot be handled as a ConfigMap'),
        (
            b'{"kind":"ConfigMap","apiVersion":"v2"}',
            'no kind "ConfigMap" is registered for version "v2"',
        ),
        (b'{"metadata":{"name":"a","namespace":"other"}}', "the namespace of the provided object does not match"),
        (b'{"metadata":[]}', "metadata"),
        (b'{"kind":[1],"metadata":{"name":"a"}}', "cannot unmarshal array into Go struct field .kind of type string"),
    ],
)
async def test_a_bad_body_is_a_bad_request(server: Harness, body: bytes, message: str) -> None:
    answer = await server.json("POST", CONFIG_MAPS, body=body)
    assert (answer["code"], answer["reason"]) == (400, "BadRequest")
    assert message in answer["message"]


async def test_an_unknown_content_type_is_refused(server: Harness) -> None:
    answer = await server.json("POST", CONFIG_MAPS, body=b"x", headers={"content-type": "text/plain"})
    assert answer["code"] == 415
    assert answer["message"].startswith(
        "the body of the request was in an unknown format - accepted media types include:"
    )


async def test_yaml_is_read(server: Harness) -> None:
    body = b"metadata: {name: a}\ndata: {day: '2020-01-01'}\n"
    answer = await server.json("POST", CONFIG_MAPS, body=body, headers={"content-type": "application/yaml"})
    assert answer["data"] == {"day": "2020-01-01"}


async def test_unknown_and_duplicate_fields_are_warned_about_or_refused(server: Harness) -> None:
    body = b'{"metadata":{"name":"a"},"data":{"x":"1","x":"2"},"foo":1}'
    response = await server.request("POST", CONFIG_MAPS, body=body)
    assert response.status == 201
    assert response.headers["warning"] == '299 - "unknown field \\"foo\\"", 299 - "duplicate field \\"data.x\\""'
    strict = await server.json("POST", CONFIG_MAPS, body=body, query="fieldValidation=Strict")
    assert strict["code"] == 400
    assert 'strict decoding error: unknown field "foo", duplicate field "data.x"' in strict["message"]
    ignored = await server.request(
        "POST", CONFIG_MAPS, body=body.replace(b'"a"', b'"b"'), query="fieldValidation=Ignore"
    )
    assert ignored.status == 201
    assert "warning" not in ignored.headers


async def test_the_server_sets_identity(server: Harness) -> None:
    sent = config_map()
    sent["metadata"] |= {"uid": "mine", "creationTimestamp": "2001-01-01T00:00:00Z", "managedFields": []}
    created = await server.client.create(gvr.CONFIG_MAPS, sent)
    metadata = created["metadata"]
    assert metadata["uid"] != "mine"
    assert len(metadata["uid"]) == 36
    assert metadata["creationTimestamp"] == "2023-11-14T22:13:20Z"
    assert [entry["manager"] for entry in metadata["managedFields"]] == ["pilothouse"]
    assert await server.client.get(gvr.CONFIG_MAPS, "default", "a") == created


async def test_a_resource_version_is_refused_on_creation(server: Harness) -> None:
    sent = config_map()
    sent["metadata"]["resourceVersion"] = "7"
    with pytest.raises(status.StatusError, match="resourceVersion should not be set on objects to be created"):
        await server.client.create(gvr.CONFIG_MAPS, sent)


async def test_a_resource_version_is_refused_after_admission_and_not_of_a_dry_run() -> None:
    """As the storage refuses it upstream: who may not create the object learns that first."""
    seen: list[str] = []

    class Denying(AdmitAll):
        async def validate(self, attributes: Attributes) -> None:
            seen.append((attributes.obj or {})["metadata"]["resourceVersion"])
            raise status.Forbidden("not on this node")

    sent = config_map()
    sent["metadata"]["resourceVersion"] = "7"
    with pytest.raises(status.Forbidden, match="not on this node"):
        await Harness(Denying()).client.create(gvr.CONFIG_MAPS, sent)
    assert seen == ["7"]
    created = await Harness().json("POST", "/api/v1/namespaces/default/configmaps", body=sent, query="dryRun=All")
    assert "resourceVersion" not in created["metadata"]


async def test_a_second_object_of_the_name_is_refused(server: Harness) -> None:
    await server.client.create(gvr.CONFIG_MAPS, config_map())
    with pytest.raises(status.AlreadyExists, match='configmaps "a" already exists'):
        await server.client.create(gvr.CONFIG_MAPS, config_map())


async def test_names_are_generated_and_tried_again(server: Harness) -> None:
    sent = config_map()
    sent["metadata"] = {"generateName": "g-"}
    names = {
        (await server.client.create(gvr.CONFIG_MAPS, sent, namespace="default"))["metadata"]["name"] for _ in range(20)
    }
    assert len(names) == 20
    assert all(name.startswith("g-") and len(name) == 7 for name in names)


async def test_a_dry_run_writes_nothing(server: Harness) -> None:
    answer = await server.json("POST", CONFIG_MAPS, body=config_map(), query="dryRun=All")
    assert answer["metadata"]["uid"]
    with pytest.raises(status.NotFound):
        await server.client.get(gvr.CONFIG_MAPS, "default", "a")
    bad = await server.json("POST", CONFIG_MAPS, body=config_map(), query="dryRun=Some")
    assert bad["code"] == 422
    assert (
        bad["message"]
        == 'CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["Some"]: supported values: "All"'
    )


async def test_an_invalid_object_names_every_cause(server: Harness) -> None:
    sent = config_map("A_")
    sent["metadata"]["labels"] = {"!": "x"}
    with pytest.raises(status.Invalid) as caught:
        await server.client.create(gvr.CONFIG_MAPS, sent)
    assert {cause.field for cause in caught.value.causes} == {"metadata.name", "metadata.labels"}


async def test_a_stale_update_conflicts(server: Harness) -> None:
    old = await server.client.create(gvr.CONFIG_MAPS, config_map())
    await server.client.update(gvr.CONFIG_MAPS, {**old, "data": {"k": "2"}})
    with pytest.raises(status.Conflict, match="the object has been modified; please apply your changes"):
        await server.client.update(gvr.CONFIG_MAPS, {**old, "data": {"k": "3"}})


async def test_an_update_without_a_version_overwrites(server: Harness) -> None:
    await server.client.create(gvr.CONFIG_MAPS, config_map())
    updated = await server.client.update(gvr.CONFIG_MAPS, config_map(k="new"))
    assert updated["data"] == {"k": "new"}


async def test_version_0_is_none(server: Harness) -> None:
    """Upstream's store reads "0" and nothing alike, at a creation, too."""
    obj = config_map(x="1")
    obj["metadata"]["resourceVersion"] = "0"
    await server.client.create(gvr.CONFIG_MAPS, obj)
    changed = await server.client.update(gvr.CONFIG_MAPS, {**obj, "data": {"x": "2"}})
    assert changed["data"] == {"x": "2"}


async def test_an_update_that_changes_nothing_writes_nothing(server: Harness) -> None:
    created = await server.client.create(gvr.CONFIG_MAPS, config_map())
    assert await server.client.update(gvr.CONFIG_MAPS, created) == created


async def test_identity_cannot_be_updated(server: Harness) -> None:
    created = await server.client.create(gvr.CONFIG_MAPS, config_map())
    other = {**created, "metadata": {**created["metadata"], "uid": "else"}}
    with pytest.raises(status.Conflict, match="Precondition failed: UID in precondition: else"):
        await server.client.update(gvr.CONFIG_MAPS, other)
    merge = {"content-type": "application/merge-patch+json"}
    patched = await server.json("PATCH", f"{CONFIG_MAPS}/a", body={"metadata": {"uid": "else"}}, headers=merge)
    assert patched["message"] == 'ConfigMap "a" is invalid: metadata.uid: Invalid value: "else": field is immutable'
    assert len(patched["details"]["causes"]) == 2
    moved = await server.json("PUT", f"{CONFIG_MAPS}/b", body=created)
    assert moved["message"] == "the name of the object (a) does not match the name on the URL (b)"


async def test_what_does_not_exist_is_not_updated(server: Harness) -> None:
    with pytest.raises(status.NotFound, match='configmaps "a" not found'):
        await server.client.update(gvr.CONFIG_MAPS, config_map())


async def test_some_kinds_are_created_by_an_update(server: Harness) -> None:
    lease = {"metadata": {"name": "l", "namespace": "default"}, "spec": {"holderIdentity": "me"}}
    created = await server.client.update(gvr.LEASES, lease)
    assert created["spec"] == {"holderIdentity": "me"}


async def test_creating_by_an_update_needs_the_right_to_create(server: Harness) -> None:
    server.everybody.denied = {"create"}
    lease = {"metadata": {"name": "l", "namespace": "default"}}
    with pytest.raises(status.Forbidden):
        await server.client.update(gvr.LEASES, lease)
    assert not (await server.client.list(gvr.LEASES)).items


async def test_status_and_spec_are_kept_apart(server: Harness) -> None:
    created = await server.client.create(gvr.PODS, {**pod(), "status": {"phase": "Running"}})
    assert created["status"]["phase"] == "Pending"
    changed = orjson.loads(orjson.dumps(created))
    changed["status"]["phase"] = "Running"
    changed["spec"]["containers"][0]["image"] = "y"
    by_status = await server.client.update_status(gvr.PODS, changed)
    assert by_status["status"]["phase"] == "Running"
    assert by_status["spec"]["containers"][0]["image"] == "x"
    changed["metadata"]["resourceVersion"] = by_status["metadata"]["resourceVersion"]
    changed["status"]["phase"] = "Failed"
    by_spec = await server.client.update(gvr.PODS, changed)
    assert by_spec["status"]["phase"] == "Running"
    assert by_spec["spec"]["containers"][0]["image"] == "y"
    assert by_spec["metadata"]["generation"] == 2


async def test_patches(server: Harness) -> None:
    await server.client.create(gvr.PODS, pod())
    merged = await server.client.patch(gvr.PODS, "default", "p", {"metadata": {"labels": {"a": "b"}}})
    assert merged["metadata"]["labels"] == {"app": "p", "a": "b"}
    operations = [{"op": "remove", "path": "/metadata/labels/app"}]
    by_json = await server.client.patch(gvr.PODS, "default", "p", operations, type=PatchType.JSON)
    assert by_json["metadata"]["labels"] == {"a": "b"}
    strategic = {"spec": {"containers": [{"name": "c", "image": "z"}]}}
    by_name = await server.client.patch(gvr.PODS, "default", "p", strategic, type=PatchType.STRATEGIC)
    assert by_name["spec"]["containers"][0]["image"] == "z"
    assert by_name["spec"]["containers"][0]["imagePullPolicy"] == "Always"


async def test_a_patch_that_is_none_is_refused(server: Harness) -> None:
    await server.client.create(gvr.CONFIG_MAPS, config_map())
    headers = {"content-type": "application/merge-patch+json"}
    bad = await server.json("PATCH", f"{CONFIG_MAPS}/a", body=b"{", headers=headers)
    assert bad["code"] == 400
    unknown = await server.json("PATCH", f"{CONFIG_MAPS}/a", body=b"{}", headers={"content-type": "application/json"})
    assert unknown["code"] == 415
    apply = await server.json(
        "PATCH", f"{CONFIG_MAPS}/a", body=b"{}", headers={"content-type": "application/apply-patch+yaml"}
    )
    assert apply["code"] == 422
    assert "fieldManager: Required value: is required for apply patch" in apply["message"]


_STRICT = "fieldValidation=Strict"


@pytest.mark.parametrize(
    ("type_", "patch", "query", "why"),
    [
        (
            PatchType.STRATEGIC,
            b'{"metadata":{"labels":"no"}}',
            "",
            'patch: Invalid value: "map[metadata:map[labels:no]]": cannot restore map from string',
        ),
        (
            PatchType.STRATEGIC,
            b'{"metadata":{"finalizers":{"a":true}},"immutable":null}',
            "",
            '"map[immutable:<nil> metadata:map[finalizers:map[a:true]]]": cannot restore slice from map',
        ),
        (
            PatchType.MERGE,
            b'{"immutable":"yes"}',
            "",
            "json: cannot unmarshal string into Go struct field ConfigMap.immutable of type bool",
        ),
        (
            PatchType.MERGE,
            b'{"metadata":3}',
            "",
            "json: cannot unmarshal number into Go struct field ConfigMap.metadata",
        ),
        (
            PatchType.STRATEGIC,
            b'{"data":{"a":"1","a":"2"},"more":1}',
            _STRICT,
            'strict decoding error: duplicate field "data.a", unknown field "more"',
        ),
        (PatchType.MERGE, b'{"data":{"a":"1","a":"2"}}', _STRICT, 'strict decoding error: duplicate field "data.a"'),
        (
            PatchType.JSON,
            b'[{"op":"add","path":"/more","value":1,"foo":2,"op":"add"}]',
            _STRICT,
            'strict decoding error: json patch unknown field "[0].foo", json patch duplicate field "[0].op", '
            'unknown field "more"',
        ),
    ],
)
async def test_a_patch_whose_result_cannot_be_read_is_invalid(
    server: Harness, type_: PatchType, patch: bytes, query: str, why: str
) -> None:
    await server.client.create(gvr.CONFIG_MAPS, config_map())
    headers = {"content-type": type_.value}
    refused = await server.json("PATCH", f"{CONFIG_MAPS}/a", body=patch, headers=headers, query=query)
    assert (refused["code"], refused["reason"]) == (422, "Invalid")
    assert refused["message"].startswith(' "" is invalid: patch: Invalid value: ')
    assert why in refused["message"]
    assert (await server.client.get(gvr.CONFIG_MAPS, "default", "a"))["metadata"]["name"] == "a"


async def test_doubled_and_unknown_fields_of_a_patch_are_told(server: Harness) -> None:
    await server.client.create(gvr.CONFIG_MAPS, config_map())
    body = b'{"data":{"a":"1","a":"2"},"more":1}'
    response = await server.request(
        "PATCH", f"{CONFIG_MAPS}/a", body=body, headers={"content-type": PatchType.MERGE.value}
    )
    assert response.status == 200
    assert response.headers["warning"] == '299 - "duplicate field \\"data.a\\"", 299 - "unknown field \\"more\\""'


@pytest.mark.parametrize("port", [[], {}, [{}]])
async def test_a_merge_key_that_is_no_scalar_is_refused(server: Harness, port: object) -> None:
    await server.client.create(gvr.SERVICES, service())
    patch = {"spec": {"ports": [{"port": port}]}}
    with pytest.raises(status.BadRequest):
        await server.client.patch(gvr.SERVICES, "default", "s", patch, type=PatchType.STRATEGIC)


async def test_a_service_needs_a_name_before_an_address(server: Harness) -> None:
    with pytest.raises(status.Invalid, match=r"metadata.name: Required value: name or generateName is required"):
        await server.client.create(
            gvr.SERVICES, {"metadata": {}, "spec": {"ports": [{"port": 80}]}}, namespace="default"
        )
    assert not (await server.client.list(gvr.IP_ADDRESSES)).items


async def test_a_patch_with_an_old_version_conflicts(server: Harness) -> None:
    created = await server.client.create(gvr.CONFIG_MAPS, config_map())
    await server.client.patch(gvr.CONFIG_MAPS, "default", "a", {"data": {"x": "1"}})
    stale = {"metadata": {"resourceVersion": created["metadata"]["resourceVersion"]}, "data": {"x": "2"}}
    with pytest.raises(status.Conflict):
        await server.client.patch(gvr.CONFIG_MAPS, "default", "a", stale)


async def test_scale(server: Harness) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    deployment = {
        "metadata": {"name": "d", "namespace": "default"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": template},
    }
    await server.client.create(gvr.DEPLOYMENTS, deployment)
    scale = await server.client.get(gvr.DEPLOYMENTS, "default", "d", subresource="scale")
    assert (scale["kind"], scale["spec"], scale["status"]) == (
        "Scale",
        {"replicas": 2},
        {"replicas": 0, "selector": "a=b"},
    )
    scale["spec"]["replicas"] = 5
    await server.client.update(gvr.DEPLOYMENTS, scale, subresource="scale")
    grown = await server.client.get(gvr.DEPLOYMENTS, "default", "d")
    assert (grown["spec"]["replicas"], grown["metadata"]["generation"]) == (5, 2)
    with pytest.raises(status.Invalid, match=r'Scale.autoscaling "d" is invalid: spec.replicas: Invalid value: -1'):
        await server.client.patch(gvr.DEPLOYMENTS, "default", "d", {"spec": {"replicas": -1}}, subresource="scale")


async def test_binding(server: Harness) -> None:
    await server.client.create(gvr.PODS, pod())
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": "p", "annotations": {"x": "y"}},
        "target": {"kind": "Node", "name": "n1"},
    }
    arguments = {"namespace": "default", "name": "p", "subresource": "binding"}
    await server.client.create(gvr.PODS, binding, **arguments)
    bound = await server.client.get(gvr.PODS, "default", "p")
    assert bound["spec"]["nodeName"] == "n1"
    assert bound["metadata"]["annotations"] == {"x": "y"}
    assert bound["metadata"]["generation"] == 1
    assert [(each["type"], each["status"]) for each in bound["status"]["conditions"]] == [("PodScheduled", "True")]
    with pytest.raises(status.Conflict, match='pods/binding "p": pod p is already assigned to node "n1"'):
        await server.client.create(gvr.PODS, binding, **arguments)


async def test_service_addresses_and_ports(server: Harness) -> None:
    first = await server.client.create(gvr.SERVICES, service("a", type="NodePort"))
    spec = first["spec"]
    assert spec["clusterIP"] == spec["clusterIPs"][0]
    assert spec["clusterIP"].startswith("10.96.0.")
    assert (spec["ipFamilies"], spec["ipFamilyPolicy"]) == (["IPv4"], "SingleStack")
    port = spec["ports"][0]["nodePort"]
    assert 30000 <= port < 30100
    address = await server.client.get(gvr.IP_ADDRESSES, "", spec["clusterIP"])
    assert address["spec"]["parentRef"] == {"resource": "services", "namespace": "default", "name": "a"}
    with pytest.raises(status.Invalid, match="provided port is already allocated"):
        await server.client.create(gvr.SERVICES, service("b", type="NodePort", ports=[{"port": 80, "nodePort": port}]))
    with pytest.raises(
        status.Invalid, match=f"failed to allocate IP {spec['clusterIP']}: provided IP is already allocated"
    ):
        await server.client.create(gvr.SERVICES, service("b", clusterIP=spec["clusterIP"]))
    with pytest.raises(status.Invalid, match="is not in the valid range"):
        await server.client.create(gvr.SERVICES, service("b", clusterIP="10.0.0.1"))
    listed = await server.client.list(gvr.IP_ADDRESSES)
    assert len(listed.items) == 1
    await server.client.delete(gvr.SERVICES, "default", "a")
    assert not (await server.client.list(gvr.IP_ADDRESSES)).items
    assert not await server.ports.taken()


async def test_a_service_that_becomes_headless_of_ports_gives_them_back(server: Harness) -> None:
    created = await server.client.create(gvr.SERVICES, service("a", type="NodePort"))
    created["spec"]["type"] = "ClusterIP"
    updated = await server.client.update(gvr.SERVICES, created)
    assert updated["spec"]["clusterIP"] == created["spec"]["clusterIP"]
    assert "nodePort" not in updated["spec"]["ports"][0]
    assert not await server.ports.taken()


async def test_repair_gives_back_what_a_crash_left(server: Harness) -> None:
    await server.client.create(gvr.SERVICES, service("a", type="NodePort"))
    await server.ports.take(30099, "default/gone")
    await server.services.addresses.take("10.96.0.99", service("gone"))
    repair = ServiceRepair(server.services, lambda kind: server.app.endpoint(kind).registry(), server.clock)
    await repair.turn()
    await server.ports.release(30099)
    await server.ports.take(30099, "default/new")
    await repair.turn()
    assert set((await server.ports.taken()).values()) == {"default/a", "default/new"}
    assert len((await server.client.list(gvr.IP_ADDRESSES)).items) == 1
    await repair.turn()
    assert set((await server.ports.taken()).values()) == {"default/a"}


async def test_repair_takes_what_a_service_has(server: Harness) -> None:
    created = await server.client.create(gvr.SERVICES, service("a", type="NodePort"))
    port = created["spec"]["ports"][0]["nodePort"]
    await server.ports.release(port)
    await server.services.addresses.release(created["spec"]["clusterIP"])
    await ServiceRepair(server.services, lambda kind: server.app.endpoint(kind).registry(), server.clock).turn()
    assert await server.ports.taken() == {port: "default/a"}
    assert [item["metadata"]["name"] for item in (await server.client.list(gvr.IP_ADDRESSES)).items] == [
        created["spec"]["clusterIP"]
    ]


async def test_an_update_of_an_old_state_is_refused_also_when_it_loses_the_race(
    server: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = await server.client.create(gvr.CONFIG_MAPS, config_map())
    put = server.store.put
    raced = False

    async def race(key: str, value: bytes, **options: Any) -> Any:
        nonlocal raced
        if not raced:
            raced = True
            await server.client.patch(gvr.CONFIG_MAPS, "default", "a", {"data": {"first": "1"}})
        return await put(key, value, **options)

    monkeypatch.setattr(server.store, "put", race)
    with pytest.raises(status.Conflict):
        await server.client.update(gvr.CONFIG_MAPS, {**created, "data": {"second": "1"}})
    found = await server.client.get(gvr.CONFIG_MAPS, "default", "a")
    assert found["data"] == {"k": "v", "first": "1"}
