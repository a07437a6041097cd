"""Custom resources through the whole server: defined, written, read at several versions, changed, removed."""

import asyncio
import copy
import random
from contextlib import suppress

import orjson
import pytest

from pilothouse.api import gvr
from pilothouse.api.codec import protobuf
from pilothouse.api.kinds.table import RESOURCES
from pilothouse.apiserver.app import ApiServer
from pilothouse.apiserver.attributes import AdmitAll
from pilothouse.apiserver.crd.custom_resources import CustomResources
from pilothouse.apiserver.discovery import Discovery
from pilothouse.apiserver.openapi import OpenApi
from pilothouse.kit.http.message import LOCAL_PEER, Request
from pilothouse.store.cachers import Cachers
from tests.apiserver.harness import Everybody, Harness

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
NAME = "crontabs.stable.example.com"
V1 = "/apis/stable.example.com/v1/namespaces/default/crontabs"
V2 = V1.replace("/v1/", "/v2/")
SCHEMA = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["cronSpec"],
            "properties": {
                "cronSpec": {"type": "string", "minLength": 3},
                "image": {"type": "string", "default": "busybox"},
                "replicas": {"type": "integer", "minimum": 0, "maximum": 10},
            },
        },
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}, "labels": {"type": "string"}}},
    },
}


def definition(**version):
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME},
        "spec": {
            "group": "stable.example.com",
            "scope": "Namespaced",
            "names": {"plural": "crontabs", "kind": "CronTab", "shortNames": ["ct"], "categories": ["all"]},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": copy.deepcopy(SCHEMA)},
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.replicas",
                            "statusReplicasPath": ".status.replicas",
                            "labelSelectorPath": ".status.labels",
                        },
                    },
                    "additionalPrinterColumns": [
                        {"name": "Spec", "type": "string", "jsonPath": ".spec.cronSpec"},
                        {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas", "priority": 1},
                    ],
                    "selectableFields": [{"jsonPath": ".spec.image"}],
                    **version,
                }
            ],
        },
    }


def crontab(name="a", **spec):
    return {
        "apiVersion": "stable.example.com/v1",
        "kind": "CronTab",
        "metadata": {"name": name},
        "spec": {"cronSpec": "* * *", **spec},
    }


class CustomHarness(Harness):
    """The server with custom resources, discovery and OpenAPI."""

    def __init__(self, webhooks=None, admission=None):
        super().__init__()
        discovery, openapi = Discovery(RESOURCES, server_address="x"), OpenApi(RESOURCES)
        paths = dict.fromkeys(("/apis/", *discovery.paths), discovery.serve)
        paths |= dict.fromkeys(("/openapi/v2", "/openapi/v3", "/openapi/v3/"), openapi.serve)
        everybody = Everybody()
        self.app = ApiServer(
            Cachers(self.store, self.clock),
            RESOURCES,
            authenticator=everybody,
            authorizer=everybody,
            admission=admission or AdmitAll(),
            clock=self.clock,
            rng=random.Random(1),
            paths=paths,
        )
        publish = (discovery.serve_custom, openapi.serve_custom)
        self.custom = CustomResources(self.app, publish, self.clock, webhooks=webhooks, rng=random.Random(2))

    async def define(self, given):
        answer = await self.json("POST", DEFINITIONS, body=given)
        await self.settle()
        return answer

    async def redefine(self, change):
        present = await self.json("GET", f"{DEFINITIONS}/{given_name(change)}")
        change(present)
        answer = await self.json("PUT", f"{DEFINITIONS}/{present['metadata']['name']}", body=present)
        await self.settle()
        return answer

    async def settle(self):
        for _ in range(50):
            await asyncio.sleep(0)

    async def patch(self, path, patch, type_="merge-patch+json"):
        return await self.json("PATCH", path, body=patch, headers={"content-type": f"application/{type_}"})


def given_name(change):
    return getattr(change, "of", NAME)


