"""containerd's event service, for the versions whose CRI has no GetContainerEvents (before 1.7).

The service answers on the same socket as CRI. Its stubs are not published for Python, so the few fields that matter are read from the
wire: `Envelope` {namespace 2, topic 3, event 4: Any {value 2}}, and of the event its `container_id` 1 and, for an exit, the `id` 2 of the
process, which differs from the container's for a process that was exec'ed. Source: containerd `api/services/events/v1/events.proto`,
`api/events/task.proto`; the protobuf encoding guide.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from pilothouse.kit.grpc import GrpcChannel
from pilothouse.kubelet.runtime.records import RuntimeEvent

_SUBSCRIBE = "/containerd.services.events.v1.Events/Subscribe"
_KINDS = {b"/tasks/start": "start", b"/tasks/exit": "exit", b"/tasks/oom": "oom", b"/tasks/delete": "delete"}
_FILTER = b'namespace==k8s.io,topic~="^/tasks/(start|exit|oom|delete)$"'


async def subscribe(channel: GrpcChannel) -> AsyncIterator[RuntimeEvent]:
    """Events of the containers that CRI made. Raises RpcFailure."""
    request = b"\x0a" + bytes([len(_FILTER)]) + _FILTER
    async for envelope in channel.stream(_SUBSCRIBE, request, bytes):
        event = decode(envelope)
        if event is not None:
            yield event


def decode(envelope: bytes) -> RuntimeEvent | None:
    """The event in an Envelope; None if it is not one of a container's own task. Raises ValueError on broken wire data."""
    fields = dict(_length_delimited(envelope))
    kind = _KINDS.get(fields.get(3, b""))
    if kind is None:
        return None
    event = dict(_length_delimited(dict(_length_delimited(fields.get(4, b""))).get(2, b"")))
    container_id = event.get(1, b"")
    if kind == "exit" and event.get(2, container_id) != container_id:
        return None
    return RuntimeEvent(container_id.decode(), kind=kind)


def _length_delimited(message: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            _, position = _varint(message, position)
        elif wire_type == 1:
            position += 8
        elif wire_type == 5:
            position += 4
        elif wire_type == 2:
            length, position = _varint(message, position)
            if position + length > len(message):
                raise ValueError("protobuf message ends within a field")
            yield number, message[position : position + length]
            position += length
        else:
            raise ValueError(f"unknown protobuf wire type {wire_type}")


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(message):
            raise ValueError("protobuf message ends within a number")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
