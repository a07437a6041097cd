"""Whole clusters, started and stopped by the command that users have: one with simulated nodes, and one with real containers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from pilothouse.main.runtime.requirements import missing_packages
from tests.e2e import images, machine
from tests.e2e.cluster import KUBECTL, Cluster, free_port, until

_numbers = count(1)


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A control plane and three nodes without containers."""
    cluster = Cluster(tmp_path_factory.mktemp("simulated"), free_port())
    yield from _running(cluster, "--simulated", "3", "--secure-port", str(cluster.port))


@pytest.fixture
def private(tmp_path: Path) -> Iterator[Cluster]:
    """A simulated cluster that is not started yet, for tests that harm it."""
    cluster = Cluster(tmp_path, free_port())
    try:
        yield cluster
    finally:
        cluster.pilothouse("down", check=False)
    until(lambda: not machine.processes(tmp_path), "the cluster's processes end", 10)


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of one real node in a network namespace of its own. When it is stopped nothing may remain."""
    require_real()
    with machine.network_namespace():
        before = machine.namespace_state()
        cluster = Cluster(tmp_path_factory.mktemp("real"), 6443, machine.INSIDE)
        archive = cluster.directory / "web.tar"
        archive.write_bytes(images.web())
        running = _running(cluster)
        next(running)
        try:
            cluster.pilothouse("image", "load", str(archive))
            yield cluster
        finally:
            cluster.pilothouse("reset", "--yes", check=False)
            next(running, None)
        assert machine.namespace_state() == before
        assert machine.mounts(cluster.directory) == []
        assert machine.attachments(cluster.directory) == []
        shutil.rmtree(cluster.directory)


def _running(cluster: Cluster, *arguments: str) -> Iterator[Cluster]:
    try:
        cluster.up(*arguments)
        yield cluster
    finally:
        cluster.pilothouse("down", check=False)
    until(lambda: not machine.processes(cluster.directory), "the cluster's processes end", 10)


def require_real() -> None:
    """Skips the test where real containers cannot be."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if missing := missing_packages():
        pytest.skip(f"missing packages: {', '.join(missing)}")
    for program in ("ip", "nsenter", "curl", "nft", KUBECTL):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    if not images.BUSYBOX.exists():
        pytest.skip("busybox-static is missing")


@pytest.fixture
def namespace(simulated: Cluster) -> Iterator[str]:
    """A namespace of the test's own in the simulated cluster."""
    yield from _namespace(simulated)


@pytest.fixture
def real_namespace(real: Cluster) -> Iterator[str]:
    """A namespace of the test's own in the real cluster."""
    yield from _namespace(real)


def _namespace(cluster: Cluster) -> Iterator[str]:
    name = f"test-{next(_numbers)}"
    cluster.kubectl("create", "namespace", name)
    cluster.wait("--for=create", "serviceaccount/default", "-n", name)
    try:
        yield name
    finally:
        cluster.kubectl("delete", "namespace", name, "--wait=false", check=False)
