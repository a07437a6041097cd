import random
import timeit

import pytest

from pilothouse.api import gvr as kinds
from pilothouse.api.status import Forbidden, NotFound
from pilothouse.api.user import User
from pilothouse.apiserver.authz import bootstrap
from pilothouse.apiserver.authz.attributes import Attributes, forbidden
from pilothouse.apiserver.authz.chain import Chain, Link
from pilothouse.apiserver.authz.escalation import EscalationCheck
from pilothouse.apiserver.authz.modes import AuthorizationOptions, Modes
from pilothouse.apiserver.authz.rbac import Rbac
from pilothouse.apiserver.authz.rules import missing, show
from pilothouse.apiserver.objects import MemoryObjects
from pilothouse.kit.clock import VirtualClock

ALICE = User("alice", groups=("devs", "system:authenticated"))
ADMIN = User("root", groups=("system:masters",))


def role(name, *rules, namespace="", **more):
    return {"metadata": {"name": name, **({"namespace": namespace} if namespace else {})}, "rules": list(rules), **more}


def binding(name, role_name, *subjects, kind="ClusterRole", namespace=""):
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"metadata": metadata, "roleRef": {"kind": kind, "name": role_name}, "subjects": list(subjects)}


def user(name):
    return {"kind": "User", "name": name}


def rule(verbs, groups, resources, names=""):
    made = {"verbs": verbs.split(), "apiGroups": [g or "" for g in groups.split(",")], "resources": resources.split()}
    return {**made, "resourceNames": names.split()} if names else made


def ask(authorizer, who, verb, resource, *, group="", namespace="", name="", subresource="", path=""):
    attributes = Attributes(who, verb, group, "v1", resource, subresource, namespace, name, path)
    return authorizer.at_once(attributes) if isinstance(authorizer, Chain) else authorizer.authorize(attributes)


@pytest.fixture
def objects():
    return MemoryObjects()


@pytest.fixture
def rbac(objects):
    return Rbac(objects)


def test_nothing_is_allowed_without_a_binding(objects, rbac):
    objects.put(kinds.CLUSTER_ROLES, role("r", rule("*", "*", "*")))
    assert not ask(rbac, ALICE, "get", "pods").is_allowed


@pytest.mark.parametrize(
    ("granted", "asked", "allowed"),
    [
        (rule("get", "", "pods"), {"verb": "get", "resource": "pods"}, True),
        (rule("get", "", "pods"), {"verb": "list", "resource": "pods"}, False),
        (rule("get", "", "pods"), {"verb": "get", "resource": "pods", "group": "apps"}, False),
        (rule("get", "", "pods"), {"verb": "get", "resource": "pods", "subresource": "log"}, False),
        (rule("get", "", "pods/log"), {"verb": "get", "resource": "pods", "subresource": "log"}, True),
        (rule("get", "", "*/log"), {"verb": "get", "resource": "pods", "subresource": "log"}, True),
        (rule("get", "", "*/log"), {"verb": "get", "resource": "pods"}, False),
        (rule("get", "", "*"), {"verb": "get", "resource": "pods", "subresource": "log"}, True),
        (rule("*", "*", "*"), {"verb": "delete", "resource": "x", "group": "y"}, True),
        (rule("get", "", "pods", "a b"), {"verb": "get", "resource": "pods", "name": "b"}, True),
        (rule("get", "", "pods", "a b"), {"verb": "get", "resource": "pods", "name": "c"}, False),
        (rule("get", "", "pods", "a b"), {"verb": "get", "resource": "pods"}, False),
        ({"verbs": ["get"], "nonResourceURLs": ["/api/*"]}, {"verb": "get", "resource": "", "path": "/api/v1"}, True),
        ({"verbs": ["get"], "nonResourceURLs": ["/api/*"]}, {"verb": "get", "resource": "", "path": "/api"}, False),
        ({"verbs": ["get"], "nonResourceURLs": ["*"]}, {"verb": "get", "resource": "", "path": "/x"}, True),
        ({"verbs": ["get"], "nonResourceURLs": ["*"]}, {"verb": "get", "resource": "pods"}, False),
    ],
)
def test_rules(objects, rbac, granted, asked, allowed):
    objects.put(kinds.CLUSTER_ROLES, role("r", granted))
    objects.put(kinds.CLUSTER_ROLE_BINDINGS, binding("b", "r", user("alice")))
    for _ in range(2):
        assert ask(rbac, ALICE, **asked).is_allowed is allowed


