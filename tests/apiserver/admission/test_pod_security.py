import pytest

from pilothouse.api import gvr as kinds
from pilothouse.api.resource import Resource
from pilothouse.api.status import Forbidden, Invalid
from pilothouse.api.user import User
from pilothouse.apiserver.admission.pod_security.checks import CHECKS, checks_of, evaluate
from pilothouse.apiserver.admission.pod_security.plugin import Configuration, PodSecurity
from pilothouse.apiserver.admission.pod_security.policy import Level, Policy, Standard, policy_of
from pilothouse.apiserver.admission.topology_labels import PodTopologyLabels
from pilothouse.apiserver.attributes import Attributes
from pilothouse.apiserver.objects import MemoryObjects
from pilothouse.kit.clock import VirtualClock

RESTRICTED, BASELINE = Standard(Level.RESTRICTED), Standard(Level.BASELINE)
PREFIX = "pod-security.kubernetes.io/"
SAFE = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def container(name="c", **security):
    return {"name": name, "image": "x", **({"securityContext": security} if security else {})}


def spec(*containers, **more):
    return {"containers": list(containers or [container()]), **more}


def found(standard, pod_spec, **annotations):
    return [str(each) for each in evaluate(standard, pod_spec, annotations)]


class TestChecks:
    def test_a_plain_pod_is_not_restricted(self):
        assert found(RESTRICTED, spec()) == [
            'allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false)',
            'unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"])',
            'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true)',
            'seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")',
        ]
        assert not found(RESTRICTED, spec(container(**SAFE)))
        assert not found(BASELINE, spec())

    def test_before_the_checks_were_there(self):
        assert found(Standard(Level.RESTRICTED, 0), spec()) == [
            'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true)'
        ]
        windows = spec(container(runAsNonRoot=True), os={"name": "windows"})
        assert not found(RESTRICTED, windows)
        assert len(found(Standard(Level.RESTRICTED, 24), windows)) == 3
        assert found(Standard(Level.RESTRICTED, 99), spec()) == found(RESTRICTED, spec())

    @pytest.mark.parametrize(
        ("pod", "message"),
        [
            (spec(hostNetwork=True, hostPID=True), "host namespaces (hostNetwork=true, hostPID=true)"),
            (
                spec(container("a", privileged=True), container("b", privileged=True)),
                'privileged (containers "a", "b" must not set securityContext.privileged=true)',
            ),
            (spec(volumes=[{"name": "v", "hostPath": {"path": "/"}}]), 'hostPath volumes (volume "v")'),
            (
                spec({"name": "c", "ports": [{"containerPort": 1, "hostPort": 80}, {"hostPort": 443}]}),
                'hostPort (container "c" uses hostPorts 443, 80)',
            ),
            (
                spec(container(capabilities={"add": ["NET_ADMIN", "CHOWN"]})),
                'non-default capabilities (container "c" must not include "NET_ADMIN" in securityContext.capabilities.add)',
            ),
            (
                spec(securityContext={"sysctls": [{"name": "kernel.x", "value": "1"}]}),
                "forbidden sysctls (kernel.x)",
            ),
            (
                spec(container(procMount="Unmasked")),
                'procMount (container "c" must not set securityContext.procMount to "Unmasked")',
            ),
            (
                spec(
                    container(seLinuxOptions={"type": "x", "user": "u"}),
                    securityContext={"seLinuxOptions": {"role": "r"}},
                ),
                'seLinuxOptions (pod and container "c" set forbidden securityContext.seLinuxOptions: type "x"; user may not be '
                "set; role may not be set)",
            ),
            (
                spec(container(seccompProfile={"type": "Unconfined"})),
                'seccompProfile (container "c" must not set securityContext.seccompProfile.type to "Unconfined")',
            ),
            (
                spec(securityContext={"windowsOptions": {"hostProcess": True}}),
                "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
            ),
            (
                spec({"name": "c", "livenessProbe": {"httpGet": {"host": "1.2.3.4"}}}),
                'probe or lifecycle host (container "c" uses probe or lifecycle host "1.2.3.4")',
            ),
            (
                spec(container(appArmorProfile={"type": "Unconfined"})),
                'forbidden AppArmor profile (container "c" must not set AppArmor profile type to "Unconfined")',
            ),
        ],
    )
    def test_baseline(self, pod, message):
        assert found(BASELINE, pod) == [message]

    @pytest.mark.parametrize(
        ("pod", "message"),
        [
            (
                spec(container(**SAFE), volumes=[{"name": "v", "nfs": {}}, {"name": "w", "configMap": {}}]),
                'restricted volume types (volume "v" uses restricted volume type "nfs")',
            ),
            (
                spec(container(**SAFE, runAsUser=0)),
                'runAsUser=0 (container "c" must not set runAsUser=0)',
            ),
            (
                spec(container(**{**SAFE, "capabilities": {"drop": ["ALL"], "add": ["CHOWN", "NET_BIND_SERVICE"]}})),
                'unrestricted capabilities (container "c" must not include "CHOWN" in securityContext.capabilities.add)',
            ),
        ],
    )
    def test_restricted(self, pod, message):
        assert found(RESTRICTED, pod) == [message]

    def test_user_namespaces_relax(self):
        free = {key: value for key, value in SAFE.items() if key != "runAsNonRoot"}
        assert not found(RESTRICTED, spec(container(**free), hostUsers=False))
        assert found(Standard(Level.RESTRICTED, 34), spec(container(**free), hostUsers=False))

    def test_every_check_that_is_replaced_exists(self):
        ids = {check.id for check in CHECKS}
        assert all(not check.replaces or check.replaces in ids for check in CHECKS)
        assert not checks_of(Standard(Level.PRIVILEGED))


