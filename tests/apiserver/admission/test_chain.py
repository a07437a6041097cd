import random

import pytest

from pilothouse.api import gvr as kinds
from pilothouse.api.resource import Resource
from pilothouse.api.status import Forbidden, NotFound, StatusError
from pilothouse.api.user import User
from pilothouse.apiserver.admission import chain
from pilothouse.apiserver.admission.certificates import SigningRequestIdentity
from pilothouse.apiserver.admission.escalation import RbacEscalation
from pilothouse.apiserver.attributes import Attributes
from pilothouse.apiserver.authz.always import AlwaysDeny
from pilothouse.apiserver.authz.attributes import ALLOW, NO_OPINION
from pilothouse.apiserver.authz.chain import Chain, Link
from pilothouse.apiserver.authz.escalation import EscalationCheck
from pilothouse.apiserver.authz.rbac import Rbac
from pilothouse.apiserver.objects import MemoryObjects
from pilothouse.kit.clock import VirtualClock

ALICE = User("alice", groups=("system:authenticated",))
KUBELET = User("system:node:n1", groups=("system:nodes", "system:authenticated"))


class Signers(AlwaysDeny):
    """Allows the signers of one domain."""

    def authorize(self, attributes):
        return ALLOW if attributes.name == "a.b/*" else NO_OPINION


async def unwritten(quota):
    raise AssertionError("no quota")


def named(name, namespace="", **more):
    return {"metadata": {"name": name, **({"namespace": namespace} if namespace else {})}, **more}


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def objects():
    return MemoryObjects(
        [
            (kinds.NAMESPACES, named("ns")),
            (kinds.NAMESPACES, named("ending", status={"phase": "Terminating"})),
            (kinds.SERVICE_ACCOUNTS, named("default", "ns")),
        ]
    )


@pytest.fixture
def admission(objects, clock):
    return chain.build(
        objects,
        Chain([Link(AlwaysDeny())]),
        clock,
        random.Random(1),
        unwritten,
        None,
        None,
        None,
        enable=["NodeRestriction"],
    )


async def admit(
    admission, gvr, obj=None, *, old=None, operation="CREATE", user=ALICE, namespace="ns", name="", subresource=""
):
    name = name or ((obj or old or {}).get("metadata") or {}).get("name", "")
    namespace = namespace if gvr.namespaced else ""
    attributes = Attributes(operation, Resource(gvr), gvr, namespace, name, user, obj, old, subresource)
    await admission.mutate(attributes)
    await admission.validate(attributes)
    return obj


def pod(**spec):
    return named("p", "ns", spec={"containers": [{"name": "c"}], **spec})


async def refused(*arguments, error=Forbidden, **more):
    with pytest.raises(error) as caught:
        await admit(*arguments, **more)
    return caught.value.message


class TestNamespaces:
    async def test_missing(self, admission):
        message = await refused(admission, kinds.CONFIG_MAPS, named("c", "no"), namespace="no", error=NotFound)
        assert message == 'namespaces "no" not found'

    async def test_terminating(self, admission):
        with pytest.raises(Forbidden) as caught:
            await admit(admission, kinds.CONFIG_MAPS, named("c", "ending"), namespace="ending")
        assert caught.value.message == (
            'configmaps "c" is forbidden: unable to create new content in namespace ending because it is being terminated'
        )
        assert caught.value.causes[0].reason == "NamespaceTerminating"
        obj = named("c", "ending")
        await admit(admission, kinds.CONFIG_MAPS, obj, old=obj, operation="UPDATE", namespace="ending")
        await admit(admission, kinds.CONFIG_MAPS, old=obj, operation="DELETE", namespace="ending")

    @pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
    async def test_immortal(self, admission, name):
        message = await refused(admission, kinds.NAMESPACES, operation="DELETE", name=name)
        assert message == f'namespaces "{name}" is forbidden: this namespace may not be deleted'


