"""`python -m tests.e2e.nodes DIRECTORY`: simulated nodes of a cluster whose other components somebody else starts."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

from pilothouse.api.meta import NodeName
from pilothouse.kit.clock import SystemClock
from pilothouse.kubelet.options import KubeletOptions
from pilothouse.main import credentials, kubelet_parts, settings
from pilothouse.main.connect import connect
from pilothouse.main.paths import paths_for


async def run(directory: Path) -> None:
    paths = paths_for(directory)
    found = settings.load(paths)
    assert found is not None
    async with asyncio.TaskGroup() as group:
        for name in credentials.node_names(found):
            client = connect(str(credentials.kubeconfig_path(paths, credentials.node_client(name))), "kubelet")
            options = KubeletOptions(NodeName(name), (found.node_ip,), root_dir=paths.kubelet / name, port=10250)
            kubelet = kubelet_parts.simulated(client, options, SystemClock(), random.Random())
            group.create_task(kubelet.run())


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1])))
