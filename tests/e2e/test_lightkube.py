"""The client `lightkube`: blocking and asynchronous, apply, watches, generic resources, logs of errors as it shows them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, until

lightkube = pytest.importorskip("lightkube", reason="the Python client `lightkube` is not installed")
from lightkube import ApiError, AsyncClient, Client, KubeConfig, codecs  # noqa: E402
from lightkube.generic_resource import create_namespaced_resource  # noqa: E402
from lightkube.models.meta_v1 import ObjectMeta  # noqa: E402
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition  # noqa: E402
from lightkube.resources.apps_v1 import Deployment  # noqa: E402
from lightkube.resources.core_v1 import ConfigMap, Pod  # noqa: E402
from lightkube.types import CascadeType, PatchType  # noqa: E402

pytestmark = pytest.mark.xdist_group("e2e-simulated")

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "web:1"}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {app: web}}
data: {colour: green}
"""
LAMPS = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: lamps.lightkube.example.com}
spec:
  group: lightkube.example.com
  names: {kind: Lamp, plural: lamps}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {watts: {type: integer}}}
          status: {type: object, properties: {lit: {type: boolean}}}
"""


@pytest.fixture
def configuration(simulated: Cluster) -> Any:
    return KubeConfig.from_file(str(simulated.kubeconfig))


@pytest.fixture
def client(configuration: Any, namespace: str) -> Iterator[Any]:
    found = Client(config=configuration, namespace=namespace, field_manager="lightkube")
    yield found
    found.close()


def test_objects_are_applied_waited_for_and_deleted(client: Any) -> None:
    for obj in codecs.load_all_yaml(WEB):
        client.apply(obj)
    available = client.wait(Deployment, "web", for_conditions=["Available"], raise_for_conditions=["ReplicaFailure"])
    assert available.status.readyReplicas == 2
    scale = client.get(Deployment.Scale, "web")
    scale.spec.replicas = 3
    client.replace(scale, name="web")
    until(lambda: client.get(Deployment, "web").status.readyReplicas == 3, "three are ready")
    with Client(config=client.config, namespace=client.namespace, field_manager="other") as other:
        changed = ConfigMap(metadata=ObjectMeta(name="settings"), data={"colour": "blue"})
        with pytest.raises(ApiError) as conflict:
            other.apply(changed)
        assert conflict.value.status.code == 409
        assert conflict.value.status.details.causes[0].field == ".data.colour"
        assert other.apply(changed, force=True).data == {"colour": "blue"}
    patched = client.patch(ConfigMap, "settings", {"data": {"colour": "red"}}, patch_type=PatchType.MERGE)
    assert patched.data == {"colour": "red"}
    assert [each.metadata.name for each in client.list(ConfigMap, labels={"app": "web"})] == ["settings"]
    assert len(list(client.list(Pod, labels={"app": ("web", "other")}, fields={"status.phase": "Running"}))) == 3
    client.delete(Deployment, "web", cascade=CascadeType.FOREGROUND)
    client.deletecollection(ConfigMap)
    until(lambda: not list(client.list(Pod)) and not list(client.list(Deployment)), "they are gone")


async def test_the_asynchronous_client_lists_in_parts_and_watches(configuration: Any, namespace: str) -> None:
    client = AsyncClient(config=configuration, namespace=namespace)
    names = [f"part-{number}" for number in range(7)]
    for name in names:
        await client.create(ConfigMap(metadata=ObjectMeta(name=name, labels={"part": "yes"})))
    listed = client.list(ConfigMap, labels={"part": "yes"}, chunk_size=3)
    assert [each.metadata.name async for each in listed] == names
    version = listed.resourceVersion

    async def changes() -> list[tuple[str, str]]:
        seen: list[tuple[str, str]] = []
        async for kind, obj in client.watch(ConfigMap, labels={"part": "yes"}, resource_version=version):
            seen.append((kind, obj.metadata.name))
            if kind == "DELETED":
                return seen
        return seen

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        watcher = tasks.create_task(changes())
        await client.patch(ConfigMap, "part-1", {"data": {"a": "b"}})
        await client.delete(ConfigMap, "part-2")
    assert watcher.result() == [("MODIFIED", "part-1"), ("DELETED", "part-2")]
    await client.close()


def test_custom_resources_and_their_status(client: Any) -> None:
    (definition,) = codecs.load_all_yaml(LAMPS)
    client.create(definition)
    try:
        client.wait(CustomResourceDefinition, "lamps.lightkube.example.com", for_conditions=["Established"])
        Lamp = create_namespaced_resource("lightkube.example.com", "v1", "Lamp", "lamps")  # noqa: N806
        client.create(Lamp(metadata={"name": "desk"}, spec={"watts": 5}, status={"lit": True}))
        assert client.get(Lamp, "desk").status is None
        client.patch(Lamp.Status, "desk", {"status": {"lit": True}, "spec": {"watts": 9}}, patch_type=PatchType.MERGE)
        lamp = client.get(Lamp, "desk")
        assert (lamp.spec["watts"], lamp.status["lit"]) == (5, True)
        with pytest.raises(ApiError) as refused:
            client.patch(Lamp, "desk", {"spec": {"watts": "many"}}, patch_type=PatchType.MERGE)
        assert refused.value.status.code == 422
    finally:
        client.delete(CustomResourceDefinition, "lamps.lightkube.example.com")
