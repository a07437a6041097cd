from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pilothouse.main.paths import Paths, paths_for
from pilothouse.main.supervisor import start_time, supervisor_pid

SUPERVISE = """
import sys
from pathlib import Path
from pilothouse.main.paths import paths_for
from pilothouse.main import supervisor
from pilothouse.main.supervisor import ProcessSpec, Supervisor
supervisor.UPKEEP_S = 0.2
changed = Path(sys.argv[1]) / "changed"

def upkeep():
    was_there = changed.exists()
    changed.unlink(missing_ok=True)
    return was_there

sleep = (sys.executable, "-c", "import time; time.sleep(600)")
ends = (sys.executable, "-c", "print('I end')")
specs = [ProcessSpec("first", sleep), ProcessSpec("second", sleep), ProcessSpec("short", ends)]
Supervisor(paths_for(Path(sys.argv[1])), specs, upkeep).run()
"""


def until(condition: Callable[[], object], limit_s: float = 10.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def start(paths: Paths) -> subprocess.Popen[bytes]:
    child = subprocess.Popen([sys.executable, "-c", SUPERVISE, str(paths.run.parent)])
    until(lambda: supervisor_pid(paths) == child.pid and pid_of(paths, "second"))
    return child


def pid_of(paths: Paths, name: str) -> int:
    """The process of that name that runs now; 0 if none does."""
    try:
        pid, started = paths.pid_file(name).read_text().split()
    except (FileNotFoundError, ValueError):
        return 0
    return int(pid) if start_time(int(pid)) == started else 0


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[Paths]:
    made = paths_for(tmp_path)
    made.make()
    yield made
    supervisor = supervisor_pid(made)
    if supervisor is not None:
        os.kill(supervisor, signal.SIGTERM)
        until(lambda: supervisor_pid(made) is None, 60)
    for name in ("first", "second"):
        if pid := pid_of(made, name):
            os.kill(pid, signal.SIGKILL)


def test_what_ends_is_started_again_and_others_are_left_alone(paths: Paths) -> None:
    child = start(paths)
    first, second = pid_of(paths, "first"), pid_of(paths, "second")
    os.kill(first, signal.SIGKILL)
    until(lambda: pid_of(paths, "first") not in (0, first))
    assert pid_of(paths, "second") == second
    child.send_signal(signal.SIGTERM)
    assert child.wait(30) == 0
    assert start_time(second) is None
    assert supervisor_pid(paths) is None


def test_a_new_supervisor_adopts_what_a_killed_one_left(paths: Paths) -> None:
    child = start(paths)
    first, second = pid_of(paths, "first"), pid_of(paths, "second")
    child.kill()
    child.wait()
    again = start(paths)
    assert (pid_of(paths, "first"), pid_of(paths, "second")) == (first, second)
    os.kill(second, signal.SIGKILL)
    until(lambda: pid_of(paths, "second") not in (0, second))
    again.send_signal(signal.SIGTERM)
    assert again.wait(30) == 0
    assert start_time(first) is None


def test_there_is_only_one(paths: Paths) -> None:
    start(paths)
    other = subprocess.run(
        [sys.executable, "-c", SUPERVISE, str(paths.run.parent)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "AlreadyRunning" in other.stderr


def test_a_process_that_keeps_ending_is_started_ever_less_often(paths: Paths) -> None:
    child = start(paths)
    until(lambda: _restarts(paths, "short") >= 3)
    began = time.monotonic()
    until(lambda: _restarts(paths, "short") >= 5)
    assert time.monotonic() - began > 0.5
    child.send_signal(signal.SIGTERM)
    child.wait(30)
    assert "I end" in paths.log_file("short").read_text()


def test_processes_start_anew_when_what_they_read_has_changed(paths: Paths) -> None:
    start(paths)
    first, second = pid_of(paths, "first"), pid_of(paths, "second")
    (paths.run.parent / "changed").touch()
    until(lambda: pid_of(paths, "first") not in (0, first) and pid_of(paths, "second") not in (0, second))


def _restarts(paths: Paths, name: str) -> int:
    try:
        state = json.loads(paths.state.read_text())
    except FileNotFoundError:
        return 0
    return next(process["restarts"] for process in state if process["name"] == name)