@pytest.fixture
async def server():
    harness = CustomHarness()
    await harness.custom.open()
    task = asyncio.create_task(harness.custom.run())
    yield harness
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await harness.app.stop()


def conditions(obj):
    return {each["type"]: (each["status"], each["reason"]) for each in obj["status"]["conditions"]}


async def test_nothing_is_served_before_it_is_defined(server):
    assert (await server.request("GET", V1)).status == 404
    assert (await server.request("GET", "/apis/stable.example.com")).status == 404


async def test_a_definition_is_established_and_served(server):
    created = await server.define(definition())
    assert created["status"]["conditions"] is None
    assert created["status"]["storedVersions"] == ["v1"]
    defined = await server.json("GET", f"{DEFINITIONS}/{NAME}")
    assert conditions(defined) == {
        "NamesAccepted": ("True", "NoConflicts"),
        "Established": ("True", "InitialNamesAccepted"),
    }
    assert defined["status"]["acceptedNames"]["listKind"] == "CronTabList"
    owners = {each["manager"]: each for each in defined["metadata"]["managedFields"]}
    assert owners["kube-apiserver"]["subresource"] == "status"
    assert owners["kube-apiserver"]["fieldsV1"].keys() == {"f:status"}
    made = await server.json("POST", V1, body=crontab())
    assert made["spec"] == {"cronSpec": "* * *", "image": "busybox"}
    assert made["metadata"]["generation"] == 1
    listed = await server.json("GET", V1)
    assert (listed["kind"], [each["metadata"]["name"] for each in listed["items"]]) == ("CronTabList", ["a"])
    assert listed["metadata"]["continue"] == ""


async def test_discovery_and_openapi(server):
    await server.define(definition())
    resources = (await server.json("GET", "/apis/stable.example.com/v1"))["resources"]
    assert [each["name"] for each in resources] == ["crontabs", "crontabs/status", "crontabs/scale"]
    assert resources[0]["shortNames"] == ["ct"]
    groups = (await server.json("GET", "/apis"))["groups"]
    assert groups[-1]["name"] == "stable.example.com"
    headers = {"accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}
    aggregated = await server.json("GET", "/apis", headers=headers)
    described = aggregated["items"][-1]["versions"][0]["resources"][0]
    assert described["singularResource"] == "crontab"
    assert described["responseKind"] == {"group": "stable.example.com", "version": "v1", "kind": "CronTab"}
    document = await server.json("GET", "/openapi/v3/apis/stable.example.com/v1")
    schema = document["components"]["schemas"]["com.example.stable.v1.CronTab"]
    assert schema["properties"]["spec"]["properties"]["replicas"]["maximum"] == 10
    patch = document["paths"]["/apis/stable.example.com/v1/namespaces/{namespace}/crontabs/{name}"]["patch"]
    assert "application/strategic-merge-patch+json" not in patch["requestBody"]["content"]
    assert "com.example.stable.v1.CronTab" in (await server.json("GET", "/openapi/v2"))["definitions"]
    accept = {"accept": "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"}
    assert b"com.example.stable.v1.CronTab" in (await server.request("GET", "/openapi/v2", headers=accept)).body


async def test_custom_objects_have_no_protobuf_but_their_metadata_has(server):
    sent = {"content-type": protobuf.MEDIA_TYPE, "accept": protobuf.MEDIA_TYPE}
    created = await server.request("POST", DEFINITIONS, body=protobuf.encode(definition()), headers=sent)
    assert created.status == 201
    versions = protobuf.decode(created.body)["spec"]["versions"]
    assert versions[0]["schema"]["openAPIV3Schema"]["properties"]["spec"] == SCHEMA["properties"]["spec"]
    await server.settle()
    assert (await server.json("POST", V1, body=crontab(replicas=2)))["metadata"]["name"] == "a"
    assert (await server.request("GET", f"{V1}/a", headers={"accept": protobuf.MEDIA_TYPE})).status == 406
    both = {"accept": f"{protobuf.MEDIA_TYPE},application/json"}
    assert (await server.json("GET", f"{V1}/a", headers=both))["spec"]["cronSpec"] == "* * *"
    assert (await server.json("GET", V1, headers=both))["kind"] == "CronTabList"
    for path, kind in ((f"{V1}/a", "PartialObjectMetadata"), (V1, "PartialObjectMetadataList")):
        accept = {"accept": f"{protobuf.MEDIA_TYPE};as={kind};g=meta.k8s.io;v=v1"}
        metadata = protobuf.decode((await server.request("GET", path, headers=accept)).body)
        assert metadata["kind"] == kind
    scale = await server.request("GET", f"{V1}/a/scale", headers={"accept": protobuf.MEDIA_TYPE})
    assert protobuf.decode(scale.body)["spec"]["replicas"] == 2


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"replicas": 11},
            "spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10",
        ),
        (
            {"replicas": "x"},
            'spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string"',
        ),
        ({"cronSpec": "*"}, 'spec.cronSpec: Invalid value: "*": spec.cronSpec in body should be at least 3 chars long'),
        ({"cronSpec": None}, "spec.cronSpec: Required value"),
    ],
)
async def test_values_are_validated(server, spec, message):
    await server.define(definition())
    answer = await server.json("POST", V1, body=crontab(**spec))
    assert (answer["code"], answer["reason"]) == (422, "Invalid")
    assert message in answer["message"]
    assert answer["message"].startswith('CronTab.stable.example.com "a" is invalid: ')


