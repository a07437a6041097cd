"""What a cluster can leave behind on a machine, read from the kernel; and a network namespace for a cluster of a test's own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NODE_ADDRESS = "198.51.100.2"
NAMESPACE = f"pilothouse-e2e-{os.getpid()}"
INSIDE = ("nsenter", f"--net=/run/netns/{NAMESPACE}")
"""What takes a command into the namespace: unlike `ip netns exec` it leaves it the machine's mounts, as a user's commands have them."""

_SET_UP = f"""
ip link set lo up
ip link add uplink type veth peer name gateway
ip addr add {NODE_ADDRESS}/24 dev uplink
ip link set uplink up
ip link set gateway up
ip route add default via 198.51.100.1
"""


@contextmanager
def network_namespace(name: str = NAMESPACE) -> Iterator[tuple[str, ...]]:
    """A machine's network apart from this one's: loopback, one interface with an address, a default route to nobody.

    Gives what takes a command into it.
    """
    inside = ("nsenter", f"--net=/run/netns/{name}")
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run([*inside, "sh", "-ec", _SET_UP], check=True)
        yield inside
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def inside(*command: str) -> str:
    """What a command prints in the namespace."""
    return subprocess.run([*INSIDE, *command], check=True, capture_output=True, text=True).stdout


def processes(directory: Path) -> list[str]:
    """The command lines of processes that name the directory or were started by its cluster."""
    own, found = os.getpid(), []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == own:
            continue
        try:
            command = (process / "cmdline").read_bytes()
            environment = (process / "environ").read_bytes()
        except OSError:
            continue
        if str(directory).encode() in command or f"PILOTHOUSE_SUPERVISED={directory}".encode() in environment:
            found.append(command.replace(b"\0", b" ").decode(errors="replace"))
    return found


def mounts(directory: Path) -> list[str]:
    return [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if str(directory) in line]


def cgroups(uids: set[str]) -> list[str]:
    """The control groups of pods with these UIDs."""
    names = uids | {uid.replace("-", "_") for uid in uids}
    return [
        directory
        for directory, _, _ in os.walk("/sys/fs/cgroup")
        if any(name in Path(directory).name for name in names)
    ]


def attachments(directory: Path) -> list[str]:
    """The CNI library's notes of pods whose network namespaces are in the directory."""
    results = Path("/var/lib/cni/results")
    return [file.name for file in results.glob("*") if str(directory) in file.read_text()]


def namespace_state() -> dict[str, str]:
    """Interfaces, nft tables and listening sockets in the cluster's network namespace."""
    return {
        "interfaces": inside("ip", "-o", "link"),
        "rules": inside("nft", "list", "tables"),
        "listeners": inside("ss", "-Hlntu"),
    }


def containers_pids(directory: Path) -> dict[str, int]:
    """The first process of each running container, by the container's id."""
    return {state["id"]: state["init_process_pid"] for state in _containers(directory)}


def sandbox_pid(directory: Path, uid: str) -> int:
    """The process that holds the namespaces of the pod with this UID; fails if it has not exactly one."""
    labels = {"io.kubernetes.cri.container-type=sandbox", f"io.kubernetes.cri.sandbox-uid={uid}"}
    [pid] = [state["init_process_pid"] for state in _containers(directory) if labels <= set(state["config"]["labels"])]
    return int(pid)


def _containers(directory: Path) -> list[dict[str, Any]]:
    """What runc notes of each container whose first process lives."""
    found = []
    for file in (directory / "run" / "containerd" / "runc").glob("*/*/state.json"):
        try:
            state = json.loads(file.read_text())
        except FileNotFoundError:
            continue
        if Path(f"/proc/{state['init_process_pid']}/exe").exists():
            found.append(state)
    return found
