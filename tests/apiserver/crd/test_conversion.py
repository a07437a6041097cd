"""Conversion of custom resources by a webhook, through the whole server, against a real webhook server.

Version v1 has `spec.hostPort: "host:port"`, v2 has `spec.host` and `spec.port`.
"""

import asyncio
import random
from contextlib import asynccontextmanager, suppress

import orjson
import pytest

from pilothouse.api import gvr as kinds
from pilothouse.apiserver.admission import chain
from pilothouse.apiserver.authz.always import AlwaysAllow
from pilothouse.apiserver.objects import MemoryObjects
from pilothouse.apiserver.webhooks.client import WebhookClient
from pilothouse.kit.clock import VirtualClock
from tests.apiserver.test_custom_resources import DEFINITIONS, CustomHarness
from tests.apiserver.webhooks.server import patch, serving

NAME = "routes.net.example.com"
V1 = "/apis/net.example.com/v1/namespaces/default/routes"
V2 = V1.replace("/v1/", "/v2/")
TEXT = {"type": "string"}


def schema(**fields):
    return {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": fields}}}}


def definition(config, *, stored="v1", reviews=("v1",)):
    versions = [
        {"name": "v1", "schema": schema(hostPort=TEXT, color={**TEXT, "default": "red"})},
        {"name": "v2", "schema": schema(host=TEXT, port=TEXT, color=TEXT)},
    ]
    for version in versions:
        version |= {"served": True, "storage": version["name"] == stored}
    versions[1]["selectableFields"] = [{"jsonPath": ".spec.host"}]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME},
        "spec": {
            "group": "net.example.com",
            "scope": "Namespaced",
            "names": {"plural": "routes", "kind": "Route"},
            "versions": versions,
            "conversion": {
                "strategy": "Webhook",
                "webhook": {"clientConfig": config, "conversionReviewVersions": list(reviews)},
            },
        },
    }


def converted(obj, target):
    obj = orjson.loads(orjson.dumps(obj))
    spec = obj.get("spec") or {}
    if target.endswith("/v2") and "hostPort" in spec:
        spec["host"], _, spec["port"] = spec.pop("hostPort").partition(":")
    elif target.endswith("/v1") and "host" in spec:
        spec["hostPort"] = f"{spec.pop('host')}:{spec.pop('port')}"
    return {**obj, "apiVersion": target}


def answer(review, **changes):
    request = review["request"]
    response = {
        "uid": request["uid"],
        "result": {"status": "Success"},
        "convertedObjects": [converted(obj, request["desiredAPIVersion"]) for obj in request["objects"]],
        **changes,
    }
    return {"apiVersion": review["apiVersion"], "kind": "ConversionReview", "response": response}


def route(version="v1", name="a", **spec):
    spec = spec or ({"hostPort": "web:80"} if version == "v1" else {"host": "web", "port": "80"})
    return {"apiVersion": f"net.example.com/{version}", "kind": "Route", "metadata": {"name": name}, "spec": spec}


@asynccontextmanager
async def started(webhooks, admission=None):
    harness = CustomHarness(webhooks, admission)
    await harness.custom.open()
    task = asyncio.create_task(harness.custom.run())
    try:
        yield harness
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await harness.app.stop()


@pytest.fixture
async def hook(tmp_path):
    async with serving(tmp_path) as server:
        server.answer = answer
        yield server


@pytest.fixture
async def server(hook):
    client = WebhookClient(MemoryObjects([]), random.Random(1))
    async with started(client) as harness:
        await harness.define(definition(hook.config("/convert")))
        yield harness
    await client.close()


def names(listed):
    return [each["metadata"]["name"] for each in listed["items"]]


async def test_an_object_is_read_and_written_at_every_version(server, hook):
    made = await server.json("POST", V1, body=route())
    assert hook.reviews == [], "nothing has to be converted"
    seen = await server.json("GET", f"{V2}/a")
    assert seen["apiVersion"] == "net.example.com/v2"
    assert seen["spec"] == {"host": "web", "port": "80", "color": "red"}
    assert {**seen["metadata"], "managedFields": 0} == {**made["metadata"], "managedFields": 0}
    request = hook.reviews[-1]["request"]
    assert (hook.reviews[-1]["apiVersion"], request["desiredAPIVersion"]) == (
        "apiextensions.k8s.io/v1",
        "net.example.com/v2",
    )
    assert hook.targets[-1] == "/convert?timeout=30s"
    seen["spec"]["port"] = "81"
    changed = await server.json("PUT", f"{V2}/a", body=seen)
    assert changed["spec"]["port"] == "81"
    assert changed["apiVersion"] == "net.example.com/v2"
    assert (await server.json("GET", f"{V1}/a"))["spec"] == {"hostPort": "web:81", "color": "red"}
    patched = await server.patch(f"{V2}/a", {"spec": {"host": "db"}})
    assert patched["spec"]["host"] == "db"
    assert (await server.json("GET", f"{V1}/a"))["spec"]["hostPort"] == "db:81"
    assert (await server.json("DELETE", f"{V2}/a"))["status"] == "Success"


