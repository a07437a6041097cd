"""What `--runtime-config` leaves of the built-in API."""

import pytest

from pilothouse.api.kinds.table import RESOURCES
from pilothouse.apiserver.offer import offered, switches


def served(*texts):
    return {f"{gvr.api_version}/{gvr.plural}" for each in offered(RESOURCES, switches(texts)) for gvr in each.served}


EVERYTHING = {f"{gvr.api_version}/{gvr.plural}" for each in RESOURCES for gvr in each.served}


@pytest.mark.parametrize(
    "text", ["", "api/all=true", "api/ga=true,api/beta=true", "v1=true", "apps/v1", "certificates.k8s.io/v1beta1=false"]
)
def test_everything_is_served(text):
    assert served(text) == EVERYTHING


def test_group_versions_and_resources_are_withheld():
    left = served("batch/v1=false,autoscaling/v1=false", "networking.k8s.io/v1/ingresses=false")
    assert EVERYTHING - left == {
        "batch/v1/jobs",
        "batch/v1/cronjobs",
        "autoscaling/v1/horizontalpodautoscalers",
        "networking.k8s.io/v1/ingresses",
    }


def test_the_particular_counts_more_than_the_general():
    left = served("api/all=false", "apps/v1=true,apps/v1/daemonsets=false")
    assert {key for key in left if key.startswith("apps/")} == {
        f"apps/v1/{plural}" for plural in ("controllerrevisions", "deployments", "replicasets", "statefulsets")
    }
    assert {key.rpartition("/")[0] for key in left} == {
        "v1",
        "apps/v1",
        "apiextensions.k8s.io/v1",
        "apiregistration.k8s.io/v1",
    }


def test_what_comes_later_counts():
    assert served("batch/v1=false", "batch/v1=true") == EVERYTHING


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("api/all=false", "invalid runtime-config with only api/all=false"),
        ("api/all=x,apps/v1=true", "invalid value api/all=x"),
        ("none/v1=true", "unknown api groups none/v1"),
        ("apps=true", "unknown api groups apps"),
        ("apps/v1=maybe", "invalid value of apps/v1: maybe"),
        ("certificates.k8s.io/v1beta1=true", "group version certificates.k8s.io/v1beta1 that has not been registered"),
        ("v1=false", "v1=false: the server itself needs v1"),
    ],
)
def test_what_cannot_be_is_refused(text, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        served(text)
