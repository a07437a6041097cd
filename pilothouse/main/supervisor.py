"""Keeps a cluster's processes alive.

The supervisor starts each process, starts it again when it ends (at once if it had lived a while, otherwise with a growing delay),
and ends all of them, in reverse order, when it is told to stop. It holds a lock for as long as it lives. Processes outlive a killed
supervisor: the next one adopts them by their pid files, and any of them starts that next one (`watch_supervisor`). So whichever
process of a cluster is killed, it comes back, and nothing else is touched.

It uses blocking calls and the standard library only: it idles in a few megabytes.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pilothouse.main.paths import Paths

STEADY_AFTER_S = 10.0
"""A process that lived this long is started again at once."""
FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 10.0
STOP_AFTER_S = 20.0
"""How long a process may take to end after SIGTERM before it is killed."""
LOG_LIMIT_BYTES = 50 * 1024 * 1024
LOG_CHECK_S = 60.0
UPKEEP_S = 3600.0


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A process to keep alive. Processes start in order and stop in reverse."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


class AlreadyRunning(Exception):
    """Another supervisor holds the lock of these paths."""


def take_lock(paths: Paths) -> int:
    """A locked descriptor that names this process as the supervisor. Raises AlreadyRunning."""
    descriptor = os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise AlreadyRunning(f"a supervisor already runs for {paths.run}") from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def supervisor_pid(paths: Paths) -> int | None:
    """The process that holds the lock, or None."""
    try:
        with paths.lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = paths.lock.read_text().strip()
        return int(text) if text else None
    except FileNotFoundError:
        return None
    return None


def start_supervisor(paths: Paths, directory: Path | None) -> None:
    """Start a supervisor in a session of its own; it reads what to run from the cluster's settings."""
    argv = [sys.executable, "-m", "pilothouse.main", "supervise"]
    if directory is not None:
        argv += ["--directory", str(directory)]
    with paths.log_file("supervisor").open("ab") as log:
        subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, close_fds=True)


