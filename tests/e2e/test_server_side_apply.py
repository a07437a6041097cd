"""Server-side apply as a user of stock kubectl meets it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.e2e.cluster import KUBECTL, Cluster, Object, until

pytestmark = pytest.mark.xdist_group("e2e-simulated")


def deployment(replicas: int | None = None, image: str = "web:1", **labels: str) -> Object:
    spec: Object = {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": image, "ports": [{"containerPort": 80}]}]},
        },
    }
    if replicas is not None:
        spec["replicas"] = replicas
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": labels}, "spec": spec}


class User:
    """Somebody with kubectl in a namespace."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace

    def __call__(self, *arguments: str, text: str = "") -> str:
        return self._cluster.kubectl(*arguments, "-n", self._namespace, text=text)

    def refused(self, *arguments: str, text: str = "") -> str:
        """What kubectl says of a command that fails."""
        kubeconfig = str(self._cluster.kubeconfig)
        done = self._cluster.run(
            KUBECTL, f"--kubeconfig={kubeconfig}", *arguments, "-n", self._namespace, text=text, check=False
        )
        assert done.status != 0, done.output
        return done.errors

    def apply(self, obj: Object, *arguments: str) -> str:
        return self("apply", "--server-side", "-f", "-", *arguments, text=yaml.safe_dump(obj))

    def object(self) -> Any:
        return yaml.safe_load(self("get", "deployment", "web", "-o", "yaml", "--show-managed-fields"))

    def owners(self) -> dict[tuple[str, str, str], Any]:
        return {
            (entry["manager"], entry["operation"], entry.get("subresource", "")): entry["fieldsV1"]
            for entry in self.object()["metadata"]["managedFields"]
        }


@pytest.fixture
def user(simulated: Cluster, namespace: str) -> User:
    return User(simulated, namespace)


def test_apply_conflict_and_force(user: User) -> None:
    assert "serverside-applied" in user.apply(deployment(replicas=2))
    assert user.owners()["kubectl", "Apply", ""]["f:spec"]["f:replicas"] == {}
    user("scale", "deployment", "web", "--replicas=3")
    assert user.owners()["kubectl", "Update", "scale"] == {"f:spec": {"f:replicas": {}}}
    told = user.refused("apply", "--server-side", "-f", "-", text=yaml.safe_dump(deployment(replicas=2)))
    assert 'conflict with "kubectl" with subresource "scale" using apps/v1: .spec.replicas' in told
    user.apply(deployment(replicas=2), "--force-conflicts")
    assert ("kubectl", "Update", "scale") not in user.owners()
    assert user.object()["spec"]["replicas"] == 2


def test_an_apply_that_changes_nothing_writes_nothing(user: User) -> None:
    user.apply(deployment(replicas=0))
    user("rollout", "status", "deployment", "web", "--timeout=30s")
    before = user.object()["metadata"]
    user.apply(deployment(replicas=0))
    after = user.object()["metadata"]
    assert (after["resourceVersion"], after["managedFields"]) == (before["resourceVersion"], before["managedFields"])


def test_a_field_that_is_not_applied_any_more_goes(user: User) -> None:
    user.apply(deployment(replicas=0, tier="front", team="a"))
    user.apply(deployment(replicas=0, tier="front"), "--field-manager=other")
    user.apply(deployment(replicas=0))
    assert user.object()["metadata"]["labels"] == {"tier": "front"}


def test_from_client_side_to_server_side_apply_and_back(user: User) -> None:
    user("apply", "-f", "-", text=yaml.safe_dump(deployment(replicas=0, team="a")))
    assert ("kubectl-client-side-apply", "Update", "") in user.owners()
    user.apply(deployment(replicas=1, image="web:2"))
    owners = user.owners()
    assert ("kubectl-client-side-apply", "Update", "") not in owners
    found = user.object()
    assert "team" not in (found["metadata"].get("labels") or {})
    assert '"image":"web:2"' in found["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]
    user("apply", "-f", "-", text=yaml.safe_dump(deployment(replicas=0, image="web:3")))
    assert user.object()["spec"]["template"]["spec"]["containers"][0]["image"] == "web:3"


def test_a_dry_run_and_a_diff_write_nothing(user: User) -> None:
    user.apply(deployment(replicas=0), "--dry-run=server")
    assert "not found" in user.refused("get", "deployment", "web")
    user.apply(deployment(replicas=0))
    told = user.refused("diff", "--server-side", "-f", "-", text=yaml.safe_dump(deployment(replicas=0, image="web:9")))
    assert told == ""
    assert user.object()["spec"]["template"]["spec"]["containers"][0]["image"] == "web:1"


def test_custom_resources_by_their_schema(simulated: Cluster, namespace: str) -> None:
    part = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "size": {"type": "integer"}},
        "required": ["name"],
    }
    parts = {"type": "array", "items": part, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    free = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"parts": parts, "free": free}}},
    }
    group = f"{namespace}.example.com"
    simulated.apply(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"machines.{group}"},
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {"plural": "machines", "singular": "machine", "kind": "Machine"},
                "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
            },
        }
    )
    simulated.kubectl("wait", f"crd/machines.{group}", "--for=condition=Established", "--timeout=30s")
    until(lambda: "machines" in simulated.kubectl("api-resources", f"--api-group={group}"), "the kind is discovered")

    def apply(manager: str, *found: Object, **free: Any) -> None:
        spec = {"parts": list(found), **({"free": free} if free else {})}
        obj = {"apiVersion": f"{group}/v1", "kind": "Machine", "metadata": {"name": "m"}, "spec": spec}
        simulated.kubectl(
            "apply", "--server-side", "-f", "-", f"--field-manager={manager}", "-n", namespace, text=yaml.safe_dump(obj)
        )

    def spec() -> Any:
        return yaml.safe_load(simulated.kubectl("get", "machine", "m", "-o", "yaml", "-n", namespace))["spec"]

    apply("one", {"name": "a", "size": 1}, x={"first": 1})
    apply("two", {"name": "b", "size": 2}, x={"second": 2})
    assert spec() == {
        "parts": [{"name": "a", "size": 1}, {"name": "b", "size": 2}],
        "free": {"x": {"first": 1, "second": 2}},
    }
    apply("one")
    assert spec() == {"parts": [{"name": "b", "size": 2}], "free": {"x": {"second": 2}}}
    simulated.kubectl("delete", "crd", f"machines.{group}")