class TestLabels:
    def test_warnings_follow_what_is_enforced(self):
        policy, errors = policy_of({f"{PREFIX}enforce": "baseline", f"{PREFIX}enforce-version": "v1.20"}, Policy())
        assert not errors
        assert str(policy.enforce) == str(policy.warn) == "baseline:v1.20"
        assert str(policy.audit) == "privileged:latest"

    def test_wrong_labels(self):
        policy, errors = policy_of(
            {f"{PREFIX}enforce": "x", f"{PREFIX}warn": "y", f"{PREFIX}audit-version": "1.2"}, Policy()
        )
        assert policy.enforce == RESTRICTED
        assert policy.warn.level is Level.PRIVILEGED
        assert len(errors) == 3


def namespace(**labels):
    return {
        "metadata": {
            "name": "ns",
            "labels": {f"{PREFIX}{key.replace('_', '-')}": value for key, value in labels.items()},
        }
    }


def write(gvr, obj, old=None, user="alice", subresource=""):
    name = obj["metadata"].get("name", "")
    return Attributes("UPDATE" if old else "CREATE", Resource(gvr), gvr, "ns", name, User(user), obj, old, subresource)


def pod(*containers, name="p", **more):
    return {"metadata": {"name": name, "namespace": "ns"}, "spec": spec(*containers, **more)}


class TestPlugin:
    @pytest.fixture
    def objects(self):
        return MemoryObjects([(kinds.NAMESPACES, namespace(enforce="baseline", warn="restricted", audit="restricted"))])

    @pytest.fixture
    def plugin(self, objects):
        return PodSecurity(objects, VirtualClock())

    async def test_a_pod_is_refused(self, plugin):
        with pytest.raises(Forbidden) as caught:
            await plugin.validate(write(kinds.PODS, pod(container(privileged=True))))
        assert caught.value.message == (
            'pods "p" is forbidden: violates PodSecurity "baseline:latest": privileged (container "c" must not set '
            "securityContext.privileged=true)"
        )

    async def test_a_pod_is_warned_of(self, plugin):
        attributes = write(kinds.PODS, pod())
        await plugin.validate(attributes)
        assert attributes.warnings[0].startswith(
            'would violate PodSecurity "restricted:latest": allowPrivilegeEscalation'
        )
        assert attributes.annotations[f"{PREFIX}enforce-policy"] == "baseline:latest"
        assert f"{PREFIX}audit-violations" in attributes.annotations

    async def test_a_workload_is_only_warned_of(self, plugin):
        deployment = {"metadata": {"name": "d"}, "spec": {"template": {"spec": spec(hostPID=True)}}}
        attributes = write(kinds.DEPLOYMENTS, deployment)
        await plugin.validate(attributes)
        assert "host namespaces (hostPID=true)" in attributes.warnings[0]

    async def test_updates_that_change_no_image_pass(self, plugin):
        bad = pod(container(privileged=True))
        await plugin.validate(write(kinds.PODS, bad, old=bad))
        assert "status" not in plugin.subresources
        with pytest.raises(Forbidden):
            await plugin.validate(write(kinds.PODS, bad, old=pod({**container(), "image": "old"})))

    async def test_exemptions(self, objects):
        configuration = Configuration(exempt_users=frozenset({"bob"}), exempt_runtime_classes=frozenset({"kata"}))
        plugin = PodSecurity(objects, VirtualClock(), configuration)
        await plugin.validate(write(kinds.PODS, pod(hostPID=True), user="bob"))
        await plugin.validate(write(kinds.PODS, pod(hostPID=True, runtimeClassName="kata")))
        with pytest.raises(Forbidden):
            await plugin.validate(write(kinds.PODS, pod(hostPID=True)))

    async def test_namespaces(self, plugin, objects):
        with pytest.raises(Invalid) as caught:
            await plugin.validate(write(kinds.NAMESPACES, namespace(enforce="bad")))
        assert caught.value.message == (
            'Namespace "ns" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "bad": must be one of '
            "privileged, baseline, restricted"
        )
        await plugin.validate(write(kinds.NAMESPACES, namespace(enforce="bad"), old=namespace(enforce="bad")))
        for name in ("b", "a", "c"):
            objects.put(kinds.PODS, pod(name=name))
        objects.put(kinds.PODS, pod(container(**SAFE), name="safe"))
        attributes = write(kinds.NAMESPACES, namespace(enforce="restricted"), old=namespace())
        await plugin.validate(attributes)
        assert attributes.warnings == [
            'existing pods in namespace "ns" violate the new PodSecurity enforce level "restricted:latest"',
            "a (and 2 other pods): allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile",
        ]


async def test_topology_labels():
    node = {"metadata": {"name": "n", "labels": {"topology.kubernetes.io/zone": "z", "other": "x"}}}
    plugin = PodTopologyLabels(MemoryObjects([(kinds.NODES, node)]))
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}
    await plugin.mutate(write(kinds.PODS, binding, subresource="binding"))
    assert binding["metadata"]["labels"] == {"topology.kubernetes.io/zone": "z"}
    bound = pod(nodeName="n")
    await plugin.mutate(write(kinds.PODS, bound))
    assert bound["metadata"]["labels"] == {"topology.kubernetes.io/zone": "z"}
