from __future__ import annotations

import gzip
from pathlib import Path

from pilothouse.kubelet.log_rotation import tidy


def test_rotated_logs_are_packed_and_the_oldest_removed(tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    log.write_text("current")
    for n in range(1, 7):
        (tmp_path / f"0.log.2026010{n}-000000").write_text(f"part {n}")
    (tmp_path / "1.log").write_text("another")
    tidy(log, "0.log.20260106-000000", 4)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        "0.log",
        "0.log.20260104-000000.gz",
        "0.log.20260105-000000.gz",
        "0.log.20260106-000000",
        "1.log",
    ]
    assert gzip.decompress((tmp_path / "0.log.20260105-000000.gz").read_bytes()) == b"part 5"
