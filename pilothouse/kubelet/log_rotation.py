"""Keeps the logs of containers within bounds: a log over its size is set aside, the oldest are compressed, then removed."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import shutil
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from pilothouse.kit.clock import Clock
from pilothouse.kit.log import get_logger
from pilothouse.kubelet.options import KubeletOptions
from pilothouse.kubelet.runtime.failures import RuntimeFailure
from pilothouse.kubelet.runtime.records import ContainerRecord
from pilothouse.kubelet.runtime.runtime import Runtime

log = get_logger("pilothouse.kubelet.logs")

_PERIOD_S = 10.0


class LogRotation:
    """Rotates the logs of running containers."""

    def __init__(
        self, runtime: Runtime, running: Callable[[], Iterable[ContainerRecord]], options: KubeletOptions, clock: Clock
    ) -> None:
        self._runtime = runtime
        self._running = running
        self._options = options
        self._clock = clock

    async def run(self) -> None:
        """Look every few seconds until cancelled."""
        while True:
            await self._clock.sleep(_PERIOD_S)
            for container in list(self._running()):
                path = Path(container.log_path)
                with contextlib.suppress(OSError):
                    if container.log_path and path.stat().st_size > self._options.log_max_bytes:
                        await self._rotate(container.id, path)

    async def _rotate(self, container_id: str, path: Path) -> None:
        stamp = datetime.fromtimestamp(self._clock.now(), UTC).strftime("%Y%m%d-%H%M%S")
        aside = path.with_name(f"{path.name}.{stamp}")
        path.rename(aside)
        try:
            await self._runtime.reopen_log(container_id)
        except RuntimeFailure as error:
            log.warning("log not reopened", container=container_id, error=str(error))
            aside.rename(path)
            return
        await asyncio.to_thread(tidy, path, aside.name, self._options.log_max_files)


def tidy(path: Path, newest: str, max_files: int) -> None:
    """Compress the logs that were set aside, but for `newest`, which may still be written; keep `max_files` with the current one."""
    rotated = sorted(entry.name for entry in os.scandir(path.parent) if entry.name.startswith(f"{path.name}."))
    for name in rotated[: max(0, len(rotated) - (max_files - 1))]:
        (path.parent / name).unlink(missing_ok=True)
        rotated.remove(name)
    for name in rotated:
        if name == newest or name.endswith(".gz"):
            continue
        source = path.parent / name
        partial = path.parent / f".{name}.gz.partial"
        with source.open("rb") as plain, gzip.open(partial, "wb") as packed:
            shutil.copyfileobj(plain, packed)
        partial.rename(path.parent / f"{name}.gz")
        source.unlink()