def test_a_role_binding_counts_in_its_namespace_only(objects, rbac):
    objects.put(kinds.CLUSTER_ROLES, role("r", rule("get", "", "pods")))
    objects.put(kinds.ROLE_BINDINGS, binding("b", "r", user("alice"), namespace="a"))
    assert ask(rbac, ALICE, "get", "pods", namespace="a").is_allowed
    assert not ask(rbac, ALICE, "get", "pods", namespace="b").is_allowed
    assert not ask(rbac, ALICE, "get", "pods").is_allowed


def test_changes_take_effect_at_once(objects, rbac):
    bound = binding("b", "r", user("alice"))
    objects.put(kinds.CLUSTER_ROLE_BINDINGS, bound)
    missing_role = ask(rbac, ALICE, "get", "pods")
    assert missing_role.reason == 'RBAC: clusterrole.rbac.authorization.k8s.io "r" not found'
    objects.put(kinds.CLUSTER_ROLES, role("r", rule("get", "", "pods")))
    assert ask(rbac, ALICE, "get", "pods").is_allowed
    objects.put(kinds.CLUSTER_ROLES, role("r"))
    assert not ask(rbac, ALICE, "get", "pods").is_allowed
    objects.put(kinds.CLUSTER_ROLES, role("r", rule("get", "", "pods")))
    objects.remove(kinds.CLUSTER_ROLE_BINDINGS, bound)
    assert not ask(rbac, ALICE, "get", "pods").is_allowed


def test_a_binding_to_a_service_account_of_its_own_namespace(objects, rbac):
    objects.put(kinds.ROLES, role("r", rule("get", "", "pods"), namespace="a"))
    subject = {"kind": "ServiceAccount", "name": "s"}
    objects.put(kinds.ROLE_BINDINGS, binding("b", "r", subject, kind="Role", namespace="a"))
    decision = ask(rbac, User("system:serviceaccount:a:s"), "get", "pods", namespace="a")
    assert decision.reason == 'RBAC: allowed by RoleBinding "b/a" of Role "r" to ServiceAccount "s/a"'
    assert not ask(rbac, User("system:serviceaccount:b:s"), "get", "pods", namespace="a").is_allowed


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (
            Attributes(ALICE, "list", "", "v1", "pods", namespace="default"),
            'pods is forbidden: User "alice" cannot list resource "pods" in API group "" in the namespace "default"',
        ),
        (
            Attributes(ALICE, "get", "apps", "v1", "deployments", "scale", "ns", "web"),
            'deployments.apps "web" is forbidden: User "alice" cannot get resource "deployments/scale" in API group "apps" '
            'in the namespace "ns"',
        ),
        (
            Attributes(ALICE, "create", "", "v1", "nodes"),
            'nodes is forbidden: User "alice" cannot create resource "nodes" in API group "" at the cluster scope',
        ),
        (Attributes(ALICE, "get", path="/metrics"), 'forbidden: User "alice" cannot get path "/metrics"'),
    ],
)
def test_messages(attributes, message):
    assert forbidden(attributes).message == message
    assert forbidden(attributes, "why").message == f"{message}: why"


def test_bootstrap_gives_the_usual_powers():
    objects = MemoryObjects(bootstrap.objects())
    authorizer = Modes(AuthorizationOptions(), objects, VirtualClock(), random.Random(1)).chain
    anonymous = User("system:anonymous", groups=("system:unauthenticated",))
    assert ask(authorizer, anonymous, "get", "", path="/healthz").is_allowed
    assert not ask(authorizer, anonymous, "get", "", path="/api").is_allowed
    assert ask(authorizer, ALICE, "get", "", path="/openapi/v2").is_allowed
    assert ask(authorizer, ADMIN, "delete", "anything", group="x").is_allowed
    scheduler = User("system:kube-scheduler", groups=("system:authenticated",))
    assert ask(authorizer, scheduler, "create", "pods", subresource="binding", namespace="x").is_allowed
    objects.put(kinds.ROLE_BINDINGS, binding("b", "edit", user("alice"), namespace="a"))
    assert ask(authorizer, ALICE, "create", "deployments", group="apps", namespace="a").is_allowed
    assert ask(authorizer, ALICE, "list", "pods", namespace="a").is_allowed
    assert not ask(
        authorizer, ALICE, "create", "rolebindings", group="rbac.authorization.k8s.io", namespace="a"
    ).is_allowed


def test_bootstrap_is_whole():
    found = bootstrap.objects()
    roles = {obj["metadata"]["name"]: obj for gvr, obj in found if gvr is kinds.CLUSTER_ROLES}
    bound = {obj["roleRef"]["name"] for gvr, obj in found if gvr is kinds.CLUSTER_ROLE_BINDINGS}
    assert bound <= set(roles)
    assert len(roles["admin"]["rules"]) > len(roles["edit"]["rules"]) > len(roles["view"]["rules"]) > 5
    assert all(obj["metadata"]["labels"] for _, obj in found)


