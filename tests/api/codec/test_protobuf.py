"""Kubernetes' protobuf envelopes, written here by hand."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path

import orjson
import pytest

from pilothouse.api.codec import protobuf
from pilothouse.api.codec.protobuf import MalformedMessage


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, value: bytes | str | int) -> bytes:
    """One field: an integer as a varint, anything else by its length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def envelope(api_version: str, kind: str, raw: bytes) -> bytes:
    return (
        protobuf.MAGIC + field(1, field(1, api_version) + field(2, kind)) + field(2, raw) + field(3, "") + field(4, "")
    )


METADATA = field(1, "web") + field(3, "default") + field(11, field(1, "app") + field(2, "web")) + field(8, b"")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        protobuf.MAGIC + b"\xff",
        protobuf.MAGIC + field(2, b""),
        envelope("v1", "Nonsense", b""),
        envelope("v1", "Pod", b"\x0a\xff\x01a"),
        envelope("v1", "Pod", b"\x0a"),
        envelope("v1", "Pod", b"\x0b"),
        envelope("v1", "Pod", field(1, 3)),
        envelope("v1", "Pod", b"\x0a\x03\x0a\x01\xff"),
        envelope("v1", "Pod", b"\x08" + b"\xff" * 11),
    ],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        protobuf.decode(data)


def test_a_message_nested_without_end_is_refused() -> None:
    schema = b""
    for _ in range(100):
        schema = field(3, schema)
    with pytest.raises(MalformedMessage):
        protobuf.decode(envelope("autoscaling/v2", "HorizontalPodAutoscaler", schema) + b"\x0a")


def test_a_pod() -> None:
    volume = field(1, "v") + field(2, field(19, field(1, field(1, "cm"))))
    memory = field(1, "memory") + field(2, field(1, "64Mi"))
    container = (
        field(1, "c")
        + field(2, "nginx")
        + field(3, "sh")
        + field(3, "-c")
        + field(8, field(2, memory))
        + field(10, field(1, field(2, field(1, "/") + field(2, field(1, 1) + field(3, "http")))) + field(2, 3))
    )
    spec = field(1, volume) + field(2, container) + field(4, 30) + field(11, 1) + field(5, -1)
    obj = protobuf.decode(envelope("v1", "Pod", field(1, METADATA) + field(2, spec) + field(3, b"") + field(99, "new")))
    assert obj == {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
        "spec": {
            "volumes": [{"name": "v", "configMap": {"name": "cm"}}],
            "containers": [
                {
                    "name": "c",
                    "image": "nginx",
                    "command": ["sh", "-c"],
                    "resources": {"requests": {"memory": "64Mi"}},
                    "livenessProbe": {"httpGet": {"path": "/", "port": "http"}, "initialDelaySeconds": 3},
                }
            ],
            "terminationGracePeriodSeconds": 30,
            "hostNetwork": True,
            "activeDeadlineSeconds": -1,
        },
    }


def test_bytes_are_base64_and_empty_values_stay_in_maps() -> None:
    data = field(2, field(1, "a") + field(2, b"\x00\xff")) + field(2, field(1, "b"))
    assert protobuf.decode(envelope("v1", "Secret", data))["data"] == {"a": "AP8=", "b": ""}


def test_times() -> None:
    lease = field(2, field(1, "me") + field(4, field(1, 1_700_000_000) + field(2, 5000)))
    obj = protobuf.decode(
        envelope("coordination.k8s.io/v1", "Lease", field(1, field(8, field(1, 1_700_000_000))) + lease)
    )
    assert obj["metadata"]["creationTimestamp"] == "2023-11-14T22:13:20Z"
    assert obj["spec"]["renewTime"] == "2023-11-14T22:13:20.000005Z"


def test_options_come_under_any_group() -> None:
    obj = protobuf.decode(envelope("apps/v1", "DeleteOptions", field(1, 0) + field(4, "Foreground")))
    assert obj == {
        "kind": "DeleteOptions",
        "apiVersion": "apps/v1",
        "gracePeriodSeconds": 0,
        "propagationPolicy": "Foreground",
    }


def pairs() -> list[tuple[bytes, bytes]]:
    """Objects in JSON, and what upstream's own encoder (client-go of v1.36) makes of them."""
    lines = (Path(__file__).parent / "golden.txt").read_text().splitlines()
    return [(obj.encode(), b64decode(data)) for obj, data in zip(lines[::2], lines[1::2], strict=True)]


@pytest.mark.parametrize(
    ("json", "data"), pairs(), ids=lambda value: orjson.loads(value)["kind"] if value[:1] == b"{" else ""
)
def test_the_same_bytes_as_upstream(json: bytes, data: bytes) -> None:
    obj = orjson.loads(json)
    assert protobuf.encode(obj) == data
    assert {key: value for key, value in protobuf.decode(data).items() if value} == {
        key: value for key, value in obj.items() if value
    }


def test_lists_of_objects_at_hand() -> None:
    item = {"metadata": {"name": "a"}, "data": {"k": "v"}}
    whole = {"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": "3"}, "items": [item]}
    writer = protobuf.ListWriter("v1", "ConfigMap", {"resourceVersion": "3"})
    writer.add(item)
    assert writer.finish() == protobuf.encode(whole)


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [("example.com/v1", "Pod"), ("example.com/v1", "Status"), ("v1", "Widget"), ("apps.example.com/v1", "Deployment")],
)
def test_kinds_without_a_message(api_version: str, kind: str) -> None:
    with pytest.raises(protobuf.UnknownMessage):
        protobuf.encode({"apiVersion": api_version, "kind": kind})


def test_a_frame_of_a_watch() -> None:
    assert protobuf.frame("ADDED", b"xyz") == b"\0\0\0\x0e\x0a\x05ADDED\x12\x05\x0a\x03xyz"