class TestPods:
    async def test_defaults_of_a_plain_pod(self, admission):
        obj = await admit(admission, kinds.PODS, pod())
        spec = obj["spec"]
        volume = spec["volumes"][0]
        assert volume["name"].startswith("kube-api-access-")
        assert len(volume["name"]) == 21
        assert volume["projected"]["defaultMode"] == 420
        assert spec["containers"][0]["volumeMounts"] == [
            {
                "name": volume["name"],
                "readOnly": True,
                "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
            }
        ]
        assert spec["serviceAccountName"] == spec["serviceAccount"] == "default"
        assert (spec["priority"], spec["preemptionPolicy"]) == (0, "PreemptLowerPriority")
        assert [t["key"] for t in spec["tolerations"]] == [
            "node.kubernetes.io/not-ready",
            "node.kubernetes.io/unreachable",
        ]
        assert {t["tolerationSeconds"] for t in spec["tolerations"]} == {300}

    async def test_own_tolerations_stay(self, admission):
        obj = await admit(admission, kinds.PODS, pod(tolerations=[{"operator": "Exists"}]))
        assert obj["spec"]["tolerations"] == [{"operator": "Exists"}]

    @pytest.mark.parametrize("where", ["pod", "account"])
    async def test_no_token_where_it_is_not_wanted(self, admission, objects, where):
        if where == "account":
            objects.put(kinds.SERVICE_ACCOUNTS, named("default", "ns", automountServiceAccountToken=False))
        spec = {"automountServiceAccountToken": False} if where == "pod" else {}
        obj = await admit(admission, kinds.PODS, pod(**spec))
        assert "volumes" not in obj["spec"]

    async def test_a_mount_at_the_path_stays(self, admission):
        mount = {"name": "x", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
        obj = await admit(admission, kinds.PODS, pod(containers=[{"name": "c", "volumeMounts": [mount]}]))
        assert "volumes" not in obj["spec"]

    async def test_pull_secrets_come_from_the_account(self, admission, objects):
        objects.put(kinds.SERVICE_ACCOUNTS, named("default", "ns", imagePullSecrets=[{"name": "s"}]))
        obj = await admit(admission, kinds.PODS, pod())
        assert obj["spec"]["imagePullSecrets"] == [{"name": "s"}]

    async def test_a_missing_account(self, admission):
        assert await refused(admission, kinds.PODS, pod(serviceAccountName="x")) == (
            'pods "p" is forbidden: error looking up service account ns/x: serviceaccount "x" not found'
        )

    async def test_enforced_mountable_secrets(self, admission, objects):
        account = named("default", "ns", secrets=[{"name": "ok"}])
        account["metadata"]["annotations"] = {"kubernetes.io/enforce-mountable-secrets": "true"}
        objects.put(kinds.SERVICE_ACCOUNTS, account)
        good = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "ok", "key": "k"}}}
        bad = {"name": "B", "valueFrom": {"secretKeyRef": {"name": "no", "key": "k"}}}
        await admit(admission, kinds.PODS, pod(containers=[{"name": "c", "env": [good]}]))
        assert await refused(admission, kinds.PODS, pod(containers=[{"name": "c", "env": [bad]}])) == (
            'pods "p" is forbidden: container c with envVar B referencing secret.secretName="no" is not allowed because '
            "service account default does not reference that secret"
        )

    async def test_priority_classes(self, admission, objects):
        objects.put(kinds.PRIORITY_CLASSES, named("high", value=1000, preemptionPolicy="Never"))
        objects.put(kinds.PRIORITY_CLASSES, named("usual", value=5, globalDefault=True))
        obj = await admit(admission, kinds.PODS, pod(priorityClassName="high"))
        assert (obj["spec"]["priority"], obj["spec"]["preemptionPolicy"]) == (1000, "Never")
        obj = await admit(admission, kinds.PODS, pod())
        assert (obj["spec"]["priorityClassName"], obj["spec"]["priority"]) == ("usual", 5)
        assert "no PriorityClass with name x was found" in await refused(
            admission, kinds.PODS, pod(priorityClassName="x")
        )
        assert "the integer value of priority (7) must not be provided" in await refused(
            admission, kinds.PODS, pod(priority=7)
        )
        second = named("second", value=1, globalDefault=True)
        assert "PriorityClass usual is already marked as default" in await refused(
            admission, kinds.PRIORITY_CLASSES, second
        )

    async def test_a_runtime_class(self, admission, objects):
        objects.put(
            kinds.RUNTIME_CLASSES,
            named("r", overhead={"podFixed": {"cpu": "1"}}, scheduling={"nodeSelector": {"a": "b"}}),
        )
        obj = await admit(admission, kinds.PODS, pod(runtimeClassName="r"))
        assert (obj["spec"]["overhead"], obj["spec"]["nodeSelector"]) == ({"cpu": "1"}, {"a": "b"})
        assert 'RuntimeClass "x" not found' in await refused(admission, kinds.PODS, pod(runtimeClassName="x"))
        assert "conflict" in await refused(admission, kinds.PODS, pod(runtimeClassName="r", nodeSelector={"a": "c"}))

    async def test_an_overhead_comes_from_a_runtime_class(self, admission, objects):
        objects.put(kinds.RUNTIME_CLASSES, named("r", overhead={"podFixed": {"cpu": "1"}}))
        objects.put(kinds.RUNTIME_CLASSES, named("none"))
        for more in ({"overhead": {}}, {"overhead": {"cpu": "1"}}, {"overhead": {}, "runtimeClassName": "none"}):
            text = await refused(admission, kinds.PODS, pod(**more))
            assert "Pod Overhead set without corresponding RuntimeClass defined Overhead" in text
        other = pod(overhead={"cpu": "2"}, runtimeClassName="r")
        assert "Pod's Overhead doesn't match" in await refused(admission, kinds.PODS, other)

    @pytest.mark.parametrize(
        ("name", "why"),
        [("", "resource name may not be empty"), ("x/y", "invalid resource name \"x/y\": [may not contain '/']")],
    )
    async def test_a_runtime_class_that_has_no_name_is_an_error_of_the_server(self, admission, name, why):
        with pytest.raises(StatusError) as error:
            await admit(admission, kinds.PODS, pod(runtimeClassName=name))
        assert (error.value.code, error.value.message) == (500, why)


