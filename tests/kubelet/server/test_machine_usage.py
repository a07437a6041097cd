"""What the machine uses, from files as the kernel writes them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pilothouse.kubelet.server.machine_usage import default_interface, disk_usage, interfaces, node_usage, space

NET_DEV = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:  752 10 0 0 0 0 0 0 752 10 0 0 0 0 0 0
  eth0: 4030 41 1 0 0 0 0 0 744 9 2 0 0 0 0 0
"""
ROUTE = """\
Iface	Destination	Gateway 	Flags
eth1	0002000A	00000000	0001
eth0	00000000	0102000A	0003
"""


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    files = {
        "meminfo": "MemTotal: 1000 kB\nMemFree: 400 kB\nInactive(file): 100 kB\nAnonPages: 50 kB\n",
        "vmstat": "pgfault 7\npgmajfault 2\n",
        "stat": "cpu  100 1 10 5000 30 1 2 3 0 0\ncpu0 1 1 1 1 1 1 1 1\nbtime 1700000000\n",
        "loadavg": "0.00 0.01 0.05 1/321 4242\n",
        "sys/kernel/pid_max": "32768\n",
        "42/net/dev": NET_DEV,
        "42/net/route": ROUTE,
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_the_node(proc: Path) -> None:
    usage = node_usage(proc)
    assert usage.cpu_nanoseconds == 117 * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    assert (usage.memory_used, usage.memory_working_set, usage.memory_rss) == (600 << 10, 500 << 10, 50 << 10)
    assert (usage.page_faults, usage.major_page_faults, usage.processes) == (7, 2, 321)
    assert (usage.swap_used, usage.booted_at, usage.max_processes) == (0, 1_700_000_000, 32768)


def test_the_network_of_a_process(proc: Path) -> None:
    (eth0,) = interfaces("42", proc)
    assert (eth0.name, eth0.rx_bytes, eth0.rx_errors, eth0.tx_bytes, eth0.tx_errors) == ("eth0", 4030, 1, 744, 2)
    assert default_interface("42", proc) == "eth0"


def test_the_network_of_a_process_that_is_gone(proc: Path) -> None:
    assert interfaces("43", proc) == []
    assert default_interface("43", proc) == ""


def test_disk_usage_counts_a_file_once_and_follows_no_link(tmp_path: Path) -> None:
    directory = tmp_path / "volume"
    (directory / "sub").mkdir(parents=True)
    (tmp_path / "outside").write_bytes(b"x" * 100_000)
    empty, _ = disk_usage(directory)
    (directory / "sub" / "file").write_bytes(b"x" * 8192)
    os.link(directory / "sub" / "file", directory / "again")
    (directory / "link").symlink_to(tmp_path / "outside")
    used, inodes = disk_usage(directory)
    assert inodes == 4
    assert 8192 <= used - empty < 100_000


def test_what_is_not_there(tmp_path: Path) -> None:
    assert disk_usage(tmp_path / "none") == (0, 0)
    assert space(tmp_path / "none") is None
