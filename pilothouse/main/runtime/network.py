"""The pods' network on one node: a bridge, an address for each pod from the node's range, and a way out.

containerd calls the CNI plugins that the list written here names (CNI spec 1.0): `bridge` with `host-local` addresses, `portmap` for
host ports, and `loopback`, which the CRI adds by itself. Traffic that leaves the cluster takes the node's address by a rule in the nft
table `pilothouse`; nothing is added to iptables but what `portmap` makes for pods with a host port, and a way through a closed firewall.
"""

from __future__ import annotations

import base64
import errno
import fcntl
import ipaddress
import json
import shutil
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilothouse.main.runtime.firewall import close_firewall, open_firewall
from pilothouse.main.runtime.host import HostError
from pilothouse.main.runtime.host_ports import delete_host_ports, delete_shared_chains, run
from pilothouse.main.runtime.requirements import find_program

CNI_RESULTS = Path("/var/lib/cni/results")
"""Where containerd's CNI library keeps the result of each attachment; it cannot be told another place."""

_SIOCSIFFLAGS, _SIOCBRDELBR = 0x8914, 0x89A1


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """`configuration` is the directory that containerd reads; `state` holds the addresses given out.

    `pod_cidrs` are the node's ranges, of which pods get an address each; `cluster_cidrs` those of all nodes: addresses in them are
    reached without translation. `name` distinguishes nodes that share a machine.
    """

    configuration: Path
    state: Path
    pod_cidrs: tuple[str, ...]
    cluster_cidrs: tuple[str, ...] = ("10.244.0.0/16",)
    name: str = "pilothouse"
    bridge: str = "pilothouse0"
    nft_table: str = "pilothouse"
    mtu: int = 0


def conflist(options: NetworkOptions) -> dict[str, Any]:
    """The CNI network list."""
    bridge: dict[str, Any] = {
        "type": "bridge",
        "bridge": options.bridge,
        "isGateway": True,
        "hairpinMode": True,
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "dataDir": str(options.state),
            "ranges": [[{"subnet": cidr}] for cidr in options.pod_cidrs],
            "routes": [{"dst": "::/0" if _is_v6(cidr) else "0.0.0.0/0"} for cidr in options.pod_cidrs],
        },
    }
    if options.mtu:
        bridge["mtu"] = options.mtu
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
    return {"cniVersion": "1.0.0", "name": options.name, "plugins": [bridge, portmap]}


def masquerade_rules(options: NetworkOptions) -> str:
    """The nft commands that make the outgoing translation, replacing an earlier one in the same transaction."""
    lines = []
    for family, version in (("ip", 4), ("ip6", 6)):
        own = [cidr for cidr in options.pod_cidrs if ipaddress.ip_network(cidr, strict=False).version == version]
        cluster = [
            cidr for cidr in options.cluster_cidrs if ipaddress.ip_network(cidr, strict=False).version == version
        ]
        if not own:
            continue
        multicast = "224.0.0.0/4" if version == 4 else "ff00::/8"
        inside = ", ".join(dict.fromkeys([*own, *cluster, multicast]))
        table = f"{family} {options.nft_table}"
        lines += [
            f"add table {table}",
            f"delete table {table}",
            f"add table {table}",
            f'add chain {table} postrouting {{ type nat hook postrouting priority srcnat; comment "pods to outside the cluster"; }}',
            f"add set {table} inside {{ type {'ipv4' if version == 4 else 'ipv6'}_addr; flags interval; auto-merge; }}",
            f"add element {table} inside {{ {inside} }}",
            f"add rule {table} postrouting {family} saddr {{ {', '.join(own)} }} {family} daddr != @inside masquerade",
        ]
    return "\n".join(lines) + "\n"


class NodeNetwork:
    """Sets the network up, as often as it is called, and takes it away."""

    def __init__(self, options: NetworkOptions) -> None:
        self._options = options

    @property
    def conflist_file(self) -> Path:
        return self._options.configuration / "10-pilothouse.conflist"

    async def set_up(self) -> None:
        """Write the CNI list and the nft table. containerd notices a changed list by itself. Raises HostError."""
        self._options.configuration.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._options.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = json.dumps(conflist(self._options), indent=2)
        if not self.conflist_file.exists() or self.conflist_file.read_text() != text:
            draft = self.conflist_file.with_suffix(".new")
            draft.write_text(text)
            draft.rename(self.conflist_file)
        await _nft(masquerade_rules(self._options))
        await open_firewall(self._options.bridge)

    async def clean(self) -> None:
        """Remove host ports, addresses given out, the bridge and the nft table. Pods must be gone. What is not there is no error."""
        for result in sorted(CNI_RESULTS.glob(f"{self._options.name}-*")):
            cached = _own_attachment(result, self._options)
            if cached is not None:
                await self._forget_attachment(result, cached)
        await delete_shared_chains()
        await close_firewall(self._options.bridge)
        shutil.rmtree(self._options.state, ignore_errors=True)
        delete_bridge(self._options.bridge)
        table = self._options.nft_table
        for family in ("ip", "ip6"):
            await _nft(f"add table {family} {table}\ndelete table {family} {table}\n")

    async def _forget_attachment(self, result: Path, cached: dict[str, Any]) -> None:
        if (cached.get("capabilityArgs") or {}).get("portMappings"):
            await delete_host_ports(self._options.name, cached)
        for loopback in CNI_RESULTS.glob(f"cni-loopback-{cached.get('containerId')}-*"):
            loopback.unlink(missing_ok=True)
        result.unlink(missing_ok=True)


def _own_attachment(result: Path, options: NetworkOptions) -> dict[str, Any] | None:
    """What the CNI library keeps of an attachment, if it was made with this node's list: other clusters on the machine may use the
    same network name, but each gives its addresses out from a directory of its own.
    """
    try:
        cached: dict[str, Any] = json.loads(result.read_text())
        plugins = json.loads(base64.b64decode(cached["config"]))["plugins"]
    except (OSError, ValueError, KeyError):
        return None
    directories = (plugin.get("ipam", {}).get("dataDir") for plugin in plugins)
    return cached if str(options.state) in directories else None


def delete_bridge(name: str) -> None:
    """Delete a bridge; does nothing if there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh22x", name.encode(), 0))
            fcntl.ioctl(control, _SIOCBRDELBR, struct.pack("16s", name.encode()))
        except OSError as error:
            if error.errno not in (errno.ENODEV, errno.ENXIO):
                raise


def _is_v6(cidr: str) -> bool:
    return ":" in cidr


async def _nft(commands: str) -> None:
    program = find_program("nft")
    if program is None:
        raise HostError("the program `nft` is missing: run `apt-get install nftables`")
    code, output = await run([program, "-f", "-"], commands)
    if code:
        raise HostError(f"nft refused the pods' rules: {output.strip()}")
