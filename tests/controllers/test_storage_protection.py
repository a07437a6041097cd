from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from pilothouse.api.gvr import GVR, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, VOLUME_ATTRIBUTES_CLASSES
from pilothouse.controllers.storage_protection import ClaimProtection, VolumeAttributesClassProtection, VolumeProtection
from tests.controllers.cluster import Cluster, running

CLAIM = {
    "accessModes": ["ReadWriteOnce"],
    "resources": {"requests": {"storage": "1Gi"}},
}
VOLUME = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/tmp/x"}}


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with running(ClaimProtection.name, VolumeProtection.name, VolumeAttributesClassProtection.name) as made:
        made.kubelet_runs = False
        yield made


async def make(cluster: Cluster, gvr: GVR, name: str, finalizer: str, **fields: Any) -> None:
    namespace = "default" if gvr.namespaced else ""
    await cluster.create(gvr, name, namespace=namespace, metadata={"finalizers": [finalizer]}, **fields)


async def gone(cluster: Cluster, gvr: GVR) -> bool:
    return not await cluster.names(gvr)


async def test_a_claim_goes_when_the_last_pod_on_a_node_is_gone(cluster: Cluster) -> None:
    await make(cluster, PERSISTENT_VOLUME_CLAIMS, "data", ClaimProtection.finalizer, spec=CLAIM)
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    spec = {"containers": [{"name": "main", "image": "web:1"}], "volumes": volumes, "nodeName": "n1"}
    await cluster.create(PODS, "user", namespace="default", spec=spec)
    await cluster.client.delete(PERSISTENT_VOLUME_CLAIMS, "default", "data")
    await cluster.settle()
    assert not await gone(cluster, PERSISTENT_VOLUME_CLAIMS)
    await cluster.client.delete(PODS, "default", "user", grace_period_s=0)
    await cluster.until(lambda: gone(cluster, PERSISTENT_VOLUME_CLAIMS))


async def test_a_claim_that_nobody_uses_goes_at_once(cluster: Cluster) -> None:
    await make(cluster, PERSISTENT_VOLUME_CLAIMS, "data", ClaimProtection.finalizer, spec=CLAIM)
    await cluster.client.delete(PERSISTENT_VOLUME_CLAIMS, "default", "data")
    await cluster.until(lambda: gone(cluster, PERSISTENT_VOLUME_CLAIMS))


async def test_a_bound_volume_stays(cluster: Cluster) -> None:
    await make(cluster, PERSISTENT_VOLUMES, "v", VolumeProtection.finalizer, spec=VOLUME)
    bound = {"status": {"phase": "Bound"}}
    await cluster.client.patch(PERSISTENT_VOLUMES, "", "v", bound, subresource="status")
    await cluster.client.delete(PERSISTENT_VOLUMES, "", "v")
    await cluster.settle()
    assert not await gone(cluster, PERSISTENT_VOLUMES)
    await cluster.client.patch(PERSISTENT_VOLUMES, "", "v", {"status": {"phase": "Released"}}, subresource="status")
    await cluster.until(lambda: gone(cluster, PERSISTENT_VOLUMES))


async def test_a_class_goes_when_no_claim_names_it(cluster: Cluster) -> None:
    await make(
        cluster,
        VOLUME_ATTRIBUTES_CLASSES,
        "fast",
        VolumeAttributesClassProtection.finalizer,
        driverName="d",
        parameters={"a": "b"},
    )
    spec = {**CLAIM, "volumeAttributesClassName": "fast"}
    await cluster.create(PERSISTENT_VOLUME_CLAIMS, "data", namespace="default", spec=spec)
    await cluster.client.delete(VOLUME_ATTRIBUTES_CLASSES, "", "fast")
    await cluster.settle()
    assert not await gone(cluster, VOLUME_ATTRIBUTES_CLASSES)
    await cluster.client.delete(PERSISTENT_VOLUME_CLAIMS, "default", "data")
    await cluster.until(lambda: gone(cluster, VOLUME_ATTRIBUTES_CLASSES))
