from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pilothouse.api.meta import UID
from pilothouse.kubelet.cgroups import Naming, PodCgroups

GIB = 1 << 30


def pod(*containers: dict[str, dict[str, str]], **spec: Any) -> dict[str, Any]:
    listed = [{"name": f"c{number}", "resources": resources} for number, resources in enumerate(containers)]
    return {"metadata": {"name": "p", "namespace": "default", "uid": "a-b"}, "spec": {"containers": listed, **spec}}


FULL = {"requests": {"cpu": "500m", "memory": "64Mi"}, "limits": {"cpu": "500m", "memory": "64Mi"}}
HALF = {"requests": {"cpu": "100m"}, "limits": {"memory": "64Mi"}}


@pytest.mark.parametrize(
    ("resources", "cgroupfs", "systemd"),
    [
        (FULL, "/kubepods/poda-b", "kubepods-poda_b.slice"),
        (HALF, "/kubepods/burstable/poda-b", "kubepods-burstable-poda_b.slice"),
        ({}, "/kubepods/besteffort/poda-b", "kubepods-besteffort-poda_b.slice"),
    ],
)
def test_names(tmp_path: Path, resources: dict[str, dict[str, str]], cgroupfs: str, systemd: str) -> None:
    assert PodCgroups(Naming.CGROUPFS, GIB, tmp_path).set_up(pod(resources)) == cgroupfs
    (tmp_path / "cgroup.controllers").touch()
    assert PodCgroups(Naming.SYSTEMD, GIB, tmp_path).set_up(pod(resources)) == systemd


def test_limits_are_written_and_the_cgroup_removed(tmp_path: Path) -> None:
    for controller in ("cpu", "memory", "pids"):
        (tmp_path / controller).mkdir()
    cgroups = PodCgroups(Naming.CGROUPFS, GIB, tmp_path)
    path = cgroups.set_up(pod(FULL, FULL)).lstrip("/")
    assert (tmp_path / "cpu" / path / "cpu.cfs_quota_us").read_text() == "100000"
    assert (tmp_path / "memory" / path / "memory.limit_in_bytes").read_text() == str(128 << 20)
    for controller in ("cpu", "memory", "pids"):
        for file in (tmp_path / controller / path).iterdir():
            file.unlink()
    cgroups.tear_down(UID("a-b"))
    assert not (tmp_path / "cpu" / path).exists()
    cgroups.tear_down(UID("a-b"))


def test_a_pod_is_bounded_only_where_all_its_containers_are(tmp_path: Path) -> None:
    cgroups = PodCgroups(Naming.CGROUPFS, GIB, tmp_path)
    assert cgroups.pod_resources(pod(FULL, HALF)).cpu_quota == 0
    assert cgroups.pod_resources(pod(FULL, HALF)).memory_limit_bytes == 128 << 20
    whole = cgroups.pod_resources(pod(HALF, resources={"limits": {"cpu": "2"}}))
    assert whole.cpu_quota == 200_000


def test_container_resources(tmp_path: Path) -> None:
    cgroups = PodCgroups(Naming.CGROUPFS, GIB, tmp_path)
    guaranteed = pod(FULL)
    made = cgroups.container_resources(guaranteed, guaranteed["spec"]["containers"][0])
    assert (made.cpu_shares, made.cpu_quota, made.memory_limit_bytes, made.oom_score_adj) == (
        512,
        50_000,
        64 << 20,
        -997,
    )
    best_effort = pod({})
    made = cgroups.container_resources(best_effort, best_effort["spec"]["containers"][0])
    assert (made.cpu_shares, made.cpu_quota, made.oom_score_adj) == (2, 0, 1000)
