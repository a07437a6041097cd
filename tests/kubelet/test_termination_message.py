from __future__ import annotations

from pathlib import Path
from typing import Any

from pilothouse.api.meta import UID
from pilothouse.kubelet.runtime.labels import MESSAGE_PATH_ANNOTATION, MESSAGE_POLICY_ANNOTATION
from pilothouse.kubelet.runtime.records import ContainerRecord, ContainerState, PodRecord
from pilothouse.kubelet.termination_message import message_of, with_messages

STAMP = "2026-01-01T00:00:00.000000000Z"


def ended(
    directory: Path, *, code: int = 1, policy: str = "File", message: bytes | None = b"", log: str = "", **rest: Any
) -> ContainerRecord:
    if message is not None:
        (directory / "message").write_bytes(message)
    (directory / "0.log").write_text(log)
    return ContainerRecord(
        "c", "s", "main", 0, ContainerState.EXITED, 1.0,
        exit_code=code,
        log_path=str(directory / "0.log"),
        annotations={MESSAGE_PATH_ANNOTATION: "/m", MESSAGE_POLICY_ANNOTATION: policy},
        mounts={"/m": str(directory / "message")},
        **rest,
    )  # fmt: skip


def test_the_file_is_read_and_cut(tmp_path: Path) -> None:
    assert message_of(ended(tmp_path, message=b"why\n")) == "why\n"
    assert message_of(ended(tmp_path, message=b"\xff" + b"x" * 5000)) == "\ufffd" + "x" * 4095


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    missing = ended(tmp_path, message=None)
    assert "Error on reading termination log" in message_of(missing)


def test_the_log_stands_in_only_after_an_error_and_only_if_asked(tmp_path: Path) -> None:
    log = f"{STAMP} stdout F one\n{STAMP} stderr P par\n{STAMP} stderr F tial\n"
    assert message_of(ended(tmp_path, log=log)) == ""
    assert message_of(ended(tmp_path, log=log, policy="FallbackToLogsOnError", code=0)) == ""
    assert message_of(ended(tmp_path, log=log, policy="FallbackToLogsOnError")) == "one\npartial\n"
    assert message_of(ended(tmp_path, log=log, policy="FallbackToLogsOnError", message=b"said")) == "said"


def test_only_the_end_of_a_long_log_is_taken(tmp_path: Path) -> None:
    log = "".join(f"{STAMP} stdout F {n}\n" for n in range(1000))
    text = message_of(ended(tmp_path, log=log, policy="FallbackToLogsOnError"))
    assert text.splitlines()[-1] == "999"
    assert len(text.splitlines()) <= 80


def test_a_message_is_read_once(tmp_path: Path) -> None:
    record = PodRecord(UID("u"), containers=(ended(tmp_path, message=b"why"),))
    first = with_messages(record, None)
    assert first.containers[0].message == "why"
    (tmp_path / "message").unlink()
    assert with_messages(first, first) == first
