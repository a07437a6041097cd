"""`python -m tests.e2e.host DIRECTORY`: containerd and the pods' network of a node whose kubelet somebody else starts."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from pathlib import Path

from pilothouse.client.informer import InformerFactory
from pilothouse.kit.clock import SystemClock
from pilothouse.main import credentials, settings
from pilothouse.main.connect import connect
from pilothouse.main.node_host import NodeHost, PodNetwork
from pilothouse.main.paths import paths_for


async def run(directory: Path) -> None:
    """Until the signal to terminate; then everything is removed."""
    paths, clock = paths_for(directory), SystemClock()
    found = settings.load(paths)
    assert found is not None
    host = NodeHost(paths, found, clock)
    informers = InformerFactory(connect(str(credentials.kubeconfig_path(paths, credentials.PROXY)), "host"), clock)
    network = PodNetwork(host, informers, found.node_name)
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        host.prepare()
        async with asyncio.TaskGroup() as group:
            for work in (host.containerd.run, informers.run, network.run):
                group.create_task(work())
    finally:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(host.clean())


if __name__ == "__main__":
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(run(Path(sys.argv[1])))