async def test_an_object_of_another_version_is_stored_at_the_storage_version(server):
    made = await server.json("POST", V2, body=route("v2"))
    assert made["apiVersion"] == "net.example.com/v2"
    entry = await server.store.get("/registry/net.example.com/routes/default/a")
    stored = orjson.loads(entry.value)
    assert (stored["apiVersion"], stored["spec"]["hostPort"]) == ("net.example.com/v1", "web:80")


async def test_what_the_other_schema_does_not_know_is_pruned(server, hook):
    def more(review):
        given = answer(review)
        for obj in given["response"]["convertedObjects"]:
            obj["spec"]["unknown"] = 1
        return given

    hook.answer = more
    await server.json("POST", V1, body=route())
    assert "unknown" not in (await server.json("GET", f"{V2}/a"))["spec"]


async def test_a_mixed_list_is_one_question_about_those_that_differ(server, hook):
    await server.json("POST", V1, body=route(name="a"))
    await server.json("POST", V1, body=route(name="b"))
    await server.redefine(stored_at("v2"))
    await server.json("POST", V2, body=route("v2", name="c"))
    hook.reviews.clear()
    listed = await server.json("GET", V2)
    assert [each["spec"]["host"] for each in listed["items"]] == ["web"] * 3
    assert {each["apiVersion"] for each in listed["items"]} == {"net.example.com/v2"}
    assert [len(review["request"]["objects"]) for review in hook.reviews] == [2]
    listed = await server.json("GET", V1)
    assert [each["spec"]["hostPort"] for each in listed["items"]] == ["web:80"] * 3
    assert names(await server.json("GET", V1, query="limit=2")) == ["a", "b"]
    assert (await server.json("GET", f"{DEFINITIONS}/{NAME}"))["status"]["storedVersions"] == ["v1", "v2"]


def stored_at(version):
    def change(present):
        for each in present["spec"]["versions"]:
            each["storage"] = each["name"] == version

    change.of = NAME
    return change


async def test_fields_are_selected_by_as_the_version_has_them(server):
    await server.json("POST", V1, body=route(name="a", hostPort="web:80"))
    await server.json("POST", V1, body=route(name="b", hostPort="db:80"))
    assert names(await server.json("GET", V2, query="fieldSelector=spec.host%3Ddb")) == ["b"]
    refused = await server.json("GET", V1, query="fieldSelector=spec.host%3Ddb")
    assert refused["code"] == 400


async def next_line(watch):
    return orjson.loads(await asyncio.wait_for(anext(watch), 5))


async def test_a_watch_sees_objects_at_its_version(server):
    await server.json("POST", V1, body=route(name="a"))
    response = await server.request("GET", V2, query="watch=1")
    watch = response.body
    first = await next_line(watch)
    assert (first["type"], first["object"]["spec"]["host"]) == ("ADDED", "web")
    await server.json("POST", V1, body=route(name="b", hostPort="db:1"))
    second = await next_line(watch)
    assert (second["type"], second["object"]["apiVersion"]) == ("ADDED", "net.example.com/v2")
    assert second["object"]["spec"]["host"] == "db"
    await server.json("DELETE", f"{V1}/b")
    third = await next_line(watch)
    assert (third["type"], third["object"]["spec"]["host"]) == ("DELETED", "db")
    await watch.aclose()


async def test_a_watch_by_field_follows_what_the_webhook_makes(server):
    response = await server.request("GET", V2, query="watch=1&fieldSelector=spec.host%3Ddb")
    await server.json("POST", V1, body=route(name="a", hostPort="web:1"))
    await server.json("POST", V1, body=route(name="b", hostPort="db:1"))
    assert (await next_line(response.body))["object"]["metadata"]["name"] == "b"
    await server.patch(f"{V1}/b", {"spec": {"hostPort": "web:1"}})
    assert (await next_line(response.body))["type"] == "DELETED"
    await response.body.aclose()