async def test_unknown_fields_are_pruned_and_told(server):
    await server.define(definition())
    response = await server.request("POST", V1, body=crontab(bar=1), query="fieldValidation=Warn")
    assert response.headers["warning"] == '299 - "unknown field \\"spec.bar\\""'
    assert "bar" not in orjson.loads(response.body)["spec"]
    strict = await server.json("POST", V1, body=crontab("b", bar=1), query="fieldValidation=Strict")
    assert strict["message"] == (
        'CronTab in version "v1" cannot be handled as a CronTab: strict decoding error: unknown field "spec.bar"'
    )


async def test_status_is_apart(server):
    await server.define(definition())
    await server.json("POST", V1, body={**crontab(), "status": {"replicas": 5}})
    assert "status" not in await server.json("GET", f"{V1}/a")
    changed = await server.patch(f"{V1}/a/status", {"status": {"replicas": 2}, "spec": {"image": "x"}})
    assert (changed["status"], changed["spec"]["image"], changed["metadata"]["generation"]) == (
        {"replicas": 2},
        "busybox",
        1,
    )
    changed = await server.patch(f"{V1}/a", {"spec": {"image": "x"}, "status": None})
    assert (changed["status"], changed["metadata"]["generation"]) == ({"replicas": 2}, 2)
    wrong = await server.patch(f"{V1}/a/status", {"status": {"replicas": "many"}})
    assert wrong["details"]["causes"][0]["field"] == "status.replicas"


async def test_without_status_subresource_a_status_is_a_field(server):
    await server.define(definition(subresources={}))
    made = await server.json("POST", V1, body={**crontab(), "status": {"replicas": 1}})
    assert made["status"] == {"replicas": 1}
    assert (await server.patch(f"{V1}/a", {"status": {"replicas": 2}}))["metadata"]["generation"] == 2
    assert (await server.request("GET", f"{V1}/a/status")).status == 404