def start_time(pid: int) -> str | None:
    """When a process started, in clock ticks since boot: with the pid, its identity. None if it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]


class _Process:
    """One supervised process: running with a pidfd, or waiting to be started at `start_at`."""

    def __init__(self, spec: ProcessSpec, paths: Paths) -> None:
        self.spec = spec
        self._paths = paths
        self.pid = 0
        self.pidfd = -1
        self.since = 0.0
        self.restarts = 0
        self.delay_s = 0.0
        self.start_at: float | None = 0.0
        self._child: subprocess.Popen[bytes] | None = None

    def adopt(self) -> bool:
        """Take over the process of the pid file, if it still runs."""
        try:
            pid_text, started = self._paths.pid_file(self.spec.name).read_text().split()
            pid = int(pid_text)
        except (FileNotFoundError, ValueError):
            return False
        if start_time(pid) != started:
            return False
        try:
            self.pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        self.pid, self.since, self.start_at = pid, time.monotonic(), None
        return True

    def start(self) -> None:
        with self._paths.log_file(self.spec.name).open("ab") as log:
            self._child = subprocess.Popen(
                self.spec.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(self.spec),
                start_new_session=True,
            )
        self.pid = self._child.pid
        self.pidfd = os.pidfd_open(self.pid)
        self.since, self.start_at = time.monotonic(), None
        pid_file = self._paths.pid_file(self.spec.name)
        pid_file.write_text(f"{self.pid} {start_time(self.pid)}")

    def ended(self) -> None:
        """Note the end, and when to start again."""
        lived_s = time.monotonic() - self.since
        self.forget()
        self.delay_s = 0.0 if lived_s >= STEADY_AFTER_S else min(max(self.delay_s * 2, FIRST_DELAY_S), LONGEST_DELAY_S)
        self.restarts += 1
        self.start_at = time.monotonic() + self.delay_s

    def forget(self) -> None:
        os.close(self.pidfd)
        if self._child is not None:
            self._child.wait()
            self._child = None
        self.pid, self.pidfd = 0, -1
        self._paths.pid_file(self.spec.name).unlink(missing_ok=True)

    def stop(self) -> None:
        """End the process: SIGTERM, then SIGKILL."""
        if self.pidfd < 0:
            return
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        for signal_number, patience_s in ((signal.SIGTERM, STOP_AFTER_S), (signal.SIGKILL, STOP_AFTER_S)):
            try:
                signal.pidfd_send_signal(self.pidfd, signal_number)
                # A process that is stopped (SIGSTOP) would act on the first signal only when it is continued.
                signal.pidfd_send_signal(self.pidfd, signal.SIGCONT)
            except ProcessLookupError:
                break
            if poll.poll(patience_s * 1000):
                break
        self.forget()


def _environment(spec: ProcessSpec) -> dict[str, str]:
    """The process's environment: without the variable that keeps Python from keeping bytecode, which would cost a third of a second
    at each start, and without gRPC's hooks around fork, which only help programs that fork without exec.
    """
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, "GRPC_ENABLE_FORK_SUPPORT": "0", **spec.environment}


class Supervisor:
    """Runs the processes of `specs` until SIGTERM or SIGINT.

    `upkeep` is called every hour; if it says that something which processes read when they start has changed (their certificates),
    they are started anew, one after the other.
    """

    def __init__(self, paths: Paths, specs: Sequence[ProcessSpec], upkeep: Callable[[], bool] = lambda: False) -> None:
        self._paths = paths
        self._upkeep = upkeep
        self._processes = [_Process(spec, paths) for spec in specs]

    def run(self) -> None:
        """Return after every process has ended. Raises AlreadyRunning."""
        lock = take_lock(self._paths)
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            for process in self._processes:
                process.adopt()
            self._keep_alive(wake_read)
            for process in reversed(self._processes):
                process.stop()
            self._paths.state.unlink(missing_ok=True)
        finally:
            os.close(lock)

    def _keep_alive(self, wake: int) -> None:
        check_logs_at = time.monotonic() + LOG_CHECK_S
        upkeep_at = time.monotonic() + UPKEEP_S
        while True:
            changed = False
            for process in self._processes:
                if process.start_at is not None and process.start_at <= time.monotonic():
                    process.start()
                    changed = True
            if changed:
                self._write_state()
            poll = select.poll()
            poll.register(wake, select.POLLIN)
            for process in self._processes:
                if process.pidfd >= 0:
                    poll.register(process.pidfd, select.POLLIN)
            due = [process.start_at for process in self._processes if process.start_at is not None]
            timeout_s = max(min([*due, check_logs_at]) - time.monotonic(), 0)
            ready = {descriptor for descriptor, _ in poll.poll(timeout_s * 1000 + 1)}
            if wake in ready:
                return
            for process in self._processes:
                if process.pidfd in ready:
                    print(f"{process.spec.name} (pid {process.pid}) ended", file=sys.stderr, flush=True)
                    process.ended()
                    self._write_state()
            if time.monotonic() >= check_logs_at:
                self._rotate_logs()
                check_logs_at = time.monotonic() + LOG_CHECK_S
            if time.monotonic() >= upkeep_at:
                upkeep_at = time.monotonic() + UPKEEP_S
                self._look_after()

    def _look_after(self) -> None:
        try:
            is_changed = self._upkeep()
        except Exception as error:
            print(f"upkeep failed: {error}", file=sys.stderr, flush=True)
            return
        if is_changed:
            for process in self._processes:
                process.stop()
                process.start()
            self._write_state()

    def _write_state(self) -> None:
        """What `pilothouse status` shows."""
        state = [
            {"name": process.spec.name, "pid": process.pid, "restarts": process.restarts} for process in self._processes
        ]
        temporary = self._paths.state.with_suffix(".tmp")
        temporary.write_text(json.dumps(state))
        temporary.replace(self._paths.state)

    def _rotate_logs(self) -> None:
        """Keep one older generation of a log that has grown too large; its writers append, so it may be cut in place."""
        for log in self._paths.logs.glob("*.log"):
            if log.stat().st_size > LOG_LIMIT_BYTES:
                log.with_suffix(".log.1").write_bytes(log.read_bytes())
                os.truncate(log, 0)


def stop_processes(paths: Paths) -> None:
    """End what a killed supervisor left running, and keep the next one from starting meanwhile. Raises AlreadyRunning."""
    try:
        lock = take_lock(paths)
    except FileNotFoundError:
        return
    try:
        for file in paths.run.glob("*.pid"):
            process = _Process(ProcessSpec(file.stem, ()), paths)
            if process.adopt():
                process.stop()
    finally:
        os.close(lock)


async def watch_supervisor(paths: Paths, directory: Path | None) -> None:
    """Start a supervisor whenever there is none. Run by every supervised process.

    If several notice at once, all but the first to take the lock end again.
    """
    loop = asyncio.get_running_loop()
    while True:
        pid = supervisor_pid(paths)
        if pid is not None:
            try:
                pidfd = os.pidfd_open(pid)
            except ProcessLookupError:
                pidfd = -1
            if pidfd >= 0:
                gone = asyncio.Event()
                loop.add_reader(pidfd, gone.set)
                try:
                    await gone.wait()
                finally:
                    loop.remove_reader(pidfd)
                    os.close(pidfd)
        if supervisor_pid(paths) is None:
            start_supervisor(paths, directory)
        await asyncio.sleep(1)
