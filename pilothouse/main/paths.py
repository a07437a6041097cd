"""Where a cluster keeps its things on this machine.

`data` outlives `down` (certificates, the store, images); `run` holds what only a running cluster needs (pids, sockets); `logs` holds a
file a component. Root's cluster lives in the system's places, anyone else's under their home.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Paths:
    data: Path
    run: Path
    logs: Path
    pod_logs: Path
    """What containers print. Root's cluster uses the place where collectors of logs look, as upstream's kubelet does."""
    container_logs: Path
    """A link a container into `pod_logs`, in a flat directory."""

    @property
    def pki(self) -> Path:
        return self.data / "pki"

    @property
    def database(self) -> Path:
        return self.data / "store" / "state.db"

    @property
    def kubeconfigs(self) -> Path:
        return self.data / "kubeconfig"

    @property
    def admin_kubeconfig(self) -> Path:
        return self.kubeconfigs / "admin.conf"

    @property
    def kubelet(self) -> Path:
        """The kubelet's own files and the pods' volumes."""
        return self.data / "kubelet"

    @property
    def kubelet_pods(self) -> Path:
        """A directory a pod, named by its UID."""
        return self.kubelet / "pods"

    @property
    def settings(self) -> Path:
        """What the cluster was started with."""
        return self.data / "cluster.json"

    @property
    def lock(self) -> Path:
        """Held by the supervisor for as long as it lives."""
        return self.run / "supervisor.lock"

    @property
    def state(self) -> Path:
        """The supervisor's view of its processes."""
        return self.run / "processes.json"

    def pid_file(self, component: str) -> Path:
        return self.run / f"{component}.pid"

    def log_file(self, component: str) -> Path:
        return self.logs / f"{component}.log"

    def make(self) -> None:
        """Create the directories, readable by their owner only."""
        for directory in (self.data, self.run, self.logs, self.pki, self.database.parent, self.kubeconfigs):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)


def paths_for(directory: Path | None = None) -> Paths:
    """The paths under `directory`, or the usual ones of the present user."""
    if directory is not None:
        root = directory.resolve()
        return _own(root / "data", root / "run", root / "log")
    if os.geteuid() == 0:
        system_logs = Path("/var/log")
        return Paths(
            Path("/var/lib/pilothouse"),
            Path("/run/pilothouse"),
            system_logs / "pilothouse",
            system_logs / "pods",
            system_logs / "containers",
        )
    home = Path.home()
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share") / "pilothouse"
    state = Path(os.environ.get("XDG_STATE_HOME") or home / ".local/state") / "pilothouse"
    return _own(data, state / "run", state / "log")


def _own(data: Path, run: Path, logs: Path) -> Paths:
    return Paths(data, run, logs, logs / "pods", logs / "containers")