async def test_scale(server):
    await server.define(definition())
    await server.json("POST", V1, body=crontab())
    assert (await server.json("GET", f"{V1}/a/scale"))["code"] == 500
    scaled = await server.patch(f"{V1}/a/scale", {"spec": {"replicas": 4}})
    assert (scaled["kind"], scaled["spec"]) == ("Scale", {"replicas": 4})
    assert (await server.json("GET", f"{V1}/a"))["metadata"]["generation"] == 2
    await server.patch(f"{V1}/a/status", {"status": {"replicas": 3, "labels": "a=b"}})
    assert (await server.json("GET", f"{V1}/a/scale"))["status"] == {"replicas": 3, "selector": "a=b"}
    refused = await server.patch(f"{V1}/a/scale", {"spec": {"replicas": 12}})
    assert "should be less than or equal to 10" in refused["message"]


async def test_columns_and_fields(server):
    await server.define(definition())
    await server.json("POST", V1, body=crontab(replicas=2))
    await server.json("POST", V1, body=crontab("b", image="x"))
    table = await server.json("GET", V1, headers={"accept": "application/json;as=Table;g=meta.k8s.io;v=v1"})
    assert [each["name"] for each in table["columnDefinitions"]] == ["Name", "Spec", "Replicas"]
    assert [row["cells"] for row in table["rows"]] == [["a", "* * *", 2], ["b", "* * *", None]]
    chosen = await server.json("GET", V1, query="fieldSelector=spec.image%3Dx")
    assert [each["metadata"]["name"] for each in chosen["items"]] == ["b"]
    assert (await server.json("GET", V1, query="fieldSelector=spec.foo%3Dx"))["code"] == 400


async def test_strategic_merge_is_not_understood(server):
    await server.define(definition())
    await server.json("POST", V1, body=crontab())
    answer = await server.patch(f"{V1}/a", {"spec": {"replicas": 1}}, "strategic-merge-patch+json")
    assert answer["code"] == 415
    assert answer["message"] == (
        "the body of the request was in an unknown format - accepted media types include: "
        "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
    )


async def test_server_side_apply(server):
    await server.define(definition())
    config = crontab(replicas=3)
    applied = await server.json(
        "PATCH",
        f"{V1}/a",
        query="fieldManager=m",
        body=config,
        headers={"content-type": "application/apply-patch+yaml"},
    )
    assert applied["metadata"]["managedFields"][0]["fieldsV1"] == {"f:spec": {"f:cronSpec": {}, "f:replicas": {}}}


