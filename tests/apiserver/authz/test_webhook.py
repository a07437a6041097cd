"""The Webhook mode, against a server that speaks TLS."""

import asyncio
import random
from pathlib import Path

import pytest
import yaml

from pilothouse.api.user import User
from pilothouse.apiserver.authz.attributes import Attributes, Verdict
from pilothouse.apiserver.authz.conditions import Compiler, MatchConditions
from pilothouse.apiserver.authz.configuration import ConfigurationError, load
from pilothouse.apiserver.authz.modes import AuthorizationOptions, Modes
from pilothouse.apiserver.authz.webhook import WebhookAuthorizer, WebhookSettings
from pilothouse.apiserver.objects import MemoryObjects
from pilothouse.apiserver.server_id import hashed
from pilothouse.apiserver.webhooks.remote import RemoteWebhook, read_endpoint
from pilothouse.kit.clock import VirtualClock
from tests.apiserver.webhooks.server import serving

ALICE = User("alice", "7", ("devs",), {"scopes": ("a", "b")})
PODS = Attributes(
    ALICE, "list", "", "v1", "pods", "", "ns", field_selector="spec.nodeName=n1", label_selector="a in (b,c),!d"
)


def status(**fields):
    return lambda review: {**review, "status": fields}


@pytest.fixture
async def hook(tmp_path):
    async with serving(tmp_path / "pki") as hook:
        hook.answer = status(allowed=True, reason="because")
        yield hook


def kubeconfig(directory: Path, port: int, pki=None, **cluster) -> str:
    file = directory / "webhook.yaml"
    authority = {} if pki is None else {"certificate-authority": str(pki.certificate_path("ca"))}
    config = {
        "kind": "Config",
        "apiVersion": "v1",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "it", "user": "me"}}],
        "clusters": [
            {"name": "it", "cluster": {"server": f"https://localhost:{port}/authorize", **authority, **cluster}}
        ],
        "users": [{"name": "me", "user": {"token": "secret"}}],
    }
    file.write_text(yaml.safe_dump(config))
    return str(file)


class World:
    def __init__(self, tmp_path, hook, *, conditions=(), **settings):
        self.clock = VirtualClock()
        remote = RemoteWebhook(read_endpoint(kubeconfig(tmp_path, hook.port, hook.pki)), self.clock, random.Random(1))
        programs = [Compiler().compile(each) for each in conditions]
        matching = MatchConditions(programs, self.clock.monotonic) if programs else None
        self.authorizer = WebhookAuthorizer(remote, WebhookSettings("w", **settings), self.clock, matching)

    async def decide(self, attributes=PODS):
        return self.authorizer.known(attributes) or await self.authorizer.ask(attributes)


async def test_what_is_asked(tmp_path, hook):
    world = World(tmp_path, hook)
    decision = await world.decide()
    assert (decision.verdict, decision.reason, decision.error) == (Verdict.ALLOW, "because", "")
    (review,) = hook.reviews
    assert hook.targets == ["/authorize?timeout=30s"]
    assert (review["kind"], review["apiVersion"]) == ("SubjectAccessReview", "authorization.k8s.io/v1")
    assert review["spec"] == {
        "user": "alice",
        "uid": "7",
        "groups": ["devs"],
        "extra": {"scopes": ["a", "b"]},
        "resourceAttributes": {
            "namespace": "ns",
            "verb": "list",
            "version": "v1",
            "resource": "pods",
            "fieldSelector": {"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n1"]}]},
            "labelSelector": {
                "requirements": [
                    {"key": "a", "operator": "In", "values": ["b", "c"]},
                    {"key": "d", "operator": "DoesNotExist"},
                ]
            },
        },
    }


async def test_version_v1beta1_and_paths(tmp_path, hook):
    world = World(tmp_path, hook, version="v1beta1")
    await world.decide(Attributes(User("u", groups=("g",)), "get", path="/healthz"))
    (review,) = hook.reviews
    assert review["apiVersion"] == "authorization.k8s.io/v1beta1"
    assert review["spec"] == {"user": "u", "group": ["g"], "nonResourceAttributes": {"path": "/healthz", "verb": "get"}}


