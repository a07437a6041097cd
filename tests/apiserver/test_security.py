"""The chain with its real security on a store in memory, spoken to in bytes."""

import ipaddress
import random

import orjson
import pytest

from pilothouse.api import gvr as kinds
from pilothouse.api.kinds.table import RESOURCES
from pilothouse.api.status import BadRequest, Conflict, Forbidden, Invalid, NotFound, Unauthorized
from pilothouse.apiserver import security
from pilothouse.apiserver.app import ApiServer
from pilothouse.apiserver.authz.gate import Gate
from pilothouse.apiserver.bootstrap import Bootstrap, Surroundings
from pilothouse.apiserver.openapi import OpenApi
from pilothouse.client.client import Client
from pilothouse.client.inprocess import InProcessTransport
from pilothouse.kit.clock import VirtualClock
from pilothouse.kit.pki import Authority, Pki, SigningKey
from pilothouse.store.cachers import Cachers
from pilothouse.store.memory import MemoryStore

TOKENS = """
admin,admin,1,"system:masters"
alice,alice,2,"devs"
node,system:node:n1,3,"system:nodes"
"""


class Cluster:
    def __init__(self, server, clock):
        self.server = server
        self.clock = clock

    def client(self, token="", **headers):
        credentials = {"authorization": f"Bearer {token}"} if token else {}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Client(InProcessTransport(self.server.handle, {**credentials, **named}))


@pytest.fixture
async def cluster(tmp_path):
    clock, rng = VirtualClock(), random.Random(1)
    pki = Pki(tmp_path, clock)
    pki.ensure([Authority("ca", "kubernetes"), SigningKey("sa")])
    cachers = Cachers(MemoryStore(clock), clock)
    options = security.SecurityOptions(
        client_ca=pki.certificate_path("ca").read_bytes,
        token_file=TOKENS,
        signing_key=pki.key_path("sa").read_bytes(),
        verifying_keys=pki.public_key_path("sa").read_bytes,
        enable_admission=("NodeRestriction",),
    )
    secured = await security.build(
        options,
        cachers,
        RESOURCES,
        clock,
        rng,
        registry_of=lambda resource: server.registry(resource),
        endpoint_of_kind=lambda *kind: server.endpoint_of_kind(*kind),
    )
    server = ApiServer(
        cachers,
        RESOURCES,
        authenticator=secured.authenticator,
        authorizer=Gate(secured.authorizer, clock),
        impersonator=secured.impersonator,
        admission=secured.admission,
        clock=clock,
        rng=rng,
        answerers=secured.answerers,
        connectors=secured.connectors,
        paths={
            **secured.paths,
            **dict.fromkeys(("/openapi/v2", "/openapi/v3", "/openapi/v3/"), OpenApi(RESOURCES).serve),
        },
    )
    by_gvr = {resource.gvr: resource for resource in RESOURCES}
    surroundings = Surroundings("192.0.2.1", 6443, [ipaddress.ip_network("10.96.0.0/16")])
    await Bootstrap(lambda gvr: server.registry(by_gvr[gvr]), surroundings, clock).run()
    cluster = Cluster(server, clock)
    admin = cluster.client("admin")
    for name in ("default", "robot"):
        await admin.create(kinds.SERVICE_ACCOUNTS, {"metadata": {"name": name, "namespace": "default"}})
    return cluster


def review(kind, group, **spec):
    return {"apiVersion": f"{group}/v1", "kind": kind, "metadata": {}, "spec": spec}


async def test_who_am_i(cluster):
    obj = review("SelfSubjectReview", "authentication.k8s.io")
    answer = await cluster.client("alice").create(kinds.SELF_SUBJECT_REVIEWS, obj)
    assert answer["status"]["userInfo"]["username"] == "alice"
    assert answer["status"]["userInfo"]["groups"] == ["devs", "system:authenticated"]


async def test_strangers(cluster):
    with pytest.raises(Unauthorized, match=r"^Unauthorized"):
        await cluster.client("wrong").list(kinds.PODS, "default")
    with pytest.raises(Forbidden) as caught:
        await cluster.client().list(kinds.PODS, "default")
    assert caught.value.message == (
        'pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" in the namespace "default"'
    )
    with pytest.raises(Forbidden, match='User "system:anonymous" cannot get path "/openapi/v2"'):
        await cluster.client().raw("GET", "/openapi/v2")


async def test_a_role_takes_effect_at_once(cluster):
    alice, admin = cluster.client("alice"), cluster.client("admin")
    with pytest.raises(Forbidden):
        await alice.list(kinds.CONFIG_MAPS, "default")
    binding = {
        "metadata": {"name": "a", "namespace": "default"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}],
    }
    await admin.create(kinds.ROLE_BINDINGS, binding)
    assert not (await alice.list(kinds.CONFIG_MAPS, "default")).items
    with pytest.raises(Forbidden):
        await alice.list(kinds.CONFIG_MAPS, "kube-system")
    await admin.delete(kinds.ROLE_BINDINGS, "default", "a")
    with pytest.raises(Forbidden):
        await alice.list(kinds.CONFIG_MAPS, "default")


