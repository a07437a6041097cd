"""Failures that a person must hear of in one sentence.

A component that cannot run says why and ends with `EXIT_STATUS`; under a supervisor it also leaves the sentence in a file, from which
`pilothouse up` and `pilothouse status` show it.
"""

from __future__ import annotations

from pathlib import Path

EXIT_STATUS = 78
"""EX_CONFIG of sysexits.h: starting again will not help until a person acts."""


class Fatal(Exception):
    """What happened, to what, and what to do next, in one sentence."""


def error_file(run: Path, component: str) -> Path:
    return run / f"{component}.error"


def last_errors(run: Path) -> dict[str, str]:
    """The sentence that each failed component left."""
    return {path.stem: path.read_text().strip() for path in sorted(run.glob("*.error"))}


def sentences(group: BaseExceptionGroup[BaseException]) -> str:
    """What the exceptions in a group say, however deep in it they are."""
    return "; ".join(
        sentences(error) if isinstance(error, BaseExceptionGroup) else str(error) for error in group.exceptions
    )