async def test_a_watch_ends_when_the_webhook_fails(server, hook):
    response = await server.request("GET", V2, query="watch=1")
    hook.answer = lambda review: (500, b"no")
    await server.json("POST", V1, body=route())
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(anext(response.body), 5)
    refused = await server.json("GET", V2)
    assert refused["code"] == 500
    assert refused["message"].startswith("conversion webhook for net.example.com/v2, Kind=RouteList failed: ")
    hook.answer = answer
    assert names(await server.json("GET", V2)) == ["a"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            lambda review: answer(review, result={"status": "Failure", "message": "because"}),
            "conversion webhook for net.example.com/v1, Kind=Route failed: because",
        ),
        (
            lambda review: answer(review, result={}),
            "failed: response.result.status was '', not 'Success'",
        ),
        (lambda review: answer(review, uid="x"), "failed: expected response.uid="),
        (lambda review: {**answer(review), "kind": "Other"}, "got apiextensions.k8s.io/v1, Kind=Other"),
        (lambda review: {**answer(review), "response": None}, "failed: no response provided"),
        (lambda review: answer(review, convertedObjects=[]), "returned 0 objects, expected 1"),
        (
            lambda review: answer(review, convertedObjects=[route()]),
            "returned invalid object at index 0: invalid groupVersion (expected net.example.com/v2, received net.example.com/v1)",
        ),
        (
            lambda review: answer(review, convertedObjects=[{**route("v2"), "kind": "Other"}]),
            "returned invalid object at index 0: invalid kind (expected Route, received Other)",
        ),
        (
            lambda review: answer(review, convertedObjects=[route("v2", name="other")]),
            "returned invalid object: must have the same name: a != other",
        ),
        (lambda review: answer(review, convertedObjects=[None]), "returned invalid object at index 0"),
        (lambda review: (503, b"down"), "the server is currently unable to handle the request"),
        (lambda review: (200, b"{"), "couldn't get version/kind; json parse error"),
    ],
)
async def test_a_webhook_that_answers_wrongly(server, hook, wrong, message):
    await server.json("POST", V1, body=route())
    hook.answer = wrong
    refused = await server.json("GET", f"{V2}/a")
    assert (refused["code"], refused.get("reason", "")) == (500, "")
    assert message in refused["message"]
    assert (await server.json("GET", f"{V1}/a"))["spec"]["hostPort"] == "web:80"


async def test_only_labels_and_annotations_of_the_metadata_are_taken(server, hook):
    def relabelled(review):
        given = answer(review)
        for obj in given["response"]["convertedObjects"]:
            obj["metadata"] |= {"labels": {"seen": "yes"}, "finalizers": ["x.example.com/y"], "generation": 99}
        return given

    await server.json("POST", V1, body=route())
    hook.answer = relabelled
    metadata = (await server.json("GET", f"{V2}/a"))["metadata"]
    assert metadata["labels"] == {"seen": "yes"}
    assert metadata["generation"] == 1
    assert "finalizers" not in metadata
    hook.answer = lambda review: answer(
        review,
        convertedObjects=[{**obj, "apiVersion": "net.example.com/v2", "metadata": bad(obj)} for obj in objects(review)],
    )
    refused = await server.json("GET", f"{V2}/a")
    assert "returned invalid metadata: metadata.labels: Invalid value" in refused["message"]


def objects(review):
    return review["request"]["objects"]


def bad(obj):
    return {**obj["metadata"], "labels": {"a": "not a label!"}}


async def test_reviews_of_version_v1beta1_are_spoken(server, hook):
    def old_style(review):
        given = answer(review)
        given["response"].pop("uid")
        return {"response": given["response"]}

    hook.answer = old_style

    def change(present):
        present["spec"]["conversion"]["webhook"]["conversionReviewVersions"] = ["v2", "v1beta1", "v1"]

    change.of = NAME
    await server.redefine(change)
    await server.json("POST", V1, body=route())
    assert (await server.json("GET", f"{V2}/a"))["spec"]["host"] == "web"
    assert hook.reviews[-1]["apiVersion"] == "apiextensions.k8s.io/v1beta1"


async def test_fields_have_owners_in_the_terms_of_several_versions(server):
    headers = {"content-type": "application/apply-patch+yaml"}
    first = await server.json("PATCH", f"{V1}/a", query="fieldManager=one", body=route(), headers=headers)
    assert first["metadata"]["managedFields"][0]["apiVersion"] == "net.example.com/v1"
    clash = await server.json(
        "PATCH", f"{V2}/a", query="fieldManager=two", body=route("v2", host="db", port="80"), headers=headers
    )
    assert clash["code"] == 409
    assert clash["message"] == 'Apply failed with 1 conflict: conflict with "one": .spec.hostPort'
    forced = await server.json(
        "PATCH",
        f"{V2}/a",
        query="fieldManager=two&force=true",
        body=route("v2", host="db", port="80"),
        headers=headers,
    )
    owners = {each["manager"]: each for each in forced["metadata"]["managedFields"]}
    assert owners["two"]["apiVersion"] == "net.example.com/v2"
    assert "one" not in owners
    again = await server.json(
        "PATCH", f"{V1}/a", query="fieldManager=two", body=route(color="blue", hostPort="db:80"), headers=headers
    )
    assert again["spec"] == {"hostPort": "db:80", "color": "blue"}


