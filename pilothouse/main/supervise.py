"""The supervisor's process: it reads what to run from the cluster's settings."""

from __future__ import annotations

from pathlib import Path

from pilothouse.kit.clock import SystemClock
from pilothouse.main import credentials, settings
from pilothouse.main.cluster import processes
from pilothouse.main.failure import Fatal
from pilothouse.main.paths import Paths
from pilothouse.main.supervisor import AlreadyRunning, Supervisor


def supervise(paths: Paths, directory: Path | None) -> None:
    """Run the cluster's processes until told to stop. A second supervisor ends at once and harms nothing. Raises Fatal."""
    wanted = settings.load(paths)
    if wanted is None:
        raise Fatal(f"there is no cluster in {paths.data}: run `pilothouse up`")

    def renew() -> bool:
        return bool(credentials.ensure(paths, wanted, SystemClock()))

    try:
        Supervisor(paths, processes(wanted, paths, directory), renew).run()
    except AlreadyRunning:
        return