async def test_answers_are_kept_as_long_as_they_may_be(tmp_path, hook):
    world = World(tmp_path, hook, authorized_ttl_s=100, unauthorized_ttl_s=10)
    await world.decide()
    await world.decide()
    assert len(hook.reviews) == 1
    await world.clock.advance(100)
    hook.answer = status(allowed=False, reason="no")
    assert (await world.decide()).verdict is Verdict.NO_OPINION
    await world.clock.advance(9)
    assert (await world.decide()).reason == "no"
    assert len(hook.reviews) == 2
    await world.clock.advance(1)
    hook.answer = status(denied=True)
    assert (await world.decide()).verdict is Verdict.DENY
    assert len(hook.reviews) == 3
    await world.decide(PODS._replace(name="x" * 10001))
    await world.decide(PODS._replace(name="x" * 10001))
    assert len(hook.reviews) == 5


async def test_nothing_is_kept_where_the_time_is_0(tmp_path, hook):
    world = World(tmp_path, hook, authorized_ttl_s=0)
    await world.decide()
    await world.decide()
    assert len(hook.reviews) == 2


async def test_allowed_and_denied_is_denied(tmp_path, hook):
    hook.answer = status(allowed=True, denied=True, reason="both")
    decision = await World(tmp_path, hook).decide()
    assert decision.verdict is Verdict.DENY
    assert decision.error == "webhook subject access review returned both allow and deny response"


@pytest.mark.parametrize(
    ("policy", "verdict"), [(Verdict.NO_OPINION, Verdict.NO_OPINION), (Verdict.DENY, Verdict.DENY)]
)
async def test_a_refusal_is_not_tried_again(tmp_path, hook, policy, verdict):
    hook.answer = lambda review: (403, b"go away")
    world = World(tmp_path, hook, verdict_on_error=policy)
    decision = await world.decide()
    assert (decision.verdict, len(hook.reviews)) == (verdict, 1)
    assert decision.error == "the server rejected our request for an unknown reason (403 go away)"
    assert world.authorizer.counts.evaluations == {"error": 1}
    assert world.authorizer.counts.failed_open == ({"error": 1} if policy is Verdict.NO_OPINION else {})


async def test_an_error_of_the_server_is_tried_again(tmp_path, hook):
    answers = iter([(500, b"oh"), (429, b""), (200, b'{"status":{"allowed":true}}')])
    hook.answer = lambda review: next(answers)
    world = World(tmp_path, hook)
    decisions = []

    async def ask():
        decisions.append(await world.decide())

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(ask())
        while not task.done():
            await asyncio.sleep(0.01)
            await world.clock.advance(1)
    assert decisions[0].is_allowed
    assert world.authorizer.counts.evaluations == {"error": 2, "success": 1}


async def test_a_server_with_a_foreign_certificate_is_not_believed(tmp_path, hook):
    clock = VirtualClock()
    endpoint = read_endpoint(kubeconfig(tmp_path, hook.port))
    authorizer = WebhookAuthorizer(RemoteWebhook(endpoint, clock, random.Random(1)), WebhookSettings("w"), clock)
    decision = await authorizer.ask(PODS)
    assert decision.verdict is Verdict.NO_OPINION
    assert "CERTIFICATE_VERIFY_FAILED" in decision.error
    assert hook.reviews == []


async def test_match_conditions(tmp_path, hook):
    conditions = ["has(request.resourceAttributes)", "request.resourceAttributes.namespace == 'ns'"]
    world = World(tmp_path, hook, conditions=conditions)
    assert (await world.decide()).is_allowed
    assert (await world.decide(PODS._replace(namespace="other"))).verdict is Verdict.NO_OPINION
    # The second condition has no value here, and the first is false: the webhook does not matter.
    path = Attributes(ALICE, "get", path="/healthz")
    decision = await world.decide(path)
    assert (decision.verdict, decision.error, len(hook.reviews)) == (Verdict.NO_OPINION, "", 1)
    assert world.authorizer.conditions.counts.exclusions == 2


