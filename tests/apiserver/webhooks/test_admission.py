"""Admission webhooks through the whole server, against a real webhook server."""

import asyncio
import base64
import random
import re

import pytest

from pilothouse.api import gvr as kinds
from pilothouse.api.status import BadRequest, Forbidden, InternalError, StatusError
from pilothouse.apiserver.admission import chain
from pilothouse.apiserver.authz.always import AlwaysAllow
from pilothouse.apiserver.authz.chain import Chain, Link
from pilothouse.apiserver.objects import MemoryObjects
from pilothouse.apiserver.webhooks.client import WebhookClient
from pilothouse.kit.clock import VirtualClock
from tests.apiserver.harness import Harness, config_map
from tests.apiserver.webhooks.server import allow, deny, patch, serving

EVERYTHING = [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}]
CONFIG_MAPS = [
    {"operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
]


@pytest.fixture
async def hook(tmp_path):
    async with serving(tmp_path) as server:
        yield server


class World:
    """The server, and the configurations that its webhooks see."""

    def __init__(self, hook):
        self.hook = hook
        self.objects = MemoryObjects([(kinds.NAMESPACES, {"metadata": {"name": "default", "labels": {"env": "prod"}}})])
        self.client = WebhookClient(self.objects, random.Random(1))
        admission = chain.build(
            self.objects,
            Chain([Link(AlwaysAllow())]),
            VirtualClock(),
            random.Random(1),
            None,
            self.client,
            None,
            None,
            disable=["ResourceQuota", "ServiceAccount"],
        )
        self.measures = admission.measures
        self.harness = Harness(admission)
        self.api = self.harness.client

    def configure(self, *hooks, mutating=False, name="config"):
        kind = kinds.MUTATING_WEBHOOK_CONFIGURATIONS if mutating else kinds.VALIDATING_WEBHOOK_CONFIGURATIONS
        self.objects.put(kind, {"metadata": {"name": name}, "webhooks": [self.webhook(**each) for each in hooks]})

    def webhook(self, name="a.example.com", **fields):
        return {
            "name": name,
            "clientConfig": self.hook.config(f"/{name}"),
            "rules": CONFIG_MAPS,
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "timeoutSeconds": 5,
            **fields,
        }

    async def create(self, obj=None, **more):
        return await self.api.create(kinds.CONFIG_MAPS, obj or config_map(), **more)


@pytest.fixture
async def world(hook):
    world = World(hook)
    yield world
    await world.client.close()


def add(path, value):
    return {"op": "add", "path": path, "value": value}


async def test_what_a_webhook_is_shown(world, hook):
    world.configure({})
    await world.create()
    request = hook.reviews[0]["request"]
    assert hook.reviews[0]["apiVersion"] == "admission.k8s.io/v1"
    assert hook.reviews[0]["kind"] == "AdmissionReview"
    obj = request.pop("object")
    assert obj["data"] == {"k": "v"}
    assert obj["metadata"]["namespace"] == "default"
    assert len(request.pop("uid")) == 36
    assert request == {
        "kind": {"group": "", "version": "v1", "kind": "ConfigMap"},
        "resource": {"group": "", "version": "v1", "resource": "configmaps"},
        "requestKind": {"group": "", "version": "v1", "kind": "ConfigMap"},
        "requestResource": {"group": "", "version": "v1", "resource": "configmaps"},
        "name": "a",
        "namespace": "default",
        "operation": "CREATE",
        "userInfo": {"username": "tester", "groups": ["system:masters", "system:authenticated"]},
        "oldObject": None,
        "dryRun": False,
        "options": {
            "kind": "CreateOptions",
            "apiVersion": "meta.k8s.io/v1",
            "fieldValidation": request["options"].get("fieldValidation"),
        },
    }
    assert hook.targets == ["/a.example.com?timeout=5s"]


async def test_deletions_show_what_goes(world, hook):
    world.configure({"rules": EVERYTHING})
    await world.create()
    await world.api.delete(kinds.CONFIG_MAPS, "default", "a")
    request = hook.reviews[-1]["request"]
    assert (request["operation"], request["object"], request["oldObject"]["data"]) == ("DELETE", None, {"k": "v"})
    assert request["options"]["kind"] == "DeleteOptions"


@pytest.mark.parametrize(
    ("status", "code", "reason", "message"),
    [
        ({}, 400, "", 'admission webhook "a.example.com" denied the request without explanation'),
        ({"message": "why"}, 400, "", 'admission webhook "a.example.com" denied the request: why'),
        (
            {"message": "why", "code": 403, "reason": "Forbidden"},
            403,
            "Forbidden",
            'admission webhook "a.example.com" denied the request: why',
        ),
        (
            {"reason": "NotNow", "code": 200},
            400,
            "NotNow",
            'admission webhook "a.example.com" denied the request: NotNow',
        ),
    ],
)
async def test_denials(world, hook, status, code, reason, message):
    hook.answer = lambda review: deny(review, **status)
    world.configure({})
    with pytest.raises(StatusError) as caught:
        await world.create()
    assert (caught.value.status_code, caught.value.status_reason, caught.value.message) == (code, reason, message)


async def test_changes_go_through_defaults_and_are_stored(world, hook):
    hook.answer = lambda review: patch(
        review, add("/data/more", "x"), add("/unknown", 1), add("/metadata/labels", {"a": "b"})
    )
    world.configure({}, mutating=True)
    created = await world.create()
    assert created["data"] == {"k": "v", "more": "x"}
    assert created["metadata"]["labels"] == {"a": "b"}
    assert "unknown" not in created


async def test_webhooks_follow_each_other_by_name_and_see_what_came_before(world, hook):
    def answer(review):
        seen = review["request"]["object"]["data"]
        return patch(review, add(f"/data/k{len(seen)}", "x"))

    hook.answer = answer
    world.configure({"name": "second.example.com"}, {"name": "third.example.com"}, mutating=True, name="b")
    world.configure({"name": "first.example.com"}, mutating=True, name="a")
    created = await world.create()
    assert [target.partition("?")[0] for target in hook.targets] == [
        *("/first.example.com", "/second.example.com", "/third.example.com")
    ]
    assert created["data"] == {"k": "v", "k1": "x", "k2": "x", "k3": "x"}
    assert hook.connections == 1


async def test_reinvocation(world, hook):
    """The first is called again, once, because a later one changed the object; who did not ask for it is not."""
    counts = {}

    def answer(review):
        name = hook.targets[-1].partition("?")[0][1:]
        counts[name] = counts.get(name, 0) + 1
        return patch(review, add(f"/data/{name[0]}{counts[name]}", "x"))

    hook.answer = answer
    world.configure(
        {"name": "a.example.com", "reinvocationPolicy": "IfNeeded"},
        {"name": "b.example.com", "reinvocationPolicy": "Never"},
        mutating=True,
    )
    await world.create()
    assert counts == {"a.example.com": 2, "b.example.com": 1}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            lambda review: {**allow(review), "response": None},
            "received invalid webhook response: webhook response was absent",
        ),
        (lambda review: allow(review, uid="other"), "received invalid webhook response: expected response.uid="),
        (lambda review: allow(review, patchType="JSONPatch"), "validating webhook may not return response.patchType"),
        (
            lambda review: (500, b"broken"),
            'an error on the server ("unknown") has prevented the request from succeeding',
        ),
        (lambda review: (200, b"no"), "json parse error: invalid character 'o' in literal null (expecting 'u')"),
        (lambda review: (200, b"[]"), "json parse error: json: cannot unmarshal array into Go value of type struct"),
    ],
)
async def test_bad_answers(world, hook, answer, message):
    hook.answer = answer
    world.configure({})
    with pytest.raises(InternalError) as caught:
        await world.create()
    assert caught.value.message.startswith('Internal error occurred: failed calling webhook "a.example.com": ')
    assert message in caught.value.message
    assert message in caught.value.causes[0].message
    world.configure({"failurePolicy": "Ignore"})
    await world.create()


