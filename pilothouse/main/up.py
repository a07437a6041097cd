"""`pilothouse up`: from whatever there is to a running cluster whose nodes are ready."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pilothouse.cli.kubeconfig import CONTEXT, KubeconfigUnusable, add, default_path
from pilothouse.cli.progress import Progress
from pilothouse.kit.clock import SystemClock
from pilothouse.kit.pki import PkiError
from pilothouse.main import cluster, credentials, settings
from pilothouse.main.failure import Fatal, error_file, last_errors
from pilothouse.main.paths import Paths
from pilothouse.main.settings import Settings
from pilothouse.main.supervisor import start_supervisor, supervisor_pid

POLL_S = 0.02


def up(
    paths: Paths,
    directory: Path | None,
    given: dict[str, Any],
    *,
    timeout_s: float,
    progress: Progress,
    merge_kubeconfig: bool = True,
) -> None:
    """Start the cluster, or what is missing of it, and wait until its nodes are ready. Raises Fatal."""
    if supervisor_pid(paths) is not None:
        wanted = _running_settings(paths, given)
        progress.note("The cluster is already running.")
        since = 0.0
    else:
        wanted = _wanted_settings(paths, given)
        _prepare(paths, wanted, progress)
        since = time.time()
        start_supervisor(paths, directory)
    _wait(paths, wanted, since, timeout_s, progress)
    if merge_kubeconfig:
        _merge_kubeconfig(paths, progress)
    progress.note(_what_next(wanted, paths, directory, merged=merge_kubeconfig))


def _wanted_settings(paths: Paths, given: dict[str, Any]) -> Settings:
    saved = settings.load(paths)
    if saved is None:
        base = cluster.default_settings(simulated=given.get("simulated") or 0)
    else:
        simulated = given.get("simulated")
        if simulated is not None and bool(simulated) != bool(saved.simulated):
            raise Fatal(
                f"{paths.data} holds a cluster {'with' if saved.simulated else 'without'} simulated nodes: "
                "run `pilothouse reset` first, or give another --directory"
            )
        # A machine's address may change between two starts; a chosen one stays.
        finds_address = not saved.simulated and not saved.is_address_chosen
        base = settings.changed(saved, node_ip=cluster.node_address()) if finds_address else saved
    return settings.changed(base, **given, is_address_chosen=True if given.get("node_ip") else None)


def _running_settings(paths: Paths, given: dict[str, Any]) -> Settings:
    running = settings.load(paths)
    if running is None:
        raise Fatal(f"a cluster runs, but its settings {paths.settings} are gone: run `pilothouse down`, then up again")
    differing = sorted(name for name, value in given.items() if value is not None and getattr(running, name) != value)
    if differing:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in differing)
        raise Fatal(f"the cluster runs with another {names}: run `pilothouse down` first, then up again")
    return running


def _prepare(paths: Paths, wanted: Settings, progress: Progress) -> None:
    if not wanted.simulated:
        cluster.require_root("a real node")
        _install_packages(progress)
    try:
        paths.make()
    except OSError as error:
        raise Fatal(f"{error.filename} cannot be made ({error.strerror}): give a writable --directory") from error
    cluster.check_ports(wanted)
    for component in last_errors(paths.run):
        error_file(paths.run, component).unlink()
    settings.save(paths, wanted)
    try:
        if not (paths.pki / "ca.crt").exists():
            with progress.step("Making certificates"):
                credentials.ensure(paths, wanted, SystemClock())
        else:
            credentials.ensure(paths, wanted, SystemClock())
    except PkiError as error:
        raise Fatal(str(error)) from error
    except OSError as error:
        raise Fatal(f"{error.filename or paths.data} cannot be written: {error.strerror}") from error


def _install_packages(progress: Progress) -> None:
    from pilothouse.main.runtime.requirements import explain, missing_packages

    missing = missing_packages()
    if not missing:
        return
    names = " ".join(missing)
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    progress.note(f"These system packages are missing and will be installed: {names}")
    with progress.step(f"Installing {names}"):
        for command in (["apt-get", "update"], install):
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False)
            except OSError:
                raise Fatal(f"install these programs with this system's package manager: {names}") from None
            if done.returncode and command is install:
                raise Fatal(f"`{' '.join(command)}` failed: {(done.stderr or done.stdout).strip().splitlines()[-1]}")
    if missing := missing_packages():
        raise Fatal(explain(missing))


def _wait(paths: Paths, wanted: Settings, since: float, timeout_s: float, progress: Progress) -> None:
    """Until every node is ready by what its kubelet said after `since`: what the store has of an earlier start does not count."""
    api = cluster.Api(wanted, paths)
    deadline = time.monotonic() + timeout_s
    with progress.step("Starting the control plane"):
        _until(api.is_ready, paths, deadline, "the API server is not ready")
    names = set(credentials.node_names(wanted))
    count = f"{len(names)} simulated nodes" if wanted.simulated else f"node {wanted.node_name}"

    def nodes_ready() -> bool:
        try:
            ready = {node["metadata"]["name"] for node in api.nodes() if cluster.is_node_ready(node, since)}
        except OSError:
            return False
        return names <= ready

    with progress.step(f"Waiting for {count}"):
        _until(nodes_ready, paths, deadline, f"{count} did not become ready")


def _until(condition: Callable[[], bool], paths: Paths, deadline: float, otherwise: str) -> None:
    while not condition():
        if errors := last_errors(paths.run):
            sentences = "; ".join(f"{component}: {sentence}" for component, sentence in errors.items())
            raise Fatal(sentences)
        if time.monotonic() > deadline:
            raise Fatal(
                f"{otherwise} in time; see `pilothouse logs apiserver` and `pilothouse logs node`, files in {paths.logs}"
            )
        time.sleep(POLL_S)


def _merge_kubeconfig(paths: Paths, progress: Progress) -> None:
    ours = json.loads(paths.admin_kubeconfig.read_text())
    path = default_path()
    try:
        add(path, ours)
    except (KubeconfigUnusable, OSError) as error:
        progress.note(f"  ! {error}\n    Use `export KUBECONFIG={paths.admin_kubeconfig}` meanwhile.")


def _what_next(wanted: Settings, paths: Paths, directory: Path | None, *, merged: bool) -> str:
    where = f" --directory {directory}" if directory is not None else ""
    image = "busybox" if wanted.simulated else "nginx:1.29"
    reach = (
        f"kubectl's context `{CONTEXT}` points to it"
        if merged
        else f"export KUBECONFIG={paths.admin_kubeconfig} to reach it"
    )
    lines = [
        f"\nThe cluster is ready; {reach}. Try:",
        "  kubectl get nodes -o wide",
        f"  kubectl create deployment web --image={image} --replicas=3",
        f"  pilothouse status{where}",
    ]
    if shutil.which("kubectl") is None:
        lines.append("  (kubectl is not installed: https://kubernetes.io/docs/tasks/tools/ says how to get it)")
    return "\n".join(lines)
