"""What the CNI plugin `portmap` leaves in iptables: a chain a pod, which it removes itself when asked, and three chains for all pods,
which it never removes.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from pilothouse.kit.log import get_logger
from pilothouse.main.runtime.requirements import cni_directory, find_program

log = get_logger("pilothouse.runtime.host_ports")

_SHARED_CHAINS = ("CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-MASQ", "CNI-HOSTPORT-SETMARK")
_PROGRAMS = {"iptables": "ip", "ip6tables": "ip6"}


async def delete_host_ports(network: str, cached: Mapping[str, Any]) -> None:
    """Remove the host ports of one pod. `cached` is the result of its attachment as the CNI library keeps it."""
    directory = cni_directory(("portmap",))
    if directory is None:
        return
    configuration = {
        "cniVersion": "1.0.0",
        "name": network,
        "type": "portmap",
        "snat": True,
        "runtimeConfig": {"portMappings": cached["capabilityArgs"]["portMappings"]},
        "prevResult": cached.get("result"),
    }
    environment = {
        **os.environ,
        "CNI_COMMAND": "DEL",
        "CNI_CONTAINERID": str(cached.get("containerId", "")),
        "CNI_NETNS": "",
        "CNI_IFNAME": str(cached.get("ifName", "eth0")),
        "CNI_PATH": str(directory),
    }
    code, output = await run([str(directory / "portmap")], json.dumps(configuration), environment)
    if code:
        log.warning(
            "host ports of a pod remain in iptables", container=cached.get("containerId"), reason=output.strip()
        )


async def delete_shared_chains() -> None:
    """Remove the chains for all pods, unless a pod (of ours or of anyone's) still has a host port, and the tables made for them."""
    was_used = False
    for program in _PROGRAMS:
        save, restore = find_program(f"{program}-save"), find_program(f"{program}-restore")
        if save is None or restore is None or not (rules := removal(await _nat_rules(save))):
            continue
        was_used = True
        code, output = await run([restore, "--noflush"], rules)
        if code:
            log.warning("chains of the host ports remain in iptables", reason=output.strip())
    nft = find_program("nft")
    for program, family in _PROGRAMS.items() if was_used and nft else ():
        save = find_program(f"{program}-save")
        if nft and save and is_empty(await _nat_rules(save)):
            await run([nft, "delete", "table", family, "nat"], "")


def removal(saved: str) -> str:
    """The input of `iptables-restore --noflush` that removes the shared chains; empty if there are none or they are in use.

    `saved` is what `iptables-save -t nat` prints.
    """
    lines = saved.splitlines()
    chains = [chain for chain in _SHARED_CHAINS if any(line.startswith(f":{chain} ") for line in lines)]
    if not chains or any(line.startswith("-A CNI-HOSTPORT-DNAT ") for line in lines):
        return ""
    jumps = [
        line.replace("-A ", "-D ", 1)
        for line in lines
        if line.startswith("-A ") and line.rpartition("-j ")[2] in chains and line.split()[1] not in chains
    ]
    emptied = [f":{chain} - [0:0]" for chain in chains]
    return "\n".join(["*nat", *emptied, *jumps, *(f"-X {chain}" for chain in chains), "COMMIT", ""])


def is_empty(saved: str) -> bool:
    """Whether the table has neither a rule nor a chain beside the built-in ones."""
    lines = saved.splitlines()
    return not any(line.startswith("-A ") or (line.startswith(":") and line.split()[1] == "-") for line in lines)


async def _nat_rules(save: str) -> str:
    _, output = await run([save, "-t", "nat"], "")
    return output


async def run(command: Sequence[str], text: str, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run a program with `text` as its input; its exit code and what it printed.

    The input is a file in memory: a program that ends without reading it breaks no pipe.
    """
    given = os.memfd_create("input")
    try:
        os.write(given, text.encode())
        os.lseek(given, 0, os.SEEK_SET)
        process = await asyncio.create_subprocess_exec(
            *command, stdin=given, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=environment
        )
    finally:
        os.close(given)
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    return process.returncode or 0, output.decode(errors="replace")