async def test_nobody_grants_what_he_lacks(cluster):
    alice, admin = cluster.client("alice"), cluster.client("admin")
    group = "rbac.authorization.k8s.io"
    rules = [{"apiGroups": [group], "resources": ["roles"], "verbs": ["create"]}]
    await admin.create(kinds.CLUSTER_ROLES, {"metadata": {"name": "maker"}, "rules": rules})
    subject = {"apiGroup": group, "kind": "User", "name": "alice"}
    reference = {"apiGroup": group, "kind": "ClusterRole", "name": "maker"}
    await admin.create(
        kinds.CLUSTER_ROLE_BINDINGS, {"metadata": {"name": "maker"}, "roleRef": reference, "subjects": [subject]}
    )
    await alice.create(kinds.ROLES, {"metadata": {"name": "same", "namespace": "default"}, "rules": rules})
    more = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]
    with pytest.raises(Forbidden, match="attempting to grant RBAC permissions not currently held"):
        await alice.create(kinds.ROLES, {"metadata": {"name": "more", "namespace": "default"}, "rules": more})


async def test_access_reviews(cluster):
    alice, admin = cluster.client("alice"), cluster.client("admin")
    asked = {"verb": "list", "resource": "pods", "namespace": "default"}
    obj = review("SelfSubjectAccessReview", "authorization.k8s.io", resourceAttributes=asked)
    assert (await alice.create(kinds.SELF_SUBJECT_ACCESS_REVIEWS, obj))["status"] == {"allowed": False}
    assert (await admin.create(kinds.SELF_SUBJECT_ACCESS_REVIEWS, obj))["status"]["allowed"]
    obj = review("SubjectAccessReview", "authorization.k8s.io", resourceAttributes=asked, user="system:kube-scheduler")
    answer = await admin.create(kinds.SUBJECT_ACCESS_REVIEWS, obj)
    assert answer["status"] == {
        "allowed": True,
        "reason": 'RBAC: allowed by ClusterRoleBinding "system:kube-scheduler" of ClusterRole "system:kube-scheduler" to '
        'User "system:kube-scheduler"',
    }
    with pytest.raises(Invalid, match="at least one of user or group must be specified"):
        await admin.create(
            kinds.SUBJECT_ACCESS_REVIEWS,
            review("SubjectAccessReview", "authorization.k8s.io", resourceAttributes=asked),
        )
    with pytest.raises(Forbidden):
        await alice.create(kinds.SUBJECT_ACCESS_REVIEWS, obj)
    rules = review("SelfSubjectRulesReview", "authorization.k8s.io", namespace="default")
    answer = await alice.create(kinds.SELF_SUBJECT_RULES_REVIEWS, rules)
    assert {"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]} in (
        answer["status"]["resourceRules"]
    )
    assert answer["status"]["incomplete"] is False


async def test_a_service_accounts_token(cluster):
    admin = cluster.client("admin")
    request = review("TokenRequest", "authentication.k8s.io", expirationSeconds=600)
    arguments = {"namespace": "default", "name": "robot", "subresource": "token"}
    issued = await admin.create(kinds.SERVICE_ACCOUNTS, request, **arguments)
    token = issued["status"]["token"]
    robot = cluster.client(token)
    who = await robot.create(kinds.SELF_SUBJECT_REVIEWS, review("SelfSubjectReview", "authentication.k8s.io"))
    assert who["status"]["userInfo"]["username"] == "system:serviceaccount:default:robot"
    checked = await admin.create(kinds.TOKEN_REVIEWS, review("TokenReview", "authentication.k8s.io", token=token))
    assert checked["status"]["authenticated"]
    assert checked["status"]["audiences"] == ["https://kubernetes.default.svc.cluster.local"]
    bad = await admin.create(kinds.TOKEN_REVIEWS, review("TokenReview", "authentication.k8s.io", token="x"))
    assert bad["status"]["error"] == "invalid bearer token"
    await admin.delete(kinds.SERVICE_ACCOUNTS, "default", "robot")
    await cluster.clock.advance(11)
    with pytest.raises(Unauthorized):
        await robot.list(kinds.PODS, "default")
    keys = orjson.loads(await admin.raw("GET", "/openid/v1/jwks", headers={"accept": "*/*"}))["keys"]
    assert keys[0]["alg"] == "ES256"


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ({"expirationSeconds": 5}, Invalid, "may not specify a duration less than 10 minutes"),
        ({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "no"}}, NotFound, 'pods "no" not found'),
        ({"boundObjectRef": {"apiVersion": "v1", "kind": "Service", "name": "x"}}, BadRequest, "cannot bind token"),
        (
            {"boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": "s", "uid": "x"}},
            Conflict,
            "the UID in the bound object reference",
        ),
    ],
)
async def test_tokens_that_are_not_issued(cluster, spec, error, message):
    admin = cluster.client("admin")
    await admin.create(kinds.SECRETS, {"metadata": {"name": "s", "namespace": "default"}})
    request = review("TokenRequest", "authentication.k8s.io", **spec)
    with pytest.raises(error, match=message):
        await admin.create(kinds.SERVICE_ACCOUNTS, request, namespace="default", name="robot", subresource="token")