async def test_a_changed_schema_takes_effect_at_once(server):
    await server.define(definition())
    await server.json("POST", V1, body=crontab(replicas=8))

    def narrow(present):
        spec = present["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        spec["replicas"]["maximum"] = 5
        spec["color"] = {"type": "string", "default": "red"}
        del spec["image"]
        del present["spec"]["versions"][0]["selectableFields"]

    await server.redefine(narrow)
    read = await server.json("GET", f"{V1}/a")
    assert read["spec"] == {"cronSpec": "* * *", "replicas": 8, "color": "red"}
    assert (await server.json("GET", V1))["items"][0]["spec"] == read["spec"]
    assert "should be less than or equal to 5" in (await server.patch(f"{V1}/a", {"spec": {"replicas": 9}}))["message"]
    # What was there before the rule came may stay.
    assert (await server.patch(f"{V1}/a", {"spec": {"color": "blue"}}))["spec"]["replicas"] == 8


async def test_versions_share_objects_and_storage_may_move(server):
    given = definition()
    second = copy.deepcopy(given["spec"]["versions"][0])
    second |= {"name": "v2", "storage": False}
    second["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["image"]["default"] = "alpine"
    given["spec"]["versions"].append(second)
    given["spec"]["versions"][0] |= {"deprecated": True}
    await server.define(given)
    response = await server.request("POST", V1, body=crontab())
    assert response.headers["warning"] == (
        '299 - "stable.example.com/v1 CronTab is deprecated; use stable.example.com/v2 CronTab"'
    )
    read = await server.json("GET", f"{V2}/a")
    assert (read["apiVersion"], read["spec"]["image"]) == ("stable.example.com/v2", "busybox")
    made = await server.json("POST", V2, body={**crontab("b"), "apiVersion": "stable.example.com/v2"})
    assert made["spec"]["image"] == "alpine"
    assert {each["apiVersion"] for each in (await server.json("GET", V1))["items"]} == {"stable.example.com/v1"}

    def move(present):
        for version in present["spec"]["versions"]:
            version["storage"] = version["name"] == "v2"

    moved = await server.redefine(move)
    assert moved["status"]["storedVersions"] == ["v1", "v2"]
    before = (await server.json("GET", f"{V1}/a"))["metadata"]["resourceVersion"]
    migrated = await server.patch(f"{V1}/a", {})
    assert migrated["metadata"]["resourceVersion"] != before
    assert (await server.patch(f"{V1}/a", {}))["metadata"]["resourceVersion"] == migrated["metadata"]["resourceVersion"]

    def unserve(present):
        present["spec"]["versions"][0]["served"] = False

    await server.redefine(unserve)
    assert (await server.request("GET", V1)).status == 404
    assert (await server.request("GET", V2)).status == 200


async def test_deleting_a_definition_deletes_its_objects_and_ends_watches(server):
    await server.define(definition())
    await server.json("POST", V1, body=crontab())
    held = crontab("held")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await server.json("POST", V1, body=held)
    watch = await server.request("GET", V1, query="watch=true")
    deleted = await server.json("DELETE", f"{DEFINITIONS}/{NAME}")
    assert conditions(deleted)["Terminating"] == ("True", "InstanceDeletionPending")
    assert deleted["metadata"]["generation"] == 1
    assert deleted["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    await server.settle()
    assert [each["metadata"]["name"] for each in (await server.json("GET", V1))["items"]] == ["held"]
    refused = await server.json("POST", V1, body=crontab("late"))
    assert (refused["code"], refused["reason"]) == (403, "Forbidden")
    assert "create not allowed while custom resource definition is terminating" in refused["message"]
    await server.patch(f"{V1}/held", {"metadata": {"finalizers": None}})
    await server.clock.advance(2)
    await server.settle()
    assert (await server.request("GET", f"{DEFINITIONS}/{NAME}")).status == 404
    assert (await server.request("GET", V1)).status == 404
    assert (await server.request("GET", "/apis/stable.example.com/v1")).status == 404
    lines = b"".join([chunk async for chunk in watch.body]).splitlines()
    kinds = [orjson.loads(line)["type"] for line in lines]
    assert kinds[:2] == ["ADDED", "ADDED"]
    assert kinds.count("DELETED") == 2


async def test_a_name_belongs_to_who_has_it_first(server):
    await server.define(definition())
    other = definition()
    other["metadata"]["name"] = "others.stable.example.com"
    other["spec"]["names"] = {"plural": "others", "kind": "Other", "shortNames": ["ct"]}
    await server.define(other)
    waiting = await server.json("GET", f"{DEFINITIONS}/others.stable.example.com")
    assert conditions(waiting)["NamesAccepted"] == ("False", "ShortNamesConflict")
    assert (await server.request("GET", V1.replace("crontabs", "others"))).status == 404
    await server.json("DELETE", f"{DEFINITIONS}/{NAME}")
    await server.settle()
    served = await server.json("GET", f"{DEFINITIONS}/others.stable.example.com")
    assert conditions(served)["Established"] == ("True", "InitialNamesAccepted")
    assert (await server.request("GET", V1.replace("crontabs", "others"))).status == 200


async def test_objects_survive_a_restart(server):
    await server.define(definition())
    made = await server.json("POST", V1, body=crontab())
    again = CustomHarness()
    again.app.cachers.store = server.store
    again.app.cachers = Cachers(server.store, server.clock)
    await again.custom.open()
    response = await again.app.handle(Request("GET", f"{V1}/a", "", {}, b"", LOCAL_PEER, V1))
    assert orjson.loads(response.body) == made
    await again.app.stop()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda spec: spec.update(group="nodots"), "should be a domain with at least one dot"),
        (lambda spec: spec.update(scope="Both"), 'spec.scope: Unsupported value: "Both"'),
        (
            lambda spec: spec["versions"][0].update(storage=False),
            "must have exactly one version marked as storage version",
        ),
        (lambda spec: spec["versions"][0].pop("schema"), "spec.versions[0].schema.openAPIV3Schema: Required value"),
        (
            lambda spec: spec.update(
                conversion={"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": {}}}
            ),
            "spec.conversion.webhookClientConfig: Required value: exactly one of url or service is required",
        ),
        (lambda spec: spec["names"].update(kind="Bad_Kind"), "spec.names.kind: Invalid value"),
    ],
)
async def test_a_definition_that_cannot_be_is_refused(server, change, message):
    given = definition()
    change(given["spec"])
    answer = await server.define(given)
    assert answer["code"] == 422
    assert message in answer["message"]