async def test_a_condition_without_a_value_fails(tmp_path, hook):
    condition = "request.resourceAttributes.namespace == 'ns'"
    world = World(tmp_path, hook, conditions=[condition], verdict_on_error=Verdict.DENY)
    decision = await world.decide(Attributes(ALICE, "get", path="/healthz"))
    assert decision.verdict is Verdict.DENY
    assert (
        decision.error
        == f"cel evaluation error: expression '{condition}' resulted in error: no such key: resourceAttributes"
    )


def configuration(file, **webhook):
    fields = {
        "timeout": "3s",
        "subjectAccessReviewVersion": "v1",
        "failurePolicy": "NoOpinion",
        "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": file},
        **webhook,
    }
    fields = {key: value for key, value in fields.items() if value is not None}
    authorizers = [{"type": "Webhook", "name": "w", "webhook": fields}, {"type": "RBAC", "name": "rbac"}]
    return {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthorizationConfiguration",
        "authorizers": authorizers,
    }


def test_a_configuration_is_completed(tmp_path):
    (webhook, rbac) = load(yaml.safe_dump(configuration(kubeconfig(tmp_path, 1))).encode())
    assert rbac == {"type": "RBAC", "name": "rbac"}
    assert (webhook["webhook"]["authorizedTTL"], webhook["webhook"]["unauthorizedTTL"]) == ("5m0s", "30s")
    assert webhook["webhook"]["cacheAuthorizedRequests"] is True


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"timeout": None}, "authorizers[0].timeout: Required value"),
        ({"timeout": "31s"}, 'authorizers[0].timeout: Invalid value: "31s": must be > 0s and <= 30s'),
        ({"timeout": "soon"}, 'failed to load AuthorizationConfiguration from file: time: invalid duration "soon"'),
        ({"authorizedTTL": "-1s"}, 'authorizers[0].authorizedTTL: Invalid value: "-1s": must be > 0s'),
        (
            {"subjectAccessReviewVersion": "v2"},
            'authorizers[0].subjectAccessReviewVersion: Unsupported value: "v2": supported values: "v1", "v1beta1"',
        ),
        ({"failurePolicy": None}, "authorizers[0].failurePolicy: Required value"),
        ({"failurePolicy": "Allow"}, 'Unsupported value: "Allow": supported values: "NoOpinion", "Deny"'),
        ({"connectionInfo": {}}, "authorizers[0].connectionInfo.type: Required value"),
        (
            {"connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": "x"}},
            'authorizers[0].connectionInfo.kubeConfigFile: Invalid value: "x": must be an absolute path',
        ),
        ({"typo": 1}, 'strict decoding error: unknown field "authorizers[0].webhook.typo"'),
        ({"cacheAuthorizedRequests": "yes"}, "cannot unmarshal string into Go struct field"),
        (
            {"matchConditions": [{"expression": "true"}]},
            "authorizers[0].matchConditionSubjectAccessReviewVersion: Required value: required if match conditions are",
        ),
        (
            {
                "matchConditions": [{"expression": "request.user"}, {"expression": "request.userr == ''"}],
                "matchConditionSubjectAccessReviewVersion": "v1",
            },
            "must evaluate to bool but got string",
        ),
        (
            {
                "matchConditions": [{"expression": "request.userr == ''"}],
                "matchConditionSubjectAccessReviewVersion": "v1",
            },
            "undefined field 'userr'",
        ),
    ],
)
def test_configurations_that_cannot_be(tmp_path, fields, message):
    document = configuration(kubeconfig(tmp_path, 1), **fields)
    with pytest.raises(ConfigurationError) as caught:
        load(yaml.safe_dump(document).encode())
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("authorizers", "message"),
    [
        ([], "authorizers: Required value: at least one authorization mode must be defined"),
        ([{"name": "x"}], "authorizers[0].type: Required value"),
        ([{"type": "Foo", "name": "x"}], 'authorizers[0].type: Unsupported value: "Foo"'),
        ([{"type": "RBAC"}], "authorizers[0].name: Required value"),
        ([{"type": "RBAC", "name": "x"}], "expected name rbac for authorizer RBAC instead of x"),
        ([{"type": "RBAC", "name": "rbac"}] * 2, 'authorizers[1].type: Duplicate value: "RBAC"'),
        ([{"type": "Webhook", "name": "w"}], "authorizers[0].webhook: Required value: required when type=Webhook"),
        (
            [{"type": "RBAC", "name": "rbac", "webhook": {}}],
            'authorizers[0].webhook: Invalid value: "non-null": may only be specified when type=Webhook',
        ),
    ],
)
def test_authorizers_that_cannot_be(authorizers, message):
    head = {"apiVersion": "apiserver.config.k8s.io/v1beta1", "kind": "AuthorizationConfiguration"}
    with pytest.raises(ConfigurationError) as caught:
        load(yaml.safe_dump({**head, "authorizers": authorizers}).encode())
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (AuthorizationOptions(("Foo",)), 'authorization-mode "Foo" is not a valid mode'),
        (AuthorizationOptions(("RBAC", "RBAC")), "has mode specified more than once"),
        (AuthorizationOptions(("Webhook",)), "authorization-mode Webhook's authorization config file not passed"),
        (AuthorizationOptions(("ABAC",)), "authorization-mode ABAC's authorization policy file not passed"),
        (
            AuthorizationOptions(webhook_file="x"),
            "cannot specify --authorization-webhook-config-file without mode Webhook",
        ),
    ],
)
def test_flags_that_do_not_fit_together(options, message):
    with pytest.raises(ValueError) as caught:
        Modes(options, MemoryObjects(), VirtualClock(), random.Random(1))
    assert message in str(caught.value)


