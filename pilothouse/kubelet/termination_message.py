"""What a container left to say when it ended: its termination message.

The message is the file that was mounted at `terminationMessagePath`, or, with FallbackToLogsOnError after a failure, the end of its log.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import orjson

from pilothouse.kubelet.runtime.labels import MESSAGE_PATH_ANNOTATION, MESSAGE_POLICY_ANNOTATION
from pilothouse.kubelet.runtime.records import ContainerRecord, ContainerState, PodRecord

MAX_FILE_BYTES = 4096
MAX_LOG_BYTES = 2048
MAX_LOG_LINES = 80


def with_messages(record: PodRecord, known: PodRecord | None) -> PodRecord:
    """`record` with the messages of the containers that have ended since `known`."""
    ended = {c.id for c in known.containers if c.state is ContainerState.EXITED} if known is not None else set()
    containers = tuple(
        replace(container, message=message_of(container) or container.message)
        if container.state is ContainerState.EXITED and container.id not in ended
        else container
        for container in record.containers
    )
    return replace(record, containers=containers)


def message_of(container: ContainerRecord) -> str:
    """The message that an ended container left; empty if none."""
    path = container.mounts.get(container.annotations.get(MESSAGE_PATH_ANNOTATION, ""))
    if path:
        try:
            with Path(path).open("rb") as file:
                data = file.read(MAX_FILE_BYTES)
        except OSError as error:
            return f"Error on reading termination log {path}: {error.strerror}"
        if data:
            return data.decode(errors="replace")
    falls_back = container.annotations.get(MESSAGE_POLICY_ANNOTATION) == "FallbackToLogsOnError"
    if falls_back and container.exit_code != 0 and container.log_path:
        return _end_of_log(Path(container.log_path))
    return ""


def _end_of_log(path: Path) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            # Each line carries a time stamp and tags of its own, which do not count.
            file.seek(max(0, size - MAX_LOG_BYTES - MAX_LOG_LINES * 50))
            lines = file.read().split(b"\n")[-MAX_LOG_LINES - 1 :]
    except OSError:
        return ""
    text = b"".join(_content(line) for line in lines if line)
    return text[-MAX_LOG_BYTES:].decode(errors="replace")


def _content(line: bytes) -> bytes:
    """What was printed, of a log line in CRI's format (or Docker's JSON)."""
    if line.startswith(b"{"):
        try:
            return str(orjson.loads(line).get("log", "")).encode()
        except orjson.JSONDecodeError:
            return b""
    fields = line.split(b" ", 3)
    if len(fields) < 4:
        return b""
    return fields[3] if fields[2].startswith(b"P") else fields[3] + b"\n"
