"""The files that the kubelet itself gives to containers: hosts file, termination log, log directories and links."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pilothouse.api.meta import UID
from pilothouse.api.views.pod import PodView
from pilothouse.kubelet import name_resolution
from pilothouse.kubelet.options import KubeletOptions
from pilothouse.kubelet.runtime import Mount
from pilothouse.kubelet.specs import DEFAULT_MESSAGE_PATH

_HOSTS = Path("/etc/hosts")


def own_mounts(
    pod: PodView, container: Mapping[str, Any], ips: Sequence[str], attempt_token: str, options: KubeletOptions
) -> list[Mount]:
    """Write the files of a container that is about to start and return their mounts.

    What the pod mounts at those paths itself goes before. `attempt_token` tells apart the starts of one container.
    """
    taken = {mount["mountPath"].rstrip("/") for mount in container.get("volumeMounts") or ()}
    mounts = []
    if str(_HOSTS) not in taken and (ips or pod.host_network):
        context = container.get("securityContext") or {}
        path = write_hosts_file(pod, ips, options)
        mounts.append(Mount(str(_HOSTS), str(path), read_only=bool(context.get("readOnlyRootFilesystem"))))
    message_path = container.get("terminationMessagePath") or DEFAULT_MESSAGE_PATH
    if message_path not in taken:
        directory = options.container_dir(pod.uid, container["name"])
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / attempt_token
        path.touch()
        # Whatever user the container runs as must be able to write it, whatever the umask.
        path.chmod(0o666)
        mounts.append(Mount(message_path, str(path)))
    return mounts


def write_hosts_file(pod: PodView, ips: Sequence[str], options: KubeletOptions) -> Path:
    host_text = ""
    if pod.host_network:
        with contextlib.suppress(OSError):
            host_text = _HOSTS.read_text()
    path = options.pod_dir(pod.uid) / "etc-hosts"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(name_resolution.hosts_file(pod, ips, options.cluster_domain, host_text))
    path.chmod(0o644)
    return path


def make_log_directory(pod: PodView, container: str, options: KubeletOptions) -> None:
    directory = options.pod_log_dir(pod.namespace, pod.name, pod.uid) / container
    directory.mkdir(parents=True, exist_ok=True)


def next_log_number(pod: PodView, container: str, options: KubeletOptions) -> int:
    """The restart count of a container that the runtime has forgotten: one more than its last log's number."""
    directory = options.pod_log_dir(pod.namespace, pod.name, pod.uid) / container
    with contextlib.suppress(OSError):
        numbers = [int(stem) for entry in os.scandir(directory) if (stem := entry.name.partition(".")[0]).isdigit()]
        return max(numbers) + 1 if numbers else 0
    return 0


def link_log(pod: PodView, container: str, container_id: str, restart_count: int, options: KubeletOptions) -> None:
    """Link the log where log collectors look: `/var/log/containers/<pod>_<namespace>_<container>-<id>.log`."""
    target = options.pod_log_dir(pod.namespace, pod.name, pod.uid) / container / f"{restart_count}.log"
    options.container_logs_dir.mkdir(parents=True, exist_ok=True)
    link = options.container_logs_dir / f"{pod.name}_{pod.namespace}_{container}-{container_id}.log"
    with contextlib.suppress(FileExistsError):
        link.symlink_to(target)


def remove_log(log_path: str) -> None:
    """Remove a container's log and its rotated parts."""
    if not log_path:
        return
    path = Path(log_path)
    with contextlib.suppress(OSError):
        for part in path.parent.glob(f"{path.name}*"):
            part.unlink(missing_ok=True)


def remove_pod(uid: UID, namespace: str, name: str, options: KubeletOptions) -> None:
    """Remove a pod's directory and logs, and the links to them. Volumes must have been torn down."""
    shutil.rmtree(options.pod_dir(uid), ignore_errors=True)
    if name:
        logs = options.pod_log_dir(namespace, name, uid)
        shutil.rmtree(logs, ignore_errors=True)
        for link in options.container_logs_dir.glob(f"{name}_{namespace}_*.log"):
            with contextlib.suppress(OSError):
                if link.is_symlink() and str(link.readlink()).startswith(f"{logs}/"):
                    link.unlink()


def prepare_pod_directory(uid: UID, options: KubeletOptions) -> None:
    directory = options.pod_dir(uid)
    directory.mkdir(mode=0o750, parents=True, exist_ok=True)
