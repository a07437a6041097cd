from __future__ import annotations

import pytest

from pilothouse.kubelet.containerd_events import decode
from pilothouse.kubelet.runtime.records import RuntimeEvent


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return bytes([number << 3]) + varint(value)
    return bytes([number << 3 | 2]) + varint(len(value)) + value


def varint(value: int) -> bytes:
    encoded = b""
    while value >= 0x80:
        encoded += bytes([value & 0x7F | 0x80])
        value >>= 7
    return encoded + bytes([value])


def envelope(topic: bytes, event: bytes) -> bytes:
    timestamp = field(1, 1_800_000_000) + field(2, 12345)
    return field(1, timestamp) + field(2, b"k8s.io") + field(3, topic) + field(4, field(1, b"type") + field(2, event))


def test_an_exit_of_the_containers_own_process() -> None:
    event = field(1, b"c1") + field(2, b"c1") + field(3, 4242) + field(4, 137)
    assert decode(envelope(b"/tasks/exit", event)) == RuntimeEvent("c1", kind="exit")


def test_an_exit_of_an_execed_process_is_none_of_ours() -> None:
    assert decode(envelope(b"/tasks/exit", field(1, b"c1") + field(2, b"exec-1"))) is None


def test_other_topics() -> None:
    assert decode(envelope(b"/tasks/oom", field(1, b"c" * 200))) == RuntimeEvent("c" * 200, kind="oom")
    assert decode(envelope(b"/images/create", field(1, b"i"))) is None
    assert decode(b"") is None


def test_numbers_of_every_width_are_skipped() -> None:
    padded = (
        bytes([9 << 3 | 1]) + b"8" * 8 + bytes([10 << 3 | 5]) + b"4" * 4 + envelope(b"/tasks/start", field(1, b"c"))
    )
    assert decode(padded) == RuntimeEvent("c", kind="start")


@pytest.mark.parametrize("broken", [b"\x0a\x05ab", b"\x80", b"\x0b", b"\x0a"])
def test_broken_wire_data(broken: bytes) -> None:
    with pytest.raises(ValueError, match="protobuf"):
        decode(broken)
