import orjson
import pytest

from pilothouse.api import gvr as kinds
from pilothouse.api.user import User
from pilothouse.apiserver.authz.attributes import Attributes
from pilothouse.apiserver.authz.node import NodeAuthorizer, _has_same_references
from pilothouse.apiserver.objects import MemoryObjects

N1 = User("system:node:n1", groups=("system:nodes",))
N2 = User("system:node:n2", groups=("system:nodes",))


def pod(name="p", node="n1", **spec):
    return {"metadata": {"name": name, "namespace": "ns"}, "spec": {"nodeName": node, "containers": [], **spec}}


def ask(authorizer, user, verb, resource, name="", *, namespace="ns", group="", subresource="", field_selector=""):
    return authorizer.authorize(
        Attributes(user, verb, group, "v1", resource, subresource, namespace, name, "", field_selector)
    )


@pytest.fixture
def objects():
    return MemoryObjects()


@pytest.fixture
def authorizer(objects):
    return NodeAuthorizer(objects)


def test_others_are_not_its_business(authorizer):
    decision = ask(authorizer, User("alice"), "get", "secrets", "s")
    assert (decision.is_allowed, decision.reason) == (False, "")


@pytest.mark.parametrize(
    ("spec", "resource", "name"),
    [
        ({"volumes": [{"name": "v", "secret": {"secretName": "x"}}]}, "secrets", "x"),
        ({"volumes": [{"name": "v", "configMap": {"name": "x"}}]}, "configmaps", "x"),
        ({"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "x"}}]}}]}, "secrets", "x"),
        ({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "x"}}]}, "persistentvolumeclaims", "x"),
        ({"volumes": [{"name": "v", "ephemeral": {}}]}, "persistentvolumeclaims", "p-v"),
        ({"imagePullSecrets": [{"name": "x"}]}, "secrets", "x"),
        ({"containers": [{"name": "c", "envFrom": [{"configMapRef": {"name": "x"}}]}]}, "configmaps", "x"),
        (
            {"initContainers": [{"env": [{"name": "a", "valueFrom": {"secretKeyRef": {"name": "x"}}}]}]},
            "secrets",
            "x",
        ),
        ({"serviceAccountName": "x"}, "serviceaccounts", "x"),
    ],
)
def test_what_a_pod_refers_to_its_node_reads(objects, authorizer, spec, resource, name):
    assert not ask(authorizer, N1, "get", resource, name).is_allowed
    objects.put(kinds.PODS, pod(**spec))
    objects.put(kinds.PODS, pod("other", **spec))
    assert ask(authorizer, N1, "get", resource, name).is_allowed
    assert ask(authorizer, N2, "get", resource, name).reason == (
        "no relationship found between node 'n2' and this object"
    )
    assert not ask(authorizer, N1, "get", resource, name, namespace="elsewhere").is_allowed
    assert not ask(authorizer, N1, "update", resource, name).is_allowed
    objects.remove(kinds.PODS, pod(**spec))
    if name != "p-v":
        assert ask(authorizer, N1, "get", resource, name).is_allowed
    objects.remove(kinds.PODS, pod("other", **spec))
    assert not ask(authorizer, N1, "get", resource, name).is_allowed


def test_a_volume_and_its_secret_through_the_claim(objects, authorizer):
    objects.put(kinds.PODS, pod(volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]))
    claim = {"namespace": "ns", "name": "c"}
    csi = {"driver": "d", "nodePublishSecretRef": {"name": "s", "namespace": "vault"}}
    volume = {"metadata": {"name": "pv"}, "spec": {"claimRef": claim, "csi": csi}}
    objects.put(kinds.PERSISTENT_VOLUMES, volume)
    assert ask(authorizer, N1, "get", "persistentvolumes", "pv", namespace="").is_allowed
    assert ask(authorizer, N1, "get", "secrets", "s", namespace="vault").is_allowed
    assert not ask(authorizer, N2, "get", "secrets", "s", namespace="vault").is_allowed
    objects.remove(kinds.PERSISTENT_VOLUMES, volume)
    assert not ask(authorizer, N1, "get", "secrets", "s", namespace="vault").is_allowed


def test_a_mirror_pod_gives_nothing(objects, authorizer):
    mirror = pod(serviceAccountName="x")
    mirror["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "h"}
    objects.put(kinds.PODS, mirror)
    assert ask(authorizer, N1, "get", "pods", "p").is_allowed
    assert not ask(authorizer, N1, "get", "serviceaccounts", "x").is_allowed


@pytest.mark.parametrize(
    ("question", "allowed"),
    [
        ({"verb": "get", "resource": "nodes", "name": "n1", "namespace": ""}, True),
        ({"verb": "get", "resource": "nodes", "name": "n2", "namespace": ""}, False),
        ({"verb": "list", "resource": "nodes", "namespace": ""}, False),
        ({"verb": "create", "resource": "nodes", "namespace": ""}, True),
        ({"verb": "delete", "resource": "nodes", "name": "n1", "namespace": ""}, False),
        ({"verb": "patch", "resource": "nodes", "name": "n1", "subresource": "status", "namespace": ""}, True),
        ({"verb": "watch", "resource": "pods", "field_selector": "spec.nodeName=n1", "namespace": ""}, True),
        ({"verb": "watch", "resource": "pods", "field_selector": "spec.nodeName=n2", "namespace": ""}, False),
        ({"verb": "watch", "resource": "pods", "field_selector": "spec.nodeName!=n1", "namespace": ""}, False),
        ({"verb": "patch", "resource": "pods", "name": "p", "subresource": "status"}, True),
        ({"verb": "update", "resource": "pods", "name": "p"}, False),
        (
            {
                "verb": "update",
                "resource": "leases",
                "group": "coordination.k8s.io",
                "name": "n1",
                "namespace": "kube-node-lease",
            },
            True,
        ),
        (
            {
                "verb": "update",
                "resource": "leases",
                "group": "coordination.k8s.io",
                "name": "n2",
                "namespace": "kube-node-lease",
            },
            False,
        ),
        ({"verb": "update", "resource": "leases", "group": "coordination.k8s.io", "name": "n1"}, False),
        ({"verb": "get", "resource": "csinodes", "group": "storage.k8s.io", "name": "n1", "namespace": ""}, True),
        ({"verb": "list", "resource": "services", "namespace": ""}, True),
        ({"verb": "create", "resource": "events"}, True),
        ({"verb": "list", "resource": "secrets"}, False),
        ({"verb": "create", "resource": "deployments", "group": "apps"}, False),
    ],
)
def test_fixed_rules(authorizer, question, allowed):
    assert ask(authorizer, N1, **question).is_allowed is allowed


def test_bytes_tell_whether_references_changed():
    def wire(spec, status):
        return orjson.dumps({"kind": "Pod", "metadata": {"name": "p"}, "spec": spec, "status": status})

    old = wire({"nodeName": "n1"}, {"phase": "Pending"})
    assert _has_same_references(old, wire({"nodeName": "n1"}, {"phase": "Running"}))
    assert not _has_same_references(old, wire({"nodeName": "n2"}, {"phase": "Pending"}))
    assert not _has_same_references(old, wire({"nodeName": "n1"}, {"resourceClaimStatuses": [{"name": "x"}]}))
    assert not _has_same_references(b'{"spec":{}}', b'{"spec":{}}')
    assert not _has_same_references(b"", old)
    assert not _has_same_references(old, b"")
    assert _has_same_references(b"", wire({}, {"phase": "Pending"}))
