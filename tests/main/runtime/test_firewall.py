"""Which rules are added to a closed firewall, and removed again."""

from __future__ import annotations

import pytest

from pilothouse.main.runtime.firewall import closings, openings

CLOSED = "-P FORWARD DROP\n-A FORWARD -j DOCKER-USER\n"
OPENED = (
    "-P FORWARD DROP\n"
    "-A FORWARD -o pilothouse0 -m comment --comment pilothouse -j ACCEPT\n"
    "-A FORWARD -i pilothouse0 -m comment --comment pilothouse -j ACCEPT\n"
    "-A FORWARD -i pilothouse0 -j LOG\n"
    "-A FORWARD -j DOCKER-USER\n"
)


def rule(verb: str, direction: str) -> list[str]:
    return f"{verb} FORWARD {direction} pilothouse0 -m comment --comment pilothouse -j ACCEPT".split()


@pytest.mark.parametrize("listing", ["-P FORWARD ACCEPT\n-A FORWARD -j DOCKER-USER\n", "", OPENED])
def test_nothing_is_added_where_nothing_is_needed(listing: str) -> None:
    assert openings(listing, "FORWARD", "pilothouse0") == []


def test_a_closed_chain_is_opened_in_each_direction() -> None:
    assert openings(CLOSED, "FORWARD", "pilothouse0") == [rule("-I", "-i"), rule("-I", "-o")]
    half = OPENED.replace("-A FORWARD -i pilothouse0 -m", "-A FORWARD -i other0 -m")
    assert openings(half, "FORWARD", "pilothouse0") == [rule("-I", "-i")]
    assert len(openings("-P INPUT DROP\n", "INPUT", "pilothouse0")) == 1


def test_only_our_own_rules_are_removed() -> None:
    assert closings(OPENED, "pilothouse0") == [rule("-D", "-o"), rule("-D", "-i")]
    assert closings(OPENED, "other0") == []