class TestLimitRanges:
    async def limited(self, admission, objects, limit, container):
        objects.put(kinds.LIMIT_RANGES, named("l", "ns", spec={"limits": [limit]}))
        return await admit(admission, kinds.PODS, pod(containers=[{"name": "c", **container}]))

    async def test_defaults(self, admission, objects):
        limit = {"type": "Container", "default": {"cpu": "2"}, "defaultRequest": {"cpu": "1", "memory": "1Gi"}}
        obj = await self.limited(admission, objects, limit, {"resources": {"requests": {"memory": "2Gi"}}})
        container = obj["spec"]["containers"][0]
        assert container["resources"] == {"requests": {"memory": "2Gi", "cpu": "1"}, "limits": {"cpu": "2"}}
        assert obj["metadata"]["annotations"] == {
            "kubernetes.io/limit-ranger": "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
        }

    @pytest.mark.parametrize(
        ("limit", "resources", "message"),
        [
            ({"min": {"cpu": "1"}}, {}, "minimum cpu usage per Container is 1.  No request is specified"),
            (
                {"min": {"cpu": "1"}},
                {"requests": {"cpu": "500m"}},
                "minimum cpu usage per Container is 1, but request is 500m",
            ),
            ({"max": {"memory": "1Gi"}}, {}, "maximum memory usage per Container is 1Gi.  No limit is specified"),
            (
                {"max": {"memory": "1Gi"}},
                {"limits": {"memory": "2Gi"}},
                "maximum memory usage per Container is 1Gi, but limit is 2Gi",
            ),
            (
                {"maxLimitRequestRatio": {"cpu": "2"}},
                {"requests": {"cpu": "1"}, "limits": {"cpu": "3"}},
                "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000",
            ),
            (
                {"type": "Pod", "max": {"cpu": "1"}},
                {"limits": {"cpu": "1500m"}},
                "maximum cpu usage per Pod is 1, but limit is 1500m",
            ),
        ],
    )
    async def test_bounds(self, admission, objects, limit, resources, message):
        with pytest.raises(Forbidden) as caught:
            await self.limited(admission, objects, {"type": "Container", **limit}, {"resources": resources})
        assert caught.value.message == f'pods "p" is forbidden: {message}'