def test_reconciliation_adds_and_keeps():
    expected = role("r", rule("get", "", "pods"))
    assert bootstrap.reconciled(expected, role("r", rule("*", "*", "*"))) is None
    extra = role("r", rule("list", "", "nodes"))
    assert bootstrap.reconciled(expected, extra)["rules"] == [*extra["rules"], rule("get", "", "pods")]
    protected = role("r")
    protected["metadata"]["annotations"] = {bootstrap.AUTO_UPDATE: "false"}
    assert bootstrap.reconciled(expected, protected) is None
    assert all(bootstrap.reconciled(obj, obj) is None for _, obj in bootstrap.objects())


def test_missing_and_show():
    wanted = [rule("get list", "", "pods secrets"), rule("get", "", "nodes", "a")]
    assert missing([rule("*", "*", "*")], wanted) == []
    lacking = missing(
        [rule("get", "", "pods"), rule("get list", "", "secrets"), rule("get", "", "nodes", "a b")], wanted
    )
    assert [show(part) for part in lacking] == ['{APIGroups:[""], Resources:["pods"], Verbs:["list"]}']


class TestEscalation:
    @pytest.fixture
    def check(self, objects, rbac):
        objects.put(kinds.CLUSTER_ROLES, role("writer", rule("*", "rbac.authorization.k8s.io", "roles rolebindings")))
        objects.put(kinds.CLUSTER_ROLES, role("reader", rule("get list", "", "pods")))
        objects.put(kinds.CLUSTER_ROLE_BINDINGS, binding("r", "reader", user("alice")))
        return EscalationCheck(rbac, Chain([Link(rbac)])).check

    async def test_what_one_has_can_be_granted(self, check):
        await check(ALICE, "roles", role("x", rule("get", "", "pods"), namespace="a"), None)
        await check(ALICE, "rolebindings", binding("x", "reader", user("bob"), namespace="a"), None)

    async def test_what_one_lacks_cannot(self, check):
        with pytest.raises(Forbidden) as caught:
            await check(ALICE, "roles", role("x", rule("get delete", "", "pods secrets"), namespace="a"), None)
        assert caught.value.message == (
            'roles.rbac.authorization.k8s.io "x" is forbidden: user "alice" (groups=["devs" "system:authenticated"]) is '
            "attempting to grant RBAC permissions not currently held:\n"
            '{APIGroups:[""], Resources:["pods"], Verbs:["delete"]}\n'
            '{APIGroups:[""], Resources:["secrets"], Verbs:["get" "delete"]}'
        )
        with pytest.raises(Forbidden):
            await check(ALICE, "rolebindings", binding("x", "writer", user("bob"), namespace="a"), None)

    async def test_a_binding_to_no_role(self, check):
        with pytest.raises(NotFound):
            await check(ALICE, "rolebindings", binding("x", "none", user("bob"), namespace="a"), None)

    async def test_the_verbs_bind_and_escalate_lift_the_check(self, objects, check):
        powers = rule("bind escalate", "rbac.authorization.k8s.io", "roles clusterroles")
        objects.put(kinds.CLUSTER_ROLES, role("powers", powers))
        objects.put(kinds.CLUSTER_ROLE_BINDINGS, binding("p", "powers", user("alice")))
        await check(ALICE, "roles", role("x", rule("*", "*", "*"), namespace="a"), None)
        await check(ALICE, "rolebindings", binding("x", "writer", user("bob"), namespace="a"), None)

    async def test_masters_may(self, check):
        await check(ADMIN, "clusterroles", role("x", rule("*", "*", "*")), None)

    async def test_aggregation_needs_everything(self, check):
        with pytest.raises(Forbidden, match="must have cluster-admin privileges to use the aggregationRule"):
            await check(ALICE, "clusterroles", role("x", aggregationRule={"clusterRoleSelectors": [{}]}), None)

    async def test_the_garbage_collector_may_drop_an_owner(self, check):
        old = role("x", rule("*", "*", "*"))
        new = {**old, "metadata": {**old["metadata"], "finalizers": []}}
        await check(ALICE, "clusterroles", new, old)


def test_a_decision_costs_microseconds():
    objects = MemoryObjects(bootstrap.objects())
    authorizer = Modes(AuthorizationOptions(), objects, VirtualClock(), random.Random(1)).chain
    who = User("system:kube-controller-manager", groups=("system:authenticated",))
    question = Attributes(who, "list", "apps", "v1", "deployments", "", "default")
    best = min(timeit.repeat(lambda: authorizer.at_once(question), number=2000, repeat=5)) / 2000
    assert best < 20e-6