@pytest.mark.parametrize(
    ("text", "type_", "message"),
    [
        (b"[", "JSONPatch", "received undecodable patch in webhook response: unexpected end of JSON input"),
        (b"{}", "X", "json: cannot unmarshal object into Go value of type jsonpatch.Patch"),
        (b"[1]", "JSONPatch", "json: cannot unmarshal number into Go value of type jsonpatch.Operation"),
        (b"[]", "X", 'unsupported patch type "X"'),
    ],
)
async def test_patches_that_cannot_be_read(world, hook, text, type_, message):
    hook.answer = lambda review: allow(review, patch=base64.b64encode(text).decode(), patchType=type_)
    world.configure({}, mutating=True)
    with pytest.raises(InternalError) as caught:
        await world.create()
    assert message in caught.value.message
    hook.answer = lambda review: allow(review, patch=base64.b64encode(b"null").decode(), patchType="JSONPatch")
    await world.create()


@pytest.mark.parametrize(
    "operations",
    [[{"op": "remove", "path": "/missing"}], [{"op": "what"}], [{"op": "replace", "path": "", "value": 1}]],
)
async def test_bad_patches(world, hook, operations):
    hook.answer = lambda review: patch(review, *operations)
    world.configure({"failurePolicy": "Ignore"}, mutating=True)
    with pytest.raises(InternalError, match="Internal error occurred"):
        await world.create()