class TestOthers:
    async def test_finalizers_of_storage(self, admission):
        claim = await admit(admission, kinds.PERSISTENT_VOLUME_CLAIMS, named("c", "ns", spec={}))
        assert claim["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
        volume = await admit(admission, kinds.PERSISTENT_VOLUMES, named("v", spec={}))
        assert volume["metadata"]["finalizers"] == ["kubernetes.io/pv-protection"]

    async def test_default_storage_class(self, admission, objects):
        default = {"storageclass.kubernetes.io/is-default-class": "true"}
        for name, created in (("old", "2020-01-01T00:00:00Z"), ("new", "2021-01-01T00:00:00Z")):
            found = named(name)
            found["metadata"] |= {"annotations": default, "creationTimestamp": created}
            objects.put(kinds.STORAGE_CLASSES, found)
        claim = await admit(admission, kinds.PERSISTENT_VOLUME_CLAIMS, named("c", "ns", spec={}))
        assert claim["spec"]["storageClassName"] == "new"
        claim = await admit(admission, kinds.PERSISTENT_VOLUME_CLAIMS, named("c", "ns", spec={"storageClassName": ""}))
        assert claim["spec"]["storageClassName"] == ""

    async def test_claims_grow_where_their_class_allows_it(self, admission, objects):
        def claim(size, **more):
            spec = {"storageClassName": "s", "resources": {"requests": {"storage": size}}}
            return named("c", "ns", spec=spec, **more)

        bound = claim("1Gi", status={"phase": "Bound"})
        options = {"old": bound, "operation": "UPDATE"}
        message = await refused(admission, kinds.PERSISTENT_VOLUME_CLAIMS, claim("2Gi"), **options)
        assert "must support resize" in message
        objects.put(kinds.STORAGE_CLASSES, named("s", allowVolumeExpansion=True))
        await admit(admission, kinds.PERSISTENT_VOLUME_CLAIMS, claim("2Gi"), **options)
        await admit(admission, kinds.PERSISTENT_VOLUME_CLAIMS, claim("1024Mi"), **options)
        message = await refused(
            admission, kinds.PERSISTENT_VOLUME_CLAIMS, claim("2Gi"), old=claim("1Gi"), operation="UPDATE"
        )
        assert "Only bound persistent volume claims can be expanded" in message

    async def test_signing_requests(self, objects, clock):
        admission = chain.build(
            objects,
            Chain([Link(Signers())]),
            clock,
            random.Random(1),
            unwritten,
            None,
            None,
            None,
            always=[SigningRequestIdentity()],
        )
        gvr = kinds.CERTIFICATE_SIGNING_REQUESTS
        made = await admit(admission, gvr, named("r", spec={"signerName": "a.b/c", "username": "root", "uid": "0"}))
        assert made["spec"] == {"signerName": "a.b/c", "username": "alice", "groups": ["system:authenticated"]}
        bad = named("r", spec={"signerName": "kubernetes.io/kube-apiserver-client", "request": "x"})
        assert "failed to parse CSR" in await refused(admission, gvr, bad)
        other = named("r", spec={"signerName": "other/x"})
        await admit(admission, gvr, made, old=made, operation="UPDATE", subresource="approval")
        message = await refused(admission, gvr, other, old=other, operation="UPDATE", subresource="approval")
        assert message.endswith('user not permitted to approve requests with signerName "other/x"')
        signed = {**other, "status": {"certificate": "x"}}
        message = await refused(admission, gvr, signed, old=other, operation="UPDATE", subresource="status")
        assert message.endswith('user not permitted to sign requests with signerName "other/x"')

    async def test_a_new_node_is_tainted(self, admission):
        node = await admit(admission, kinds.NODES, named("n1"), user=KUBELET)
        assert node["spec"]["taints"] == [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]

    async def test_escalation(self, objects, clock):
        rbac = Rbac(objects)
        always = [RbacEscalation(EscalationCheck(rbac, Chain([Link(rbac)])))]
        admission = chain.build(
            objects, Chain([Link(AlwaysDeny())]), clock, random.Random(1), unwritten, None, None, None, always=always
        )
        role = named("r", "ns", rules=[{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}])
        assert "attempting to grant" in await refused(admission, kinds.ROLES, role)

    def test_flags(self, objects, clock):
        rng = random.Random(1)
        with pytest.raises(ValueError, match="unknown admission plugin 'X'"):
            chain.build(objects, AlwaysDeny(), clock, rng, unwritten, None, None, None, enable=["X"])
        with pytest.raises(ValueError, match="both enabled and disabled"):
            chain.build(
                objects,
                AlwaysDeny(),
                clock,
                rng,
                unwritten,
                None,
                None,
                None,
                enable=["Priority"],
                disable=["Priority"],
            )
        names = {
            plugin.name
            for plugin in chain.build(
                objects, AlwaysDeny(), clock, rng, unwritten, None, None, None, disable=["Priority"]
            ).plugins
        }
        assert "Priority" not in names
        assert "NodeRestriction" not in names
        assert "ServiceAccount" in names


class TestNodeRestriction:
    @pytest.fixture
    def objects(self, objects):
        objects.put(kinds.NODES, {"metadata": {"name": "n1", "uid": "u1"}})
        bound = pod(nodeName="n1")
        bound["metadata"]["uid"] = "p1"
        objects.put(kinds.PODS, bound)
        elsewhere = named("q", "ns", spec={"nodeName": "n2"})
        objects.put(kinds.PODS, elsewhere)
        return objects

    def mirror(self, **more):
        owner = {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u1", "controller": True}
        metadata = {"annotations": {"kubernetes.io/config.mirror": "x"}, "ownerReferences": [owner]}
        obj = pod(nodeName="n1", **more)
        obj["metadata"] |= metadata
        return obj

    async def test_mirror_pods(self, admission):
        await admit(admission, kinds.PODS, self.mirror(), user=KUBELET)
        assert "can only create mirror pods" in await refused(admission, kinds.PODS, pod(nodeName="n1"), user=KUBELET)
        message = await refused(
            admission, kinds.PODS, self.mirror(volumes=[{"name": "v", "configMap": {"name": "x"}}]), user=KUBELET
        )
        assert message.endswith('node "n1" can not create pods that reference configmaps')
        orphan = self.mirror()
        orphan["metadata"]["ownerReferences"][0]["uid"] = "other"
        assert "node n1 UID mismatch" in await refused(admission, kinds.PODS, orphan, user=KUBELET)

    async def test_other_pods_are_out_of_reach(self, admission):
        await admit(admission, kinds.PODS, operation="DELETE", name="p", user=KUBELET)
        assert "can only delete pods with spec.nodeName set to itself" in await refused(
            admission, kinds.PODS, operation="DELETE", name="q", user=KUBELET
        )
        old = named("q", "ns", spec={"nodeName": "n2"})
        assert "can only update pod status" in await refused(
            admission, kinds.PODS, old, old=old, operation="UPDATE", subresource="status", user=KUBELET
        )
        assert "can only evict" in await refused(
            admission, kinds.PODS, named("q"), name="q", subresource="eviction", user=KUBELET
        )

    @pytest.mark.parametrize(
        ("label", "allowed"),
        [
            ("kubernetes.io/hostname", True),
            ("kubelet.kubernetes.io/x", True),
            ("own/x", True),
            ("plain", True),
            ("node-role.kubernetes.io/master", False),
            ("node-restriction.kubernetes.io/x", False),
            ("a.node-restriction.kubernetes.io/x", False),
        ],
    )
    async def test_labels(self, admission, label, allowed):
        node = named("n1")
        node["metadata"]["labels"] = {label: "1"}
        if allowed:
            await admit(admission, kinds.NODES, node, user=KUBELET)
        else:
            assert f"is not allowed to set the following labels: {label}" in await refused(
                admission, kinds.NODES, node, user=KUBELET
            )

    async def test_other_nodes_and_taints(self, admission):
        assert "is not allowed to modify node" in await refused(admission, kinds.NODES, named("n2"), user=KUBELET)
        old, new = named("n1", spec={"taints": [{"key": "a"}]}), named("n1", spec={})
        assert "is not allowed to modify taints" in await refused(
            admission, kinds.NODES, new, old=old, operation="UPDATE", user=KUBELET
        )

    async def test_leases(self, admission, objects):
        objects.put(kinds.NAMESPACES, named("kube-node-lease"))
        lease = named("n2", "kube-node-lease")
        assert "same name as the requesting node" in await refused(
            admission, kinds.LEASES, lease, namespace="kube-node-lease", user=KUBELET
        )

    async def test_tokens(self, admission, objects):
        reference = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p1"}
        request = named("default", spec={"audiences": ["vault"], "boundObjectRef": reference})
        arguments = (admission, kinds.SERVICE_ACCOUNTS, request)
        options = {"name": "default", "subresource": "token", "user": KUBELET}
        assert 'audience "vault" not found in pod spec volume' in await refused(*arguments, **options)
        token = {"serviceAccountToken": {"audience": "vault", "path": "t"}}
        bound = pod(nodeName="n1", volumes=[{"name": "v", "projected": {"sources": [token]}}])
        bound["metadata"]["uid"] = "p1"
        objects.put(kinds.PODS, bound)
        await admit(*arguments, **options)
        del request["spec"]["boundObjectRef"]
        assert "not bound to a pod" in await refused(*arguments, **options)
