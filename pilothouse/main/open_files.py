"""How many files and connections this process may have open."""

from __future__ import annotations

import resource

KEPT = 256
"""Files that a server keeps for itself: its database, connections to webhooks and kubelets, what it reads at the start."""


def raise_open_files() -> int:
    """Take as many as the machine allows, as Go programs do at their start; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        return soft
    return hard