async def test_a_slow_webhook(world, hook):
    async def never(review):
        await asyncio.Event().wait()

    hook.answer = never
    world.configure({"timeoutSeconds": 0.05})
    with pytest.raises(InternalError, match="context deadline exceeded"):
        await world.create()


async def test_an_unreachable_webhook(world, hook):
    world.configure({"clientConfig": {"url": "https://localhost:1/x", "caBundle": hook.bundle}})
    with pytest.raises(InternalError, match="failed to call webhook: Post"):
        await world.create()


async def test_a_webhook_of_an_authority_that_is_not_trusted(world, hook, tmp_path):
    async with serving(tmp_path / "other") as other:
        world.configure({"clientConfig": {**hook.config(), "caBundle": other.bundle}})
        with pytest.raises(
            InternalError, match="tls: failed to verify certificate: x509: certificate signed by unknown authority"
        ):
            await world.create()


async def test_a_service(world, hook):
    config = {"service": {"namespace": "ns", "name": "hook", "path": "/x", "port": 8443}, "caBundle": hook.bundle}
    world.configure({"clientConfig": config})
    with pytest.raises(InternalError, match='service "hook" not found'):
        await world.create()
    ports = [{"name": "web", "port": 8443}]
    world.objects.put(kinds.SERVICES, {"metadata": {"name": "hook", "namespace": "ns"}, "spec": {"ports": ports}})
    with pytest.raises(InternalError, match='no endpoints available for service "hook"'):
        await world.create()
    subsets = [{"addresses": [{"ip": "127.0.0.1"}], "ports": [{"name": "web", "port": hook.port}]}]
    world.objects.put(kinds.ENDPOINTS, {"metadata": {"name": "hook", "namespace": "ns"}, "subsets": subsets})
    await world.create()
    assert hook.targets == ["/x?timeout=5s"]


async def test_dry_runs_need_webhooks_without_side_effects(world, hook):
    world.configure({"sideEffects": "Some"})
    response = await world.harness.json(
        "POST", "/api/v1/namespaces/default/configmaps", query="dryRun=All", body=config_map()
    )
    assert response["message"] == 'admission webhook "a.example.com" does not support dry run'
    assert response["code"] == BadRequest.code
    world.configure({})
    await world.harness.json("POST", "/api/v1/namespaces/default/configmaps", query="dryRun=All", body=config_map())
    assert hook.reviews[0]["request"]["dryRun"] is True


