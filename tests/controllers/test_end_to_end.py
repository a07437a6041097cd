"""Controllers against the real API server, in one process and in virtual time."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api import meta, status
from pilothouse.api.gvr import (
    CLUSTER_ROLES,
    CONFIG_MAPS,
    CORE_EVENTS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    NAMESPACES,
    NODES,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    SERVICE_ACCOUNTS,
    SERVICES,
)
from pilothouse.api.meta import Object
from pilothouse.client.client import Propagation
from pilothouse.controllers.runtime import Options
from tests.controllers.cluster import Cluster, running

TEMPLATE: Object = {
    "metadata": {"labels": {"app": "web"}},
    "spec": {"containers": [{"name": "c", "image": "web:1", "ports": [{"name": "http", "containerPort": 8080}]}]},
}


async def deploy(cluster: Cluster, replicas: int = 3, **spec: Any) -> Object:
    selector = {"matchLabels": {"app": "web"}}
    return await cluster.create(
        DEPLOYMENTS,
        "web",
        namespace="default",
        spec={"replicas": replicas, "selector": selector, "template": TEMPLATE, **spec},
    )


async def deployment_status(cluster: Cluster) -> Object:
    found: Object = (await cluster.client.get(DEPLOYMENTS, "default", "web")).get("status") or {}
    return found


async def test_a_deployment_comes_up_rolls_over_and_goes_with_all_it_owns() -> None:
    async with running() as cluster:
        await deploy(cluster)

        async def is_complete() -> bool:
            found = await deployment_status(cluster)
            condition = meta.condition_of(found.get("conditions"), "Progressing") or {}
            return condition.get("reason") == "NewReplicaSetAvailable" and found.get("availableReplicas") == 3

        await cluster.until(is_complete)
        pods = await cluster.list(PODS, "default")
        assert len(pods) == 3
        template = {"spec": {"containers": [{"name": "c", "image": "web:2"}]}}
        await cluster.client.patch(DEPLOYMENTS, "default", "web", {"spec": {"template": template}})

        async def is_rolled() -> bool:
            images = [pod["spec"]["containers"][0]["image"] for pod in await cluster.list(PODS, "default")]
            return images == ["web:2"] * 3

        await cluster.until(is_rolled)
        sizes = [one["spec"]["replicas"] for one in await cluster.list(REPLICA_SETS, "default")]
        assert sorted(sizes) == [0, 3]
        await cluster.until(is_complete)
        found = await cluster.client.get(DEPLOYMENTS, "default", "web")
        assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
        reasons = {event["reason"] for event in await cluster.list(CORE_EVENTS, "default")}
        assert {"ScalingReplicaSet", "SuccessfulCreate", "SuccessfulDelete"} <= reasons

        await cluster.client.delete(DEPLOYMENTS, "default", "web", propagation=Propagation.BACKGROUND)

        async def is_empty() -> bool:
            return not await cluster.list(REPLICA_SETS, "default") and not await cluster.list(PODS, "default")

        await cluster.until(is_empty)


async def test_a_deleted_pod_is_replaced_and_a_relabelled_one_let_go() -> None:
    async with running("replicaset-controller") as cluster:
        spec = {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": TEMPLATE}
        await cluster.create(REPLICA_SETS, "web", namespace="default", spec=spec)

        async def ready() -> bool:
            found = await cluster.client.get(REPLICA_SETS, "default", "web")
            return bool((found.get("status") or {}).get("availableReplicas") == 2)

        await cluster.until(ready)
        first, second = await cluster.names(PODS, "default")
        await cluster.client.delete(PODS, "default", first)
        await cluster.client.patch(PODS, "default", second, {"metadata": {"labels": {"app": "other"}}})

        async def has_new_ones() -> bool:
            owned = [pod for pod in await cluster.list(PODS, "default") if meta.controller_of(pod) is not None]
            return len(owned) == 2 and not {first, second} & {meta.name_of(pod) for pod in owned}

        await cluster.until(has_new_ones)
        released = await cluster.client.get(PODS, "default", second)
        assert meta.controller_of(released) is None


async def test_replication_controllers_adopt_what_matches() -> None:
    async with running("replicationcontroller-controller") as cluster:
        pod = {"metadata": {"labels": {"app": "web"}}, "spec": TEMPLATE["spec"]}
        await cluster.create(PODS, "orphan", namespace="default", **pod)
        spec = {"replicas": 2, "selector": {"app": "web"}, "template": TEMPLATE}
        await cluster.create(REPLICATION_CONTROLLERS, "web", namespace="default", spec=spec)

        async def adopted() -> bool:
            found = await cluster.client.get(PODS, "default", "orphan")
            return meta.controller_of(found) is not None

        await cluster.until(adopted)
        await cluster.settle()
        assert len(await cluster.list(PODS, "default")) == 2


async def test_services_get_endpoints_that_follow_their_pods() -> None:
    async with running("replicaset-controller", "endpointslice-controller", "endpoints-controller") as cluster:
        spec = {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": TEMPLATE}
        await cluster.create(REPLICA_SETS, "web", namespace="default", spec=spec)
        ports = [{"name": "http", "port": 80, "targetPort": "http"}]
        service = {"selector": {"app": "web"}, "ports": ports, "clusterIP": "10.96.0.7"}
        service |= {"clusterIPs": ["10.96.0.7"], "ipFamilies": ["IPv4"]}
        await cluster.create(SERVICES, "web", namespace="default", spec=service)

        async def addresses() -> list[str]:
            slices = await cluster.list(ENDPOINT_SLICES, "default")
            assert len(slices) <= 1
            return [
                endpoint["addresses"][0]
                for one in slices
                for endpoint in one.get("endpoints") or ()
                if endpoint["conditions"]["ready"]
            ]

        async def are_three() -> bool:
            return len(await addresses()) == 3

        # The pods have no node, which is as good as a node that is missing, unless they may be published regardless.
        await cluster.client.patch(SERVICES, "default", "web", {"spec": {"publishNotReadyAddresses": True}})
        await cluster.until(are_three)
        one = (await cluster.list(ENDPOINT_SLICES, "default"))[0]
        assert one["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
        assert one["metadata"]["labels"]["kubernetes.io/service-name"] == "web"

        async def has_subset() -> bool:
            try:
                found = await cluster.client.get(ENDPOINTS, "default", "web")
            except status.NotFound:
                return False
            subsets = found.get("subsets") or [{}]
            return [entry["ip"] for entry in subsets[0].get("addresses", ())] == sorted(await addresses())

        await cluster.until(has_subset)
        await cluster.client.patch(REPLICA_SETS, "default", "web", {"spec": {"replicas": 0}})

        async def are_none() -> bool:
            return not await addresses()

        await cluster.until(are_none)
        assert len(await cluster.list(ENDPOINT_SLICES, "default")) == 1, "an empty slice stays"


async def test_a_namespace_goes_with_its_content_but_not_before_finalizers_are_done() -> None:
    options = Options(root_ca="CA")
    names = (
        "namespace-controller",
        "serviceaccount-controller",
        "root-ca-certificate-publisher-controller",
        "deployment-controller",
        "replicaset-controller",
    )
    async with running(*names, options=options) as cluster:
        await cluster.create(NAMESPACES, "apps")

        async def is_furnished() -> bool:
            accounts, maps = await cluster.names(SERVICE_ACCOUNTS, "apps"), await cluster.names(CONFIG_MAPS, "apps")
            return accounts == ["default"] and maps == ["kube-root-ca.crt"]

        await cluster.until(is_furnished)
        held = {"finalizers": ["example.com/hold"]}
        await cluster.create(CONFIG_MAPS, "held", namespace="apps", metadata=held)
        await cluster.create(PODS, "p", namespace="apps", spec=TEMPLATE["spec"])
        await cluster.client.delete(NAMESPACES, "", "apps")

        async def is_waiting() -> bool:
            found = await cluster.client.get(NAMESPACES, "", "apps")
            condition = meta.condition_of(found["status"].get("conditions"), "NamespaceFinalizersRemaining") or {}
            return "example.com/hold in 1 resource instances" in condition.get("message", "")

        await cluster.until(is_waiting)
        assert await cluster.names(CONFIG_MAPS, "apps") == ["held"]
        await cluster.client.patch(CONFIG_MAPS, "apps", "held", {"metadata": {"finalizers": None}})

        async def is_gone() -> bool:
            return "apps" not in await cluster.names(NAMESPACES)

        await cluster.until(is_gone)


@pytest.mark.parametrize("policy", [Propagation.FOREGROUND, Propagation.ORPHAN])
async def test_owners_go_after_or_without_their_dependents(policy: Propagation) -> None:
    async with running("garbage-collector-controller") as cluster:
        owner = await cluster.create(CONFIG_MAPS, "owner", namespace="default")
        references = [meta.controller_reference(owner, CONFIG_MAPS)]
        held = {"ownerReferences": references, "finalizers": ["example.com/hold"]}
        await cluster.create(CONFIG_MAPS, "dependent", namespace="default", metadata=held)
        await cluster.clock.advance(5)
        await cluster.client.delete(CONFIG_MAPS, "default", "owner", propagation=policy)
        if policy is Propagation.ORPHAN:

            async def is_orphan() -> bool:
                found = await cluster.client.get(CONFIG_MAPS, "default", "dependent")
                return not meta.owners_of(found) and await cluster.names(CONFIG_MAPS, "default") == ["dependent"]

            await cluster.until(is_orphan)
            return

        async def is_deleting() -> bool:
            return meta.is_deleting(await cluster.client.get(CONFIG_MAPS, "default", "dependent"))

        await cluster.until(is_deleting)
        assert await cluster.names(CONFIG_MAPS, "default") == ["dependent", "owner"]
        await cluster.client.patch(CONFIG_MAPS, "default", "dependent", {"metadata": {"finalizers": None}})

        async def is_gone() -> bool:
            return not await cluster.names(CONFIG_MAPS, "default")

        await cluster.until(is_gone)


async def test_what_names_an_owner_that_never_was_is_collected() -> None:
    async with running("garbage-collector-controller") as cluster:
        reference = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": "no",
            "uid": "00000000-0000-0000-0000-000000000000",
        }
        await cluster.create(CONFIG_MAPS, "lost", namespace="default", metadata={"ownerReferences": [reference]})

        async def is_gone() -> bool:
            return not await cluster.names(CONFIG_MAPS, "default")

        await cluster.until(is_gone)


async def test_a_silent_node_is_tainted_and_its_pods_evicted() -> None:
    names = ("node-lifecycle-controller", "taint-eviction-controller", "node-ipam-controller")
    async with running(*names) as cluster:
        await cluster.create(NODES, "n2")
        for name in ("n1", "n2"):
            ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": meta.format_time(cluster.clock.now())}
            await cluster.client.patch(NODES, "", name, {"status": {"conditions": [ready]}}, subresource="status")
        tolerations = [
            {
                "key": "node.kubernetes.io/unreachable",
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": 300,
            }
        ]
        spec = {**TEMPLATE["spec"], "nodeName": "n2", "tolerations": tolerations}
        await cluster.create(PODS, "p", namespace="default", spec=spec)
        await cluster.settle()
        assert (await cluster.client.get(NODES, "", "n2"))["spec"]["podCIDR"] == "10.244.1.0/24"

        async def beat() -> None:
            ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": meta.format_time(cluster.clock.now())}
            await cluster.client.patch(NODES, "", "n1", {"status": {"conditions": [ready]}}, subresource="status")

        for _ in range(7):
            await cluster.clock.advance(10)
            await beat()
        node = await cluster.client.get(NODES, "", "n2")
        taints = {(taint["key"], taint["effect"]) for taint in node["spec"]["taints"]}
        assert taints == {
            ("node.kubernetes.io/unreachable", "NoSchedule"),
            ("node.kubernetes.io/unreachable", "NoExecute"),
        }
        condition = meta.condition_of(node["status"]["conditions"], "Ready")
        assert condition is not None
        assert condition["reason"] == "NodeStatusUnknown"
        assert await cluster.names(PODS, "default") == ["p"]
        for _ in range(31):
            await cluster.clock.advance(10)
            await beat()
        await cluster.settle()
        assert await cluster.names(PODS, "default") == []
        assert "taints" not in (await cluster.client.get(NODES, "", "n1"))["spec"]


async def test_aggregated_cluster_roles_take_up_new_rules() -> None:
    async with running("clusterrole-aggregation-controller") as cluster:
        selectors = [{"matchLabels": {"to": "all"}}]
        await cluster.create(CLUSTER_ROLES, "all", aggregationRule={"clusterRoleSelectors": selectors}, rules=[])
        rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
        await cluster.create(CLUSTER_ROLES, "part", metadata={"labels": {"to": "all"}}, rules=[rule])

        async def has_it() -> bool:
            return bool((await cluster.client.get(CLUSTER_ROLES, "", "all")).get("rules") == [rule])

        await cluster.until(has_it)


async def test_endpoints_that_a_user_writes_are_mirrored() -> None:
    async with running("endpointslice-mirroring-controller", "endpoints-controller") as cluster:
        await cluster.create(SERVICES, "db", namespace="default", spec={"ports": [{"port": 5432}]})
        subset = {"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 5432, "protocol": "TCP"}]}
        await cluster.create(ENDPOINTS, "db", namespace="default", subsets=[subset])

        async def addresses() -> list[str]:
            return [
                endpoint["addresses"][0]
                for one in await cluster.list(ENDPOINT_SLICES, "default")
                for endpoint in one["endpoints"]
            ]

        async def is_mirrored() -> bool:
            return await addresses() == ["192.0.2.1"]

        await cluster.until(is_mirrored)
        subsets = [{**subset, "addresses": [{"ip": "192.0.2.2"}]}]
        await cluster.client.patch(ENDPOINTS, "default", "db", {"subsets": subsets})

        async def has_followed() -> bool:
            return await addresses() == ["192.0.2.2"]

        await cluster.until(has_followed)
        await cluster.client.delete(ENDPOINTS, "default", "db")

        async def is_gone() -> bool:
            return not await cluster.list(ENDPOINT_SLICES, "default")

        await cluster.until(is_gone)