async def test_community_groups_need_approval(server):
    given = definition()
    given["metadata"]["name"] = "crontabs.x.k8s.io"
    given["spec"]["group"] = "x.k8s.io"
    assert "protected groups must have approval annotation" in (await server.define(given))["message"]
    given["metadata"]["annotations"] = {"api-approved.kubernetes.io": "https://example.com/1"}
    await server.define(given)
    defined = await server.json("GET", f"{DEFINITIONS}/crontabs.x.k8s.io")
    assert conditions(defined)["KubernetesAPIApprovalPolicyConformant"] == ("True", "ApprovedAnnotation")


@pytest.mark.parametrize("deep", [b"[" * 300 + b"]" * 300, b'{"a":' * 300 + b"1" + b"}" * 300])
async def test_what_is_nested_too_deeply_is_refused(server, deep):
    given = definition()
    schema = given["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["free"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    await server.define(given)
    body = orjson.dumps({**crontab(), "free": {"x": "@"}}).replace(b'"@"', deep)
    answer = await server.json("POST", V1, body=body)
    assert (answer["code"], answer["reason"]) == (400, "BadRequest")


async def test_rules_are_enforced(server):
    given = definition()
    spec = given["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["x-kubernetes-validations"] = [
        {"rule": "!has(self.replicas) || self.replicas != 7", "message": "not seven"},
        {"rule": "self.cronSpec == oldSelf.cronSpec", "message": "cronSpec is fixed"},
    ]
    await server.define(given)
    assert (await server.json("POST", V1, body=crontab(replicas=7)))["message"].endswith("Invalid value: not seven")
    await server.json("POST", V1, body=crontab(replicas=6))
    assert "cronSpec is fixed" in (await server.patch(f"{V1}/a", {"spec": {"cronSpec": "other"}}))["message"]
    assert "not seven" in (await server.patch(f"{V1}/a/scale", {"spec": {"replicas": 7}}))["message"]
    unchecked = await server.patch(f"{V1}/a", {"spec": {"replicas": "7"}})
    assert "some validation rules were not checked because the object was invalid" in unchecked["message"]


async def test_what_admission_changes_is_read_by_the_schema(server):
    await server.define(definition())
    endpoint = server.app.endpoint(gvr.GVR("stable.example.com", "v1", "crontabs", "CronTab"))
    changed = {**crontab(unknown=1), "other": True}
    endpoint.resource.read(changed)
    assert changed == crontab(image="busybox")


async def test_an_object_that_the_schema_cannot_read_any_more_is_still_shown(server):
    given = definition()
    schema = given["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    schema["properties"]["o"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    await server.define(given)
    await server.json("POST", V1, body=crontab(o={"kind": 1, "apiVersion": "v1"}))

    def embed(present):
        spec = present["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        spec["properties"]["o"]["x-kubernetes-embedded-resource"] = True

    await server.redefine(embed)
    assert (await server.json("GET", f"{V1}/a"))["spec"]["o"]["kind"] == 1
    assert (await server.json("GET", V1))["items"][0]["spec"]["o"]["kind"] == 1
    assert (await server.patch(f"{V1}/a", {"spec": {"replicas": 1}}))["code"] == 422


async def test_versions_that_differ_keep_what_both_know(server):
    """Without a webhook an object is stored as the schema of the stored version has it, and read as that of the version asked for."""
    given = definition()
    other = copy.deepcopy(given["spec"]["versions"][0]) | {"name": "v2", "storage": False, "selectableFields": []}
    del other["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["replicas"]
    other["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["more"] = {"type": "string"}
    given["spec"]["versions"].append(other)
    await server.define(given)
    made = await server.json("POST", V1, body=crontab(replicas=2))
    assert "replicas" not in (await server.json("GET", f"{V2}/a"))["spec"]
    sent = {**crontab("b", more="x"), "apiVersion": "stable.example.com/v2"}
    made = await server.json("POST", V2, body=sent)
    assert "more" not in made["spec"]
    assert "more" not in (await server.json("GET", f"{V1}/b"))["spec"]


async def test_what_an_object_says_that_it_is(server):
    """Custom objects are read without their kind being known: it is judged with the object. Messages are upstream's."""
    await server.define(definition())
    for change, code, message in (
        ({"kind": "Foo"}, 422, 'Foo.stable.example.com "a" is invalid: kind: Invalid value: "Foo": must be CronTab'),
        (
            {"kind": None},
            400,
            "the object provided is unrecognized (must be of type CronTab): Object 'Kind' is missing in",
        ),
        (
            {"apiVersion": None},
            400,
            "the API version in the data () does not match the expected API version (stable.example.com/v1)",
        ),
    ):
        body = {key: value for key, value in {**crontab(), **change}.items() if value is not None}
        refused = await server.json("POST", V1, body=body)
        assert (refused["code"], refused["message"][: len(message)]) == (code, message)
    await server.json("POST", V1, body=crontab())
    refused = await server.patch(f"{V1}/a", {"apiVersion": "y/v1"})
    assert (
        refused["message"]
        == 'CronTab.y "a" is invalid: apiVersion: Invalid value: "y/v1": must be stable.example.com/v1'
    )
    refused = await server.patch(f"{V1}/a", {"kind": None})
    assert (refused["code"], "Object 'Kind' is missing" in refused["message"]) == (422, True)


async def test_what_a_definition_does_not_serve_is_said_as_upstream_says_it(server):
    await server.define(definition(subresources={"status": {}}))
    await server.json("POST", V1, body=crontab())
    for path in (f"{V1}/a/scale", f"{V1}/a/other"):
        answer = await server.json("GET", path)
        assert (answer["code"], answer["message"]) == (404, 'crontabs.stable.example.com "a" not found')
    answer = await server.json("DELETE", f"{V1}/a/status")
    assert answer["message"] == 'delete is not supported on resources of kind "crontabs.stable.example.com"'
    assert answer["details"] == {"group": "stable.example.com", "kind": "crontabs"}
    answer = await server.json("PUT", V1, body=crontab())
    assert (answer["code"], answer["message"]) == (400, "name must be provided")
    for method, path in (
        ("POST", "/apis/stable.example.com/v1/crontabs"),
        ("GET", "/apis/stable.example.com/v1/crontabs/a"),
        ("GET", "/apis/stable.example.com/v1/namespaces/default/others"),
        ("GET", "/apis/stable.example.com/v3/namespaces/default/crontabs"),
    ):
        response = await server.request(method, path, body=crontab() if method == "POST" else b"")
        assert (response.status, response.body) == (404, b"404 page not found\n")
        assert response.headers["x-content-type-options"] == "nosniff"


async def test_head_reads_custom_objects(server):
    await server.define(definition())
    await server.json("POST", V1, body=crontab())
    assert (await server.request("HEAD", f"{V1}/a")).status == 200
    assert (await server.request("HEAD", V1)).status == 200