async def test_a_changed_file_takes_effect(tmp_path, hook):
    clock, file = VirtualClock(), tmp_path / "authorization.yaml"
    only = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration"}
    file.write_text(yaml.safe_dump({**only, "authorizers": [{"type": "RBAC", "name": "rbac"}]}))
    modes = Modes(AuthorizationOptions(file=str(file)), MemoryObjects(), clock, random.Random(1))
    running = asyncio.ensure_future(modes.run())
    try:
        await clock.advance(1)
        assert not (await modes.chain.authorize(PODS)).is_allowed
        file.write_text(yaml.safe_dump(configuration(kubeconfig(tmp_path, hook.port, hook.pki))))
        await clock.advance(1)
        assert modes.reloads.counts == {"success": 1}
        assert (await modes.chain.authorize(PODS)).is_allowed
        assert modes.chain.at_once(PODS._replace(name="other")) is None
        assert modes.chain.decisions == {("Webhook", "w", "allowed"): 1}
        file.write_text(yaml.safe_dump({**only, "authorizers": [{"type": "AlwaysAllow", "name": "alwaysallow"}]}))
        await clock.advance(1)
        assert modes.reloads.counts == {"success": 1, "failure": 1}
        assert len(hook.reviews) == 1
        conditions = {
            "matchConditionSubjectAccessReviewVersion": "v1",
            "matchConditions": [{"expression": "request.user != 'bob'"}],
        }
        file.write_text(yaml.safe_dump(configuration(kubeconfig(tmp_path, hook.port, hook.pki), **conditions)))
        await clock.advance(1)
        assert (await modes.chain.authorize(PODS)).is_allowed
        assert not (await modes.chain.authorize(PODS._replace(user=User("bob")))).is_allowed
        lines = {line for family in modes.families("server") for line in family.lines}
        prefix, server = "apiserver_authorization_", f'apiserver_id_hash="{hashed("server")}"'
        assert {
            f'{prefix}decisions_total{{type="Webhook",name="w",decision="allowed"}} 2',
            f'{prefix}config_controller_automatic_reloads_total{{status="failure",{server}}} 1',
            f'{prefix}config_controller_automatic_reloads_total{{status="success",{server}}} 2',
            f'{prefix}config_controller_last_config_info{{{server},hash="{hashed(file.read_bytes())}"}} 1',
            f'{prefix}webhook_evaluations_total{{name="w",result="success"}} 2',
            f'{prefix}webhook_duration_seconds_count{{name="w",result="success"}} 2',
            f'{prefix}match_condition_exclusions_total{{type="Webhook",name="w"}} 1',
        } <= lines
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_rules_are_not_told(tmp_path, hook):
    rules = World(tmp_path, hook).authorizer.rules_for(ALICE, "ns")
    assert (rules.is_complete, rules.error) == (False, "webhook authorizer does not support user rule resolution")
