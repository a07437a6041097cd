"""The pause program: its form on every architecture, its behaviour on this one."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
from pathlib import Path

import pytest

from pilothouse.main.runtime.pause import ARCHITECTURES, pause_program


def test_an_unknown_architecture_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="riscv64"):
        pause_program("riscv64")


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_it_is_one_small_segment_that_starts_after_the_headers(machine: str) -> None:
    program = pause_program(machine)
    assert program[:4] == b"\x7fELF"
    entry = struct.unpack_from("<Q", program, 24)[0]
    size = struct.unpack_from("<Q", program, 64 + 32)[0]
    assert entry == 0x400000 + 120
    assert size == len(program) < 400


@pytest.mark.skipif(os.uname().machine not in ARCHITECTURES, reason="no pause program for this architecture")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_waits_until_it_is_told_to_end(tmp_path: Path, number: signal.Signals) -> None:
    file = tmp_path / "pause"
    file.write_bytes(pause_program(os.uname().machine))
    file.chmod(0o755)
    process = subprocess.Popen([file])
    try:
        process.send_signal(signal.SIGCHLD)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.05)
        process.send_signal(number)
        assert process.wait(5) in (0, -number), "a signal before it has blocked signals ends it, too"
    finally:
        process.kill()
        process.wait()
