"""The way for pods through a firewall that lets nothing pass by default, as Docker and ufw set it up in iptables.

Only where a chain's policy is DROP, rules are put before all others that let the pods' bridge through. They bear a comment by which they
are found again. A firewall written in nft directly, or by firewalld, has to be opened by its owner: no rule elsewhere overrides its drop.
"""

from __future__ import annotations

from pilothouse.kit.log import get_logger
from pilothouse.main.runtime.host_ports import run
from pilothouse.main.runtime.requirements import find_program

log = get_logger("pilothouse.runtime.firewall")

_DIRECTIONS = {"FORWARD": ("-i", "-o"), "INPUT": ("-i",)}


async def open_firewall(bridge: str) -> None:
    """Let the bridge through, as often as it is called."""
    program = find_program("iptables")
    for chain in _DIRECTIONS if program else ():
        _, listing = await run([str(program), "-S", chain], "")
        for arguments in openings(listing, chain, bridge):
            code, output = await run([str(program), *arguments], "")
            if code:
                log.warning("the firewall may keep pods from each other", chain=chain, reason=output.strip())


async def close_firewall(bridge: str) -> None:
    """Remove what `open_firewall` made."""
    program = find_program("iptables")
    for chain in _DIRECTIONS if program else ():
        _, listing = await run([str(program), "-S", chain], "")
        for arguments in closings(listing, bridge):
            await run([str(program), *arguments], "")


def openings(listing: str, chain: str, bridge: str) -> list[list[str]]:
    """The iptables commands that are still needed. `listing` is what `iptables -S CHAIN` prints."""
    lines = listing.splitlines()
    if f"-P {chain} DROP" not in lines:
        return []
    missing = [
        direction for direction in _DIRECTIONS[chain] if not any(_is_ours(line, direction, bridge) for line in lines)
    ]
    return [["-I", chain, direction, bridge, *_COMMENT, "-j", "ACCEPT"] for direction in missing]


def closings(listing: str, bridge: str) -> list[list[str]]:
    """The iptables commands that remove our rules."""
    lines = [
        line for line in listing.splitlines() if any(_is_ours(line, direction, bridge) for direction in ("-i", "-o"))
    ]
    return [["-D", *line.split()[1:]] for line in lines]


_COMMENT = ("-m", "comment", "--comment", "pilothouse")


def _is_ours(line: str, direction: str, bridge: str) -> bool:
    words = line.split()
    return words[0] == "-A" and words[2:4] == [direction, bridge] and " ".join(_COMMENT) in line
