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
from pilothouse.kubelet.runtime.specs import Mount
from pilothouse.kubelet.specs import DEFAULT_MESSAGE_PATH

_HOSTS = Path("/etc/hosts")


class PodFiles:
    """The files of a node's pods, under the directories of its options."""

    def __init__(self, options: KubeletOptions) -> None:
        self._options = options

    def own_mounts(
        self, pod: PodView, container: Mapping[str, Any], ips: Sequence[str], attempt_token: str
    ) -> list[Mount]:
        taken = {mount["mountPath"].rstrip("/") for mount in container.get("volumeMounts") or ()}
        mounts = []
        if str(_HOSTS) not in taken and (ips or pod.host_network):
            context = container.get("securityContext") or {}
            path = self._write_hosts_file(pod, ips)
            mounts.append(Mount(str(_HOSTS), str(path), read_only=bool(context.get("readOnlyRootFilesystem"))))
        message_path = container.get("terminationMessagePath") or DEFAULT_MESSAGE_PATH
        if message_path not in taken:
            directory = self._options.container_dir(pod.uid, container["name"])
            directory.mkdir(parents=True, exist_ok=True)
            path = directory / attempt_token
            path.touch()
            # Whatever user the container runs as must be able to write it, whatever the umask.
            path.chmod(0o666)
            mounts.append(Mount(message_path, str(path)))
        return mounts

    def _write_hosts_file(self, pod: PodView, ips: Sequence[str]) -> Path:
        host_text = ""
        if pod.host_network:
            with contextlib.suppress(OSError):
                host_text = _HOSTS.read_text()
        path = self._options.pod_dir(pod.uid) / "etc-hosts"
        path.parent.mkdir(parents=True, exist_ok=True)
        # Containers that run have the file itself mounted: it is written in place, not replaced.
        path.write_text(name_resolution.hosts_file(pod, ips, self._options.cluster_domain, host_text))
        path.chmod(0o644)
        return path

    def prepare_pod(self, pod: PodView) -> None:
        self._options.pod_dir(pod.uid).mkdir(mode=0o750, parents=True, exist_ok=True)
        self._log_directory(pod).mkdir(parents=True, exist_ok=True)

    def prepare_container(self, pod: PodView, container: str) -> None:
        (self._log_directory(pod) / container).mkdir(parents=True, exist_ok=True)

    def next_log_number(self, pod: PodView, container: str) -> int:
        with contextlib.suppress(OSError):
            stems = (entry.name.partition(".")[0] for entry in os.scandir(self._log_directory(pod) / container))
            return max((int(stem) + 1 for stem in stems if stem.isdigit()), default=0)
        return 0

    def link_log(self, pod: PodView, container: str, container_id: str, restart_count: int) -> None:
        links = self._options.container_logs_dir
        links.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            link = links / f"{pod.name}_{pod.namespace}_{container}-{container_id}.log"
            link.symlink_to(self._log_directory(pod) / container / f"{restart_count}.log")

    def remove_log(self, log_path: str) -> None:
        if not log_path:
            return
        path = Path(log_path)
        with contextlib.suppress(OSError):
            for part in path.parent.glob(f"{path.name}*"):
                part.unlink(missing_ok=True)

    def remove_pod(self, uid: UID, namespace: str, name: str) -> None:
        shutil.rmtree(self._options.pod_dir(uid), ignore_errors=True)
        if not name:
            return
        logs = self._options.pod_log_dir(namespace, name, uid)
        shutil.rmtree(logs, ignore_errors=True)
        for link in self._options.container_logs_dir.glob(f"{name}_{namespace}_*.log"):
            with contextlib.suppress(OSError):
                if link.is_symlink() and str(link.readlink()).startswith(f"{logs}/"):
                    link.unlink()

    def left_over(self) -> list[UID]:
        directory = self._options.root_dir / "pods"
        return [UID(entry.name) for entry in directory.iterdir()] if directory.is_dir() else []

    def _log_directory(self, pod: PodView) -> Path:
        return self._options.pod_log_dir(pod.namespace, pod.name, pod.uid)


class NoFiles:
    """No files at all: for a runtime without containers."""

    def own_mounts(
        self, pod: PodView, container: Mapping[str, Any], ips: Sequence[str], attempt_token: str
    ) -> list[Mount]:
        return []

    def prepare_pod(self, pod: PodView) -> None:
        return None

    def prepare_container(self, pod: PodView, container: str) -> None:
        return None

    def next_log_number(self, pod: PodView, container: str) -> int:
        return 0

    def link_log(self, pod: PodView, container: str, container_id: str, restart_count: int) -> None:
        return None

    def remove_log(self, log_path: str) -> None:
        return None

    def remove_pod(self, uid: UID, namespace: str, name: str) -> None:
        return None

    def left_over(self) -> list[UID]:
        return []
