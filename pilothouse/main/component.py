"""How a component runs as a process: flags, logs, signals, and the sentence it leaves when it cannot go on."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pilothouse.main.failure import EXIT_STATUS, Fatal, error_file, sentences
from pilothouse.main.flags import Flag, FlagError, HelpRequested, Values, integer, parse

if TYPE_CHECKING:
    from pilothouse.main.paths import Paths

DIRECTORY_VARIABLE = "PILOTHOUSE_SUPERVISED"
"""Set by the supervisor to its run directory (and, after a colon, the cluster's `--directory`) in the processes it keeps."""

VERBOSITY = Flag("v", 0, "log verbosity; 4 and more log everything", integer)


@dataclass(frozen=True, slots=True)
class Component:
    """A component as a command: its flags, and what runs until cancelled. `run` raises Fatal if it cannot."""

    name: str
    flags: Sequence[Flag]
    run: Callable[[Values], Awaitable[None]]


def run_component(component: Component, arguments: Sequence[str]) -> int:
    """Run a component until it ends or is told to; the exit status."""
    try:
        values = parse(component.name, (*component.flags, VERBOSITY), arguments)
    except HelpRequested as help_text:
        print(help_text)
        return 0
    except FlagError as error:
        return _fail(component.name, f"{error}")
    from pilothouse.kit import log

    log.configure(values.v)
    import uvloop

    run_directory = _run_directory()
    if run_directory is not None:
        error_file(run_directory, component.name).unlink(missing_ok=True)
    try:
        uvloop.run(_until_signalled(component.run(values)))
    except Fatal as error:
        return _fail(component.name, str(error))
    except BaseExceptionGroup as group:
        fatal, others = group.split(Fatal)
        if fatal is None or others is not None:
            raise
        return _fail(component.name, sentences(fatal))
    return 0


async def _until_signalled(run: Awaitable[None]) -> None:
    task = asyncio.ensure_future(run)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    supervisor = asyncio.ensure_future(_watch_supervisor())
    try:
        await task
    except asyncio.CancelledError:
        return
    finally:
        supervisor.cancel()


async def _watch_supervisor() -> None:
    supervised = os.environ.get(DIRECTORY_VARIABLE)
    if supervised is None:
        return
    from pilothouse.main.paths import paths_for
    from pilothouse.main.supervisor import watch_supervisor

    directory = Path(supervised) if supervised else None
    await watch_supervisor(paths_for(directory), directory)


def supervised_paths() -> Paths:
    """The paths of the cluster that this process belongs to. Raises Fatal for one that was started by hand."""
    from pilothouse.main.paths import paths_for

    supervised = os.environ.get(DIRECTORY_VARIABLE)
    if supervised is None:
        raise Fatal("this process is part of a cluster on this machine: run `pilothouse up`, which starts it")
    return paths_for(Path(supervised) if supervised else None)


def _run_directory() -> Path | None:
    return supervised_paths().run if DIRECTORY_VARIABLE in os.environ else None


def _fail(name: str, sentence: str) -> int:
    print(f"pilothouse {name}: {sentence}", file=sys.stderr)
    run_directory = _run_directory()
    if run_directory is not None:
        error_file(run_directory, name).write_text(sentence + "\n")
    return EXIT_STATUS
