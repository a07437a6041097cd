"""Pilothouse and another API server, measured in one run: each request of the one is followed by the same of the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from bench import upstream, verbs
from bench.cluster import api_server
from bench.report import Measurement
from bench.subject import Subject


async def measure(other: AbstractAsyncContextManager[Subject]) -> AsyncIterator[tuple[Measurement, Measurement]]:
    """Measurements of Pilothouse and of the other server, in turn. Raises Unmeasurable."""
    async with other as subject, api_server() as components:
        theirs = verbs.measure_subject(subject)
        async for ours in verbs.measure_subject(components.subject):
            yield ours, await anext(theirs)


def other_server(kubeconfig: str) -> AbstractAsyncContextManager[Subject]:
    """The server that a kubeconfig names; without one, upstream's from its binaries."""
    return upstream.from_kubeconfig(Path(kubeconfig)) if kubeconfig else upstream.from_binaries()
