"""Quality of service by what containers request."""

from __future__ import annotations

import pytest

from pilothouse.api.meta import Object
from pilothouse.api.qos import qos_class

BOTH = {"cpu": "1", "memory": "1Gi"}


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ([{}], "BestEffort"),
        ([{"requests": {"cpu": "0"}}], "BestEffort"),
        ([{"requests": {"example.com/gpu": "1"}}], "BestEffort"),
        ([{"requests": {"cpu": "1"}}], "Burstable"),
        ([{"limits": BOTH, "requests": BOTH}], "Guaranteed"),
        ([{"limits": BOTH, "requests": {**BOTH, "cpu": "500m"}}], "Burstable"),
        ([{"limits": BOTH}], "Burstable"),
        ([{"limits": BOTH, "requests": BOTH}, {}], "Burstable"),
        ([{"limits": BOTH, "requests": BOTH}, {"limits": BOTH, "requests": BOTH}], "Guaranteed"),
        ([{"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}], "Burstable"),
    ],
)
def test_by_containers(resources: list[Object], expected: str) -> None:
    assert qos_class({"containers": [{"name": "c", "resources": each} for each in resources]}) == expected


def test_init_containers_count() -> None:
    guaranteed = {"resources": {"limits": BOTH, "requests": BOTH}}
    assert qos_class({"containers": [guaranteed], "initContainers": [{}]}) == "Burstable"


def test_resources_of_the_whole_pod_come_first() -> None:
    assert qos_class({"resources": {"limits": BOTH, "requests": BOTH}, "containers": [{}]}) == "Guaranteed"
