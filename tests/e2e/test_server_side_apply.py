"""Server-side apply as a user of stock kubectl meets it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.e2e.cluster import Cluster, Object

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
            "kubectl", f"--kubeconfig={kubeconfig}", *arguments, "-n", self._namespace, text=text, check=False
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
