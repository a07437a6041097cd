"""Texts that clients show as warnings."""

from __future__ import annotations

import pytest

from pilothouse.api.kinds.apps.deployment import DEPLOYMENT
from pilothouse.api.kinds.core.pod import POD
from pilothouse.api.kinds.core.service import SERVICE
from pilothouse.api.meta import Object


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"nodeSelector": {"beta.kubernetes.io/os": "linux"}}, 'spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14'),
        ({"topologySpreadConstraints": [{"topologyKey": "x"}]}, "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector"),
        ({"volumes": [{"name": "v", "gitRepo": {}}]}, "spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+"),
        ({"imagePullSecrets": [{}]}, 'spec.imagePullSecrets[0].name: invalid empty name ""'),
        ({"terminationGracePeriodSeconds": -1}, "spec.terminationGracePeriodSeconds: must be >= 0"),
        (
            {"containers": [{"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}]},
            'spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply',
        ),
        (
            {"containers": [{"resources": {"limits": {"memory": "100m"}}}]},
            'spec.containers[0].resources.limits[memory]: fractional byte value "100m" is invalid, must be an integer',
        ),
        (
            {"containers": [{"ports": [{"containerPort": 80}]}, {"ports": [{"containerPort": 80}]}]},
            "spec.containers[1].ports[0]: duplicate port definition with spec.containers[0].ports[0]",
        ),
    ],
)  # fmt: skip
def test_what_is_doubtful_in_a_pod(spec: Object, text: str) -> None:
    (warning,) = POD.warnings({"metadata": {"name": "a"}, "spec": spec})
    assert warning.startswith(text)


def test_a_plain_pod_has_no_warnings() -> None:
    extended = [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A) more"}]
    pod = {
        "metadata": {"name": "a"},
        "spec": {"containers": [{"name": "c", "env": extended, "ports": [{"containerPort": 1}]}]},
    }
    assert POD.warnings(pod) == []


def test_names_that_make_odd_host_names() -> None:
    (warning,) = DEPLOYMENT.warnings({"metadata": {"name": "a.b"}, "spec": {}})
    assert warning.startswith(
        "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior"
    )


def test_a_template_is_judged_again_only_when_it_changed() -> None:
    template = {"spec": {"nodeSelector": {"beta.kubernetes.io/arch": "x"}}}
    new = {"metadata": {"name": "a", "generation": 2}, "spec": {"template": template}}
    assert DEPLOYMENT.update_warnings(new, new) == ()
    (warning,) = DEPLOYMENT.update_warnings(new, {"metadata": {"name": "a", "generation": 1}})
    assert warning.startswith("spec.template.spec.nodeSelector[beta.kubernetes.io/arch]")


def test_services() -> None:
    spec = {"type": "ClusterIP", "externalName": "x", "externalIPs": ["1.1.1.1"]}
    assert SERVICE.warnings({"metadata": {"name": "a"}, "spec": spec}) == [
        "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
        'spec.externalName is ignored when spec.type is not "ExternalName"',
    ]
