"""The official Python client `kubernetes`: typed objects, watches, patches, the dynamic client, election of a leader."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, until

kubernetes = pytest.importorskip("kubernetes", reason="the Python client `kubernetes` is not installed")
from kubernetes import client, config, dynamic, watch  # noqa: E402
from kubernetes.client.rest import ApiException  # noqa: E402
from kubernetes.leaderelection import electionconfig, leaderelection  # noqa: E402
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock  # noqa: E402

pytestmark = pytest.mark.xdist_group("e2e-simulated")


@pytest.fixture(scope="module")
def api(simulated: Cluster) -> Iterator[Any]:
    found = config.new_client_from_config(str(simulated.kubeconfig))
    with found:
        yield found


def deployment(name: str, image: str = "web:1") -> Any:
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels={"app": name}),
        spec=client.V1PodSpec(containers=[client.V1Container(name="web", image=image)]),
    )
    return client.V1Deployment(
        metadata=client.V1ObjectMeta(name=name),
        spec=client.V1DeploymentSpec(
            replicas=2, selector=client.V1LabelSelector(match_labels={"app": name}), template=template
        ),
    )


def test_typed_objects_from_creation_to_deletion(api: Any, namespace: str) -> None:
    apps, core = client.AppsV1Api(api), client.CoreV1Api(api)
    made = apps.create_namespaced_deployment(namespace, deployment("web"))
    assert made.spec.strategy.rolling_update.max_surge == "25%"
    until(lambda: apps.read_namespaced_deployment_status("web", namespace).status.ready_replicas == 2, "two are ready")
    with pytest.raises(ApiException) as refused:
        apps.create_namespaced_deployment(namespace, deployment("web"))
    assert (refused.value.status, "AlreadyExists" in refused.value.body) == (409, True)
    old = apps.read_namespaced_deployment("web", namespace)
    apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 3}})
    old.spec.replicas = 5
    with pytest.raises(ApiException) as stale:
        apps.replace_namespaced_deployment("web", namespace, old)
    assert stale.value.status == 409
    pods = core.list_namespaced_pod(namespace, label_selector="app=web", field_selector="status.phase=Running")
    assert all(pod.status.conditions and pod.metadata.owner_references for pod in pods.items)
    until(lambda: len(core.list_namespaced_pod(namespace, label_selector="app=web").items) == 3, "the third pod")
    apps.delete_namespaced_deployment("web", namespace, propagation_policy="Foreground")
    until(lambda: not core.list_namespaced_pod(namespace).items, "the pods go")
    until(lambda: is_gone(lambda: apps.read_namespaced_deployment("web", namespace)), "the deployment goes after them")


def is_gone(read: Callable[[], Any]) -> bool:
    try:
        read()
    except ApiException as error:
        return bool(error.status == 404)
    return False


def test_every_type_of_patch(api: Any, namespace: str) -> None:
    apps = client.AppsV1Api(api)
    apps.create_namespaced_deployment(namespace, deployment("web"))
    sidecar = {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "side"}]}}}}

    def patched(body: Any, content_type: str, **options: Any) -> Any:
        return apps.patch_namespaced_deployment("web", namespace, body, _content_type=content_type, **options)

    strategic = patched(sidecar, "application/strategic-merge-patch+json")
    assert [each.name for each in strategic.spec.template.spec.containers] == ["side", "web"]
    merged = patched({"metadata": {"annotations": {"a": "b"}}}, "application/merge-patch+json")
    assert merged.metadata.annotations["a"] == "b"
    by_json = patched([{"op": "replace", "path": "/spec/replicas", "value": 1}], "application/json-patch+json")
    assert by_json.spec.replicas == 1
    config_ = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 4}}
    with pytest.raises(ApiException) as conflict:
        patched(config_, "application/apply-patch+yaml", field_manager="me")
    assert ("conflict" in conflict.value.body, conflict.value.status) == (True, 409)
    applied = patched(config_, "application/apply-patch+yaml", field_manager="me", force=True)
    assert applied.spec.replicas == 4
    assert ("me", "Apply") in {(each.manager, each.operation) for each in applied.metadata.managed_fields}


def test_a_watch_follows_from_a_list_and_ends_by_itself(api: Any, namespace: str) -> None:
    core = client.CoreV1Api(api)
    listed = core.list_namespaced_config_map(namespace)

    def change() -> None:
        metadata = client.V1ObjectMeta(name="seen", labels={"watched": "yes"})
        core.create_namespaced_config_map(namespace, client.V1ConfigMap(metadata=metadata))
        core.patch_namespaced_config_map("seen", namespace, {"data": {"a": "b"}})
        core.delete_namespaced_config_map("seen", namespace)

    changer = threading.Thread(target=change)
    changer.start()
    events = watch.Watch().stream(
        core.list_namespaced_config_map,
        namespace,
        label_selector="watched=yes",
        resource_version=listed.metadata.resource_version,
        timeout_seconds=2,
    )
    seen = [(event["type"], event["object"].data) for event in events]
    changer.join()
    assert seen == [("ADDED", None), ("MODIFIED", {"a": "b"}), ("DELETED", {"a": "b"})]


def test_the_dynamic_client_learns_a_new_kind(api: Any, simulated: Cluster, namespace: str) -> None:
    """It reads discovery, caches it, and asks again for what it does not know."""
    found = dynamic.DynamicClient(api, cache_file=str(simulated.directory / f"discovery-{namespace}.json"))
    pods = found.resources.get(api_version="v1", kind="Pod")
    assert pods.namespaced
    definitions = found.resources.get(api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition")
    definitions.create(body=definition("Lamp", "lamps"))
    try:
        until(lambda: is_established(definitions, "lamps.dynamic.example.com"), "the definition is established")
        lamps = found.resources.get(api_version="dynamic.example.com/v1", kind="Lamp")
        body = {
            "apiVersion": "dynamic.example.com/v1",
            "kind": "Lamp",
            "metadata": {"name": "desk"},
            "spec": {"watts": 5},
        }
        applied = lamps.server_side_apply(body=body, namespace=namespace, field_manager="me")
        assert applied.spec.watts == 5
        lamps.patch(
            body={"spec": {"watts": 7}}, name="desk", namespace=namespace, content_type="application/merge-patch+json"
        )
        with pytest.raises(dynamic.exceptions.UnprocessibleEntityError, match=r"spec\.watts"):
            lamps.patch(
                body={"spec": {"watts": -1}},
                name="desk",
                namespace=namespace,
                content_type="application/merge-patch+json",
            )
        assert [item.spec.watts for item in lamps.get(namespace=namespace).items] == [7]
        events = lamps.watch(namespace=namespace, timeout=1)
        assert [(event["type"], event["object"].metadata.name) for event in events] == [("ADDED", "desk")]
        lamps.delete(name="desk", namespace=namespace)
    finally:
        definitions.delete(name="lamps.dynamic.example.com")


def definition(kind: str, plural: str) -> dict[str, Any]:
    watts = {"type": "integer", "minimum": 0}
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"watts": watts}}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.dynamic.example.com"},
        "spec": {
            "group": "dynamic.example.com",
            "names": {"kind": kind, "plural": plural},
            "scope": "Namespaced",
            "versions": [version],
        },
    }


def is_established(definitions: Any, name: str) -> bool:
    conditions = definitions.get(name=name).status.conditions or []
    return any(each.type == "Established" and each.status == "True" for each in conditions)


def test_who_asks_and_what_they_may(api: Any, simulated: Cluster, namespace: str) -> None:
    core = client.CoreV1Api(api)
    core.create_namespaced_service_account(
        namespace, client.V1ServiceAccount(metadata=client.V1ObjectMeta(name="robot"))
    )
    spec = client.V1TokenRequestSpec(audiences=[], expiration_seconds=600)
    request = client.AuthenticationV1TokenRequest(spec=spec)
    token = core.create_namespaced_service_account_token("robot", namespace, request).status.token
    settings = client.Configuration()
    settings.host, settings.ssl_ca_cert = api.configuration.host, api.configuration.ssl_ca_cert
    settings.api_key = {"authorization": f"Bearer {token}"}
    with client.ApiClient(settings) as robot:
        review = client.AuthenticationV1Api(robot).create_self_subject_review(client.V1SelfSubjectReview())
        assert review.status.user_info.username == f"system:serviceaccount:{namespace}:robot"
        with pytest.raises(ApiException) as refused:
            client.CoreV1Api(robot).list_namespaced_secret(namespace)
        assert refused.value.status == 403


def test_a_leader_is_elected_and_another_takes_over(api: Any, namespace: str) -> None:
    """Over a Lease, which the first does not renew."""
    client.Configuration.set_default(api.configuration)

    def stand(name: str) -> bool:
        lock = LeaseLock("election", namespace, name)
        settings = electionconfig.Config(
            lock, lease_duration=3, renew_deadline=2, retry_period=1, onstarted_leading=lock, onstopped_leading=None
        )
        return bool(leaderelection.LeaderElection(settings).acquire())

    try:
        assert stand("first")
        assert stand("second")
    finally:
        client.Configuration.set_default(None)
    lease = client.CoordinationV1Api(api).read_namespaced_lease("election", namespace)
    assert lease.spec.holder_identity == "second"