@pytest.mark.parametrize(
    ("fields", "calls"),
    [
        ({}, 1),
        ({"rules": [{**CONFIG_MAPS[0], "operations": ["DELETE"]}]}, 0),
        ({"rules": [{**CONFIG_MAPS[0], "apiGroups": ["apps"]}]}, 0),
        ({"rules": [{**CONFIG_MAPS[0], "resources": ["configmaps/status", "pods"]}]}, 0),
        ({"rules": [{**CONFIG_MAPS[0], "scope": "Cluster"}]}, 0),
        ({"rules": [{**CONFIG_MAPS[0], "scope": "Namespaced"}]}, 1),
        ({"namespaceSelector": {"matchLabels": {"env": "prod"}}}, 1),
        ({"namespaceSelector": {"matchLabels": {"env": "test"}}}, 0),
        ({"objectSelector": {"matchLabels": {"a": "b"}}}, 0),
        ({"objectSelector": {"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}}, 1),
        (
            {"matchConditions": [{"name": "x", "expression": "object.data.k == 'v' && request.operation == 'CREATE'"}]},
            1,
        ),
        ({"matchConditions": [{"name": "x", "expression": "request.userInfo.username != 'tester'"}]}, 0),
        (
            {
                "matchConditions": [
                    {"name": "x", "expression": "!authorizer.group('').resource('pods').check('get').allowed()"}
                ]
            },
            0,
        ),
        ({"failurePolicy": "Ignore", "matchConditions": [{"name": "x", "expression": "object.no.such == 1"}]}, 0),
    ],
)
async def test_who_is_called(world, hook, fields, calls):
    world.configure(fields)
    await world.create()
    assert len(hook.reviews) == calls


async def test_a_failing_condition_refuses(world, hook):
    world.configure({"matchConditions": [{"name": "x", "expression": "object.no.such == 1"}]})
    with pytest.raises(Forbidden, match="no such key: no"):
        await world.create()


async def test_webhooks_do_not_see_what_configures_them(world, hook):
    hook.answer = lambda review: deny(review)
    world.configure({"rules": EVERYTHING})
    body = {"metadata": {"name": "other"}, "webhooks": []}
    await world.api.create(kinds.VALIDATING_WEBHOOK_CONFIGURATIONS, body)
    assert not hook.reviews


async def test_all_judge_at_once_and_the_first_is_told(world, hook):
    meeting = asyncio.Barrier(2)

    async def answer(review):
        await meeting.wait()
        return deny(review, message=hook.targets[-1])

    hook.answer = answer
    world.configure({}, {"name": "b.example.com"})
    with pytest.raises(StatusError, match=r"a\.example\.com.*denied"):
        await asyncio.wait_for(world.create(), 5)


async def test_warnings_reach_the_client(world, hook):
    hook.answer = lambda review: allow(review, warnings=["mind the gap"], auditAnnotations={"k": "v"})
    world.configure({})
    response = await world.harness.request("POST", "/api/v1/namespaces/default/configmaps", body=config_map())
    assert "mind the gap" in str(response.headers)


async def test_other_kinds_cost_nothing(world, hook):
    world.configure({})
    await world.api.create(kinds.SECRETS, {"metadata": {"name": "s", "namespace": "default"}})
    assert not hook.reviews
    plugin = next(each for each in world.harness.app._admission.plugins if each.name == "ValidatingAdmissionWebhook")
    assert plugin._hooks._wanted[kinds.SECRETS] == ()


async def test_the_version_that_is_spoken_and_the_one_that_a_rule_names(world, hook):
    """An autoscaler is created at v1; the webhook wants v2, and what it changes comes back."""
    rules = [{"operations": ["*"], "apiGroups": ["autoscaling"], "apiVersions": ["v2"], "resources": ["*"]}]
    hook.answer = lambda review: patch(review, add("/spec/maxReplicas", 7))
    world.configure({"rules": rules}, mutating=True)
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    body = {
        "apiVersion": "autoscaling/v1",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "a"},
        "spec": {"scaleTargetRef": target, "maxReplicas": 3, "targetCPUUtilizationPercentage": 50},
    }
    path = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers"
    created = await world.harness.json("POST", path, body=body)
    request = hook.reviews[0]["request"]
    assert (request["kind"]["version"], request["requestKind"]["version"]) == ("v2", "v1")
    assert request["object"]["spec"]["metrics"][0]["type"] == "Resource"
    assert (created["apiVersion"], created["spec"]["maxReplicas"]) == ("autoscaling/v1", 7)
    world.configure({"rules": rules, "matchPolicy": "Exact"}, mutating=True)
    await world.harness.json("POST", path, body={**body, "metadata": {"name": "b"}})
    assert len(hook.reviews) == 1


async def test_calls_are_measured(world, hook):
    """Under upstream's names: by webhook, kind of admission, operation, outcome."""
    world.configure({}, {"name": "b.example.com", "failurePolicy": "Ignore"})
    hook.answer = lambda review: allow(review)
    await world.create()
    hook.answer = lambda review: deny(review, code=403, message="no")
    with pytest.raises(StatusError):
        await world.create(config_map("b"))
    hook.answer = lambda review: (500, b"")
    with pytest.raises(InternalError):
        await world.create(config_map("c"))
    lines = {line.rpartition(" ")[0]: line for family in world.measures.families() for line in family.lines}
    a = 'name="a.example.com",type="validating",operation="CREATE"'
    total, rejected = "apiserver_admission_webhook_request_total", "apiserver_admission_webhook_rejection_count"
    assert f'{total}{{{a},code="200",rejected="false"}}' in lines
    assert f'{total}{{{a},code="403",rejected="true"}}' in lines
    assert f'{rejected}{{{a},error_type="no_error",rejection_code="403"}}' in lines
    assert f'{rejected}{{{a},error_type="calling_webhook_error",rejection_code="500"}}' in lines
    assert 'apiserver_admission_webhook_fail_open_count{name="b.example.com",type="validating"}' in lines
    assert f'apiserver_admission_webhook_admission_duration_seconds_count{{{a},rejected="true"}}' in lines


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda review: (404, b"nope"), "the server could not find the requested resource"),
        (lambda review: (503, b""), "the server is currently unable to handle the request"),
        (
            lambda review: {**allow(review), "kind": "Other"},
            'no kind "Other" is registered for version "admission.k8s.io/v1" in scheme',
        ),
        (
            lambda review: {**allow(review), "apiVersion": "admission.k8s.io/v1beta1"},
            "converting (v1beta1.AdmissionReview) to (v1.AdmissionReview): unknown conversion",
        ),
    ],
)
async def test_wrong_answers_are_told_as_upstream_does(world, hook, wrong, message):
    world.configure({})
    hook.answer = wrong
    with pytest.raises(InternalError) as caught:
        await world.create()
    assert message in caught.value.message


async def test_a_webhook_that_nobody_serves(world):
    world.configure({"clientConfig": {"url": "https://localhost:1/x"}})
    with pytest.raises(InternalError, match=re.escape("dial tcp 127.0.0.1:1: connect: connection refused")):
        await world.create()


async def test_the_namespace_and_the_kind_stay(world, hook):
    world.configure({}, mutating=True)
    hook.answer = lambda review: patch(review, add("/metadata/namespace", "other"))
    with pytest.raises(BadRequest, match="does not match the namespace"):
        await world.create()
    hook.answer = lambda review: patch(review, add("/kind", "Pod"))
    with pytest.raises(StatusError, match="unknown conversion"):
        await world.create()
