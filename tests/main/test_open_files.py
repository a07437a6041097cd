"""The limit of open files, in a process of its own: it cannot be taken back."""

from __future__ import annotations

import subprocess
import sys

_CODE = """
import resource
from pilothouse.main.open_files import raise_open_files
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
print(raise_open_files(), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_as_many_files_as_the_machine_allows() -> None:
    answer = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, text=True, check=True, timeout=30)
    assert answer.stdout.split() == ["200", "200", "200"]
