"""A chart's life by Helm's own Go library: hooks, a CustomResourceDefinition, upgrade, rollback, what an uninstall leaves.

Run with the dependency group `helm` (`uv sync --group helm`), whose wheel carries the library; skipped without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, until

helm = pytest.importorskip("helm_python", reason="helm-python-sdk is not installed: uv sync --group helm")

pytestmark = pytest.mark.xdist_group("e2e-simulated")

LIMIT_S = 30
CHART = {
    "Chart.yaml": "apiVersion: v2\nname: shop\nversion: 0.1.0\nappVersion: '1'\n",
    "values.yaml": "replicas: 1\nimage: web:1\nlifetime: 0.1\nport: 80\n",
    "crds/tills.yaml": """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: tills.shop.example.com}
spec:
  group: shop.example.com
  names: {kind: Till, plural: tills}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties: {spec: {type: object, properties: {drawers: {type: integer, minimum: 1}}}}
""",
    "templates/till.yaml": """
apiVersion: shop.example.com/v1
kind: Till
metadata: {name: {{ .Release.Name }}}
spec: {drawers: {{ .Values.replicas }}}
""",
    "templates/web.yaml": """
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec: {containers: [{name: web, image: {{ .Values.image }}}]}
---
apiVersion: v1
kind: Service
metadata: {name: {{ .Release.Name }}}
spec: {selector: {app: {{ .Release.Name }}}, ports: [{port: {{ .Values.port }}}]}
{{- if eq (int .Values.replicas) 1 }}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}-alone}
{{- end }}
""",
    "templates/migrate.yaml": """
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-migrate
  annotations:
    helm.sh/hook: pre-install,pre-upgrade
    helm.sh/hook-delete-policy: before-hook-creation
spec:
  backoffLimit: 0
  template:
    metadata: {annotations: {pilothouse.dev/simulated-lifetime: {{ .Values.lifetime | quote }}}}
    spec: {restartPolicy: Never, containers: [{name: main, image: migrate}]}
""",
    "templates/tests/try.yaml": """
apiVersion: v1
kind: Pod
metadata:
  name: {{ .Release.Name }}-try
  annotations: {helm.sh/hook: test, pilothouse.dev/simulated-lifetime: "0.1"}
spec: {restartPolicy: Never, containers: [{name: main, image: try}]}
""",
}


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    for name, text in CHART.items():
        file = tmp_path / "shop" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "shop"


@pytest.fixture
def releases(simulated: Cluster, namespace: str) -> Iterator[Any]:
    with helm.Config(namespace=namespace, kubeconfig_path=simulated.kubeconfig) as config:
        yield config
    simulated.kubectl("delete", "crd", "tills.shop.example.com", "--ignore-not-found", "--wait=false")


def test_a_release_from_its_installation_to_its_end(
    simulated: Cluster, namespace: str, releases: Any, chart: Path
) -> None:
    def present(kinds: str) -> set[str]:
        return set(simulated.kubectl("get", kinds, "-n", namespace, "-o", "name").split())

    first = releases.install(chart, "shop", {}, wait="watcher", timeout=LIMIT_S)
    assert (first["revision"], first["status"]) == (1, "deployed")
    assert simulated.path("job", "shop-migrate", "-n", namespace, of=".status.succeeded") == "1"
    assert simulated.path("till", "shop", "-n", namespace, of=".spec.drawers") == "1"
    managers = simulated.path("deployment", "shop", "-n", namespace, of=".metadata.managedFields[*].operation")
    assert "Apply" in managers.split()
    assert releases.test("shop", timeout=LIMIT_S)["release"]["status"] == "deployed"

    upgraded = releases.upgrade(chart, "shop", {"replicas": 3, "image": "web:2"}, wait="watcher", timeout=LIMIT_S)
    assert (upgraded["revision"], upgraded["status"]) == (2, "deployed")
    assert simulated.path("deployment", "shop", "-n", namespace, of=".status.readyReplicas") == "3"
    assert "configmap/shop-alone" not in present("configmaps")

    releases.rollback("shop", version=1, wait="watcher", timeout=LIMIT_S)
    assert (
        simulated.path("deployment", "shop", "-n", namespace, of=".spec.template.spec.containers[0].image") == "web:1"
    )
    assert "configmap/shop-alone" in present("configmaps")
    assert [(each["revision"], each["status"]) for each in releases.history("shop")] == [
        (1, "superseded"),
        (2, "superseded"),
        (3, "deployed"),
    ]
    assert [each["name"] for each in releases.list()] == ["shop"]

    releases.uninstall("shop", wait="watcher", timeout=LIMIT_S)
    assert releases.list() == []
    until(lambda: not present("deployments,services,tills,replicasets"), "what the release had is gone")
    assert present("jobs") == {"job.batch/shop-migrate"}, "hooks are not of the release"
    assert simulated.kubectl("get", "crd", "tills.shop.example.com", "-o", "name")


def test_a_failed_upgrade_is_rolled_back(simulated: Cluster, namespace: str, releases: Any, chart: Path) -> None:
    releases.install(chart, "shop", {}, wait="watcher", timeout=LIMIT_S)
    with pytest.raises(helm.HelmError, match=r"spec\.ports\[0\]\.port: Invalid value: 70000"):
        releases.upgrade(
            chart, "shop", {"image": "web:2", "port": 70000}, wait="watcher", timeout=LIMIT_S, rollback_on_failure=True
        )
    until(
        lambda: simulated.path("deployment", "shop", "-n", namespace, of="..containers[0].image") == "web:1",
        "the image before the upgrade",
    )
    assert [each["status"] for each in releases.history("shop")][-1] == "deployed"
    assert simulated.path("service", "shop", "-n", namespace, of=".spec.ports[0].port") == "80"


def test_a_hook_that_fails_ends_the_installation(releases: Any, chart: Path) -> None:
    hook = chart / "templates" / "migrate.yaml"
    hook.write_text(hook.read_text() + "\n  activeDeadlineSeconds: 1\n")
    with pytest.raises(helm.HelmError, match="failed pre-install"):
        releases.install(chart, "shop", {"lifetime": "3600"}, wait="watcher", timeout=LIMIT_S)
    assert releases.status("shop")["status"] == "failed"
