"""An API server that is measured, wherever it comes from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bench.http import Server


@dataclass(frozen=True, slots=True)
class Subject:
    """`used_s` tells the CPU time used so far: the server's, and its store's where that is a process of its own."""

    server: Server
    used_s: Callable[[], Awaitable[float]]
