"""What a cluster starts with, and that starting again changes nothing."""

from __future__ import annotations

import ipaddress

from pilothouse.api import gvr
from pilothouse.apiserver.bootstrap import Bootstrap, Surroundings
from tests.apiserver.harness import Harness


def bootstrap(server: Harness, address: str = "192.0.2.1") -> Bootstrap:
    surroundings = Surroundings(address, 6443, [ipaddress.ip_network("10.96.0.0/24")])
    return Bootstrap(lambda kind: server.app.endpoint(kind).registry(), surroundings, server.clock)


async def test_a_new_cluster() -> None:
    server = Harness()
    await bootstrap(server).run()
    namespaces = await server.client.list(gvr.NAMESPACES)
    names = [each["metadata"]["name"] for each in namespaces.items]
    assert names == ["default", "kube-node-lease", "kube-public", "kube-system"]
    service = await server.client.get(gvr.SERVICES, "default", "kubernetes")
    assert service["spec"]["clusterIP"] == "10.96.0.1"
    endpoints = await server.client.get(gvr.ENDPOINTS, "default", "kubernetes")
    assert endpoints["subsets"][0]["addresses"] == [{"ip": "192.0.2.1"}]
    slice_ = await server.client.get(gvr.ENDPOINT_SLICES, "default", "kubernetes")
    assert slice_["endpoints"][0]["addresses"] == ["192.0.2.1"]
    assert [each["metadata"]["name"] for each in (await server.client.list(gvr.IP_ADDRESSES)).items] == ["10.96.0.1"]
    assert len((await server.client.list(gvr.FLOW_SCHEMAS)).items) == 11
    assert len((await server.client.list(gvr.PRIORITY_LEVEL_CONFIGURATIONS)).items) == 8
    critical = await server.client.get(gvr.PRIORITY_CLASSES, "", "system-node-critical")
    assert critical["value"] == 2_000_001_000
    assert (await server.client.get(gvr.SERVICE_CIDRS, "", "kubernetes"))["spec"]["cidrs"] == ["10.96.0.0/24"]
    assert await server.client.get(gvr.CLUSTER_ROLES, "", "cluster-admin")


async def test_a_second_start_writes_nothing() -> None:
    server = Harness()
    await bootstrap(server).run()
    revision = await server.store.revision()
    await bootstrap(server).run()
    assert await server.store.revision() == revision


async def test_the_endpoints_follow_the_server() -> None:
    server = Harness()
    await bootstrap(server).run()
    await bootstrap(server, "192.0.2.9").run()
    endpoints = await server.client.get(gvr.ENDPOINTS, "default", "kubernetes")
    assert endpoints["subsets"][0]["addresses"] == [{"ip": "192.0.2.9"}]


async def test_a_server_on_loopback_has_no_endpoints() -> None:
    server = Harness()
    await bootstrap(server, "127.0.0.1").run()
    assert not (await server.client.list(gvr.ENDPOINTS)).items


async def test_the_server_owns_what_it_makes() -> None:
    server = Harness()
    await bootstrap(server).run()
    namespace = await server.json("GET", "/api/v1/namespaces/kube-system")
    (entry,) = namespace["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"]) == ("kube-apiserver", "Update")
    assert entry["fieldsV1"] == {"f:metadata": {"f:labels": {".": {}, "f:kubernetes.io/metadata.name": {}}}}