async def test_impersonation(cluster):
    obj = review("SelfSubjectReview", "authentication.k8s.io")
    acting = cluster.client("admin", impersonate_user="bob", impersonate_group="x, y", impersonate_extra_a="1")
    info = (await acting.create(kinds.SELF_SUBJECT_REVIEWS, obj))["status"]["userInfo"]
    assert info == {"username": "bob", "groups": ["x, y", "system:authenticated"], "extra": {"a": ["1"]}}
    account = cluster.client("admin", impersonate_user="system:serviceaccount:default:robot")
    info = (await account.create(kinds.SELF_SUBJECT_REVIEWS, obj))["status"]["userInfo"]
    assert info["groups"] == ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]
    with pytest.raises(Forbidden, match='User "alice" cannot impersonate-on:user-info:list resource "pods"'):
        await cluster.client("alice", impersonate_user="bob").list(kinds.PODS)
    with pytest.raises(BadRequest, match="without impersonating a user name"):
        await cluster.client("admin", impersonate_group="x").list(kinds.PODS)


async def test_a_kubelet_sees_its_own_pods_secrets(cluster):
    admin, kubelet = cluster.client("admin"), cluster.client("node")
    await kubelet.create(kinds.NODES, {"metadata": {"name": "n1"}})
    for name in ("mine", "other"):
        await admin.create(kinds.SECRETS, {"metadata": {"name": name, "namespace": "default"}})
    volume = {"name": "v", "secret": {"secretName": "mine"}}
    spec = {"nodeName": "n1", "containers": [{"name": "c", "image": "x"}], "volumes": [volume]}
    await admin.create(kinds.PODS, {"metadata": {"name": "p", "namespace": "default"}, "spec": spec})
    assert await kubelet.get(kinds.SECRETS, "default", "mine")
    assert await kubelet.get(kinds.PODS, "default", "p")
    with pytest.raises(Forbidden, match="no relationship found between node 'n1' and this object"):
        await kubelet.get(kinds.SECRETS, "default", "other")
    with pytest.raises(Forbidden, match=r"can only list/watch pods with spec.nodeName field selector"):
        await kubelet.list(kinds.PODS)
    assert len((await kubelet.list(kinds.PODS, field_selector="spec.nodeName=n1")).items) == 1
    pod = await admin.get(kinds.PODS, "default", "p")
    reference = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": pod["metadata"]["uid"]}
    request = review("TokenRequest", "authentication.k8s.io", expirationSeconds=3607, boundObjectRef=reference)
    arguments = {"namespace": "default", "name": "default", "subresource": "token"}
    issued = await kubelet.create(kinds.SERVICE_ACCOUNTS, request, **arguments)
    who = await cluster.client(issued["status"]["token"]).create(
        kinds.SELF_SUBJECT_REVIEWS, review("SelfSubjectReview", "authentication.k8s.io")
    )
    assert who["status"]["userInfo"]["extra"]["authentication.kubernetes.io/node-name"] == ["n1"]
    del request["spec"]["boundObjectRef"]
    with pytest.raises(Forbidden, match="node requested token not bound to a pod"):
        await kubelet.create(kinds.SERVICE_ACCOUNTS, request, **arguments)


async def test_openapi_is_served(cluster):
    index = orjson.loads(await cluster.client("alice").raw("GET", "/openapi/v3"))
    assert "api/v1" in index["paths"]
    assert orjson.loads(await cluster.client("alice").raw("GET", "/openapi/v3/api/v1"))["openapi"] == "3.0.0"


async def test_policies_see_requests_for_tokens_and_no_reviews(cluster):
    admin = cluster.client("admin")
    group = "admissionregistration.k8s.io"
    rule = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*/*"]}
    policy = {
        "metadata": {"name": "nothing"},
        "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "false", "message": "nothing at all"}],
        },
    }
    binding = {"metadata": {"name": "nothing"}, "spec": {"policyName": "nothing", "validationActions": ["Deny"]}}
    await admin.create(kinds.VALIDATING_ADMISSION_POLICIES, {"apiVersion": f"{group}/v1", **policy})
    await admin.create(kinds.VALIDATING_ADMISSION_POLICY_BINDINGS, {"apiVersion": f"{group}/v1", **binding})
    obj = review("SelfSubjectReview", "authentication.k8s.io")
    assert (await admin.create(kinds.SELF_SUBJECT_REVIEWS, obj))["status"]["userInfo"]["username"] == "admin"
    spec = {"nonResourceAttributes": {"path": "/", "verb": "get"}}
    obj = review("SelfSubjectAccessReview", "authorization.k8s.io", **spec)
    assert (await admin.create(kinds.SELF_SUBJECT_ACCESS_REVIEWS, obj))["status"]["allowed"]
    path = "/api/v1/namespaces/default/serviceaccounts/robot/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    with pytest.raises(Invalid, match="nothing at all"):
        await admin.raw("POST", path, body=orjson.dumps(request))