@pytest.mark.parametrize("policy", ["Equivalent", "Exact"])
async def test_an_admission_webhook_sees_objects_at_the_version_of_its_rule(hook, policy):
    objects = MemoryObjects([(kinds.NAMESPACES, {"metadata": {"name": "default"}})])
    client = WebhookClient(objects, random.Random(1))
    admission = chain.build(
        objects, AlwaysAllow(), VirtualClock(), random.Random(1), None, client, None, None,
        disable=["ResourceQuota", "ServiceAccount"],
    )  # fmt: skip
    rule = {"operations": ["CREATE"], "apiGroups": ["net.example.com"], "apiVersions": ["v2"], "resources": ["routes"]}
    webhook = {
        "name": "a.example.com",
        "clientConfig": hook.config("/admit"),
        "rules": [rule],
        "matchPolicy": policy,
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    objects.put(kinds.MUTATING_WEBHOOK_CONFIGURATIONS, {"metadata": {"name": "c"}, "webhooks": [webhook]})
    reviews = []

    def either(review):
        if review["kind"] == "ConversionReview":
            return answer(review)
        reviews.append(review)
        return patch(review, {"op": "replace", "path": "/spec/host", "value": "db"})

    hook.answer = either
    async with started(client, admission) as server:
        await server.define(definition(hook.config("/convert")))
        made = await server.json("POST", V1, body=route())
    if policy == "Exact":
        assert (reviews, made["spec"]["hostPort"]) == ([], "web:80")
    else:
        request = reviews[0]["request"]
        assert request["object"]["spec"]["host"] == "web"
        assert (request["kind"]["version"], request["requestKind"]["version"]) == ("v2", "v1")
        assert made["spec"]["hostPort"] == "db:80"
    await client.close()


async def test_the_objects_go_with_their_definition(server):
    await server.json("POST", V1, body=route())
    await server.json("DELETE", f"{DEFINITIONS}/{NAME}")
    await server.settle()
    assert (await server.request("GET", f"{DEFINITIONS}/{NAME}")).status == 404
    assert await server.store.get("/registry/net.example.com/routes/default/a") is None


async def test_the_metrics_of_conversion(server):
    await server.json("POST", V1, body=route())
    await server.json("GET", f"{V2}/a")
    page = (await server.request("GET", "/metrics")).body.decode()
    assert 'apiserver_conversion_webhook_request_total{result="success",failure_type=""} 1' in page
    assert f'crd_name="{NAME}",from_version="v1",to_version="v2",succeeded="true"' in page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda webhook: webhook.pop("clientConfig"),
            "webhookClientConfig: Required value: required when strategy is set",
        ),
        (
            lambda webhook: webhook["clientConfig"].update(service={"name": "a", "namespace": "b"}),
            "webhookClientConfig: Required value: exactly one of url or service is required",
        ),
        (
            lambda webhook: webhook["clientConfig"].update(url="http://x"),
            "webhookClientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme",
        ),
        (lambda webhook: webhook.update(conversionReviewVersions=[]), "conversionReviewVersions: Required value"),
        (
            lambda webhook: webhook.update(conversionReviewVersions=["v9"]),
            'conversionReviewVersions: Invalid value: ["v9"]: must include at least one of v1, v1beta1',
        ),
    ],
)
async def test_a_conversion_that_cannot_be_is_refused(server, hook, change, message):
    given = definition(hook.config())
    given["metadata"]["name"] = "others.net.example.com"
    given["spec"]["names"] = {"plural": "others", "kind": "Other"}
    change(given["spec"]["conversion"]["webhook"])
    refused = await server.define(given)
    assert refused["code"] == 422
    assert message in refused["message"]


async def test_a_bundle_of_an_established_definition_must_stay_good(server):
    def change(present):
        present["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"] = "bm90IFBFTQ=="

    change.of = NAME
    refused = await server.redefine(change)
    assert refused["code"] == 422
    assert "spec.conversion.webhookClientConfig.caBundle: Invalid value" in refused["message"]
