"""UDP flows that the kernel still sends to an endpoint that is gone.

A connected TCP client notices; a UDP client that keeps its port keeps its flow, and with it the old endpoint, for as long as it sends.
Such flows are deleted, as are those that began before the Service had an endpoint. Flows to endpoints that serve are left alone,
whatever the traffic policy says now.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pilothouse.kit.log import get_logger
from pilothouse.proxy.services import Endpoint, Family, ServicePort

log = get_logger("pilothouse.proxy.conntrack")

_FIELD = re.compile(r"\b(src|dst|sport|dport)=(\S+)")


class Frontend(NamedTuple):
    """An address and port that clients use; the address is empty for a node port."""

    ip: str
    port: int


class Flow(NamedTuple):
    """Flows from any client to a destination that are answered by one source."""

    destination: str
    port: int
    answered_by: str


def frontends_of(port: ServicePort, endpoints: Sequence[Endpoint]) -> dict[Frontend, frozenset[tuple[str, int]]]:
    """The frontends of a UDP port with their serving endpoints; nothing for other protocols and without endpoints."""
    serving = frozenset((endpoint.ip, endpoint.port) for endpoint in endpoints if endpoint.is_serving)
    if port.protocol != "udp" or not serving:
        return {}
    addresses = (port.cluster_ip, *port.external_ips, *port.load_balancer_ips)
    found = {Frontend(address, port.port): serving for address in addresses}
    if port.node_port:
        found[Frontend("", port.node_port)] = serving
    return found


def stale_flows(listing: str, frontends: Mapping[Frontend, frozenset[tuple[str, int]]]) -> set[Flow]:
    """The flows in what `conntrack -L` prints that lead from a frontend to anything but one of its endpoints."""
    stale = set()
    for line in listing.splitlines():
        fields = _FIELD.findall(line)
        values = [value for _, value in fields]
        if [name for name, _ in fields] != ["src", "dst", "sport", "dport"] * 2:
            continue
        destination, port = values[1], int(values[3])
        endpoints = frontends.get(Frontend(destination, port)) or frontends.get(Frontend("", port))
        if endpoints is not None and (values[4], int(values[6])) not in endpoints:
            stale.add(Flow(destination, port, values[4]))
    return stale


class Conntrack:
    """The kernel's table of flows, through the program `conntrack`, started by `launcher` if it is to run elsewhere."""

    def __init__(self, launcher: Sequence[str] = ()) -> None:
        path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
        self._program = shutil.which("conntrack", path=path)
        self._launcher = tuple(launcher)

    async def flush(self, family: Family, frontends: Mapping[Frontend, frozenset[tuple[str, int]]]) -> int:
        """Delete the stale flows; how many kinds there were. Does nothing if the program is missing."""
        if not frontends or self._program is None:
            return 0
        listing = await self._run(["-L", "-p", "udp", "-f", family.api_name.lower()])
        stale = stale_flows(listing, frontends)
        for flow in sorted(stale):
            await self._run(
                ["-D", "-p", "udp", "-f", family.api_name.lower(), "--orig-dst", flow.destination,
                 "--orig-port-dst", str(flow.port), "--reply-src", flow.answered_by]
            )  # fmt: skip
        return len(stale)

    async def _run(self, arguments: Iterable[str]) -> str:
        process = await asyncio.create_subprocess_exec(
            *self._launcher,
            str(self._program),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        if process.returncode and b"0 flow entries" not in errors:
            log.warning("conntrack failed", reason=errors.decode(errors="replace").strip())
        return output.decode(errors="replace")
