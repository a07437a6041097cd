"""`pilothouse down` and `pilothouse reset`: stopping a cluster without a trace, and deleting its data."""

from __future__ import annotations

import asyncio
import json
import os
import select
import shutil
import signal

from pilothouse.cli.kubeconfig import KubeconfigUnusable, default_path, remove
from pilothouse.cli.progress import Progress
from pilothouse.main import settings
from pilothouse.main.cluster import default_settings, require_root
from pilothouse.main.failure import Fatal
from pilothouse.main.paths import Paths
from pilothouse.main.supervisor import AlreadyRunning, stop_processes, supervisor_pid

STOP_TIMEOUT_S = 120.0


def down(paths: Paths, progress: Progress) -> None:
    """Stop every process of the cluster and remove what its containers, volumes and network left. The data stays.

    Raises Fatal if the supervisor does not end.
    """
    saved = settings.load(paths)
    if saved is None and supervisor_pid(paths) is None:
        progress.note("There is no cluster.")
        return
    is_real = saved is None or not saved.simulated
    if is_real:
        require_root("stopping a real node")
    with progress.step("Stopping the cluster's processes"):
        _stop_processes(paths)
    if is_real:
        from pilothouse.main.node_host import NodeHost

        with progress.step("Removing containers, mounts and network"):
            asyncio.run(NodeHost(paths, saved or default_settings()).clean())
    shutil.rmtree(paths.run, ignore_errors=True)
    progress.note("The cluster is down; its data is kept. `pilothouse up` brings it back.")


def reset(paths: Paths, progress: Progress) -> None:
    """Stop the cluster and delete its data, logs, and its entries in the user's kubeconfig. Raises Fatal."""
    ours = json.loads(paths.admin_kubeconfig.read_text()) if paths.admin_kubeconfig.exists() else None
    down(paths, progress)
    _delete_pod_logs(paths)
    for directory in (paths.data, paths.logs):
        try:
            shutil.rmtree(directory)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise Fatal(f"{error.filename} cannot be deleted: {error.strerror}") from error
    if ours is not None:
        try:
            remove(default_path(), ours)
        except (KubeconfigUnusable, OSError) as error:
            progress.note(f"  ! {error}")
    progress.note("The cluster and its data are deleted.")


def _delete_pod_logs(paths: Paths) -> None:
    """The logs of this cluster's pods; those of others may lie beside them."""
    own = [logs for pod in paths.kubelet_pods.glob("*") for logs in paths.pod_logs.glob(f"*_{pod.name}")]
    for link in paths.container_logs.glob("*.log"):
        if link.is_symlink() and any(logs in link.readlink().parents for logs in own):
            link.unlink(missing_ok=True)
    for logs in own:
        shutil.rmtree(logs, ignore_errors=True)


def _stop_processes(paths: Paths) -> None:
    """End the supervisor, which ends the others; if it was killed, the others may be starting another, which counts as well."""
    while True:
        if (pid := supervisor_pid(paths)) is not None:
            _stop_supervisor(pid)
        try:
            stop_processes(paths)
        except AlreadyRunning:
            continue
        return


def _stop_supervisor(pid: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if not poll.poll(STOP_TIMEOUT_S * 1000):
            raise Fatal(
                f"the supervisor (pid {pid}) did not end within {STOP_TIMEOUT_S:.0f} s: see its log, then `kill -9 {pid}`"
            )
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)
