"""What form a client wants its answer in: the `Accept` header. Source: apiserver `pkg/endpoints/handlers/negotiation`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from pilothouse.apiserver.errors import method_not_allowed, no_representation, not_acceptable
from pilothouse.kit.http.message import Request
from pilothouse.kit.remembered import remembered

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
ACCEPTED = (JSON, YAML, PROTOBUF)
STREAMED = (f"{JSON};stream=watch", f"{PROTOBUF};stream=watch")
"""What a watch can be had in."""


class Shape(Enum):
    """What an answer is turned into before it is encoded."""

    WHOLE = ""
    TABLE = "Table"
    PARTIAL = "PartialObjectMetadata"
    """Metadata alone."""
    PARTIAL_LIST = "PartialObjectMetadataList"
    """Metadata alone, of every item of a list."""


class Output(NamedTuple):
    """How to encode an answer."""

    media_type: str
    shape: Shape
    version: str = "v1"
    """Of meta.k8s.io, for shapes other than WHOLE."""


PLAIN = Output(JSON, Shape.WHOLE)
_MEDIA_TYPES = {
    "application/json": JSON,
    "application/*": JSON,
    "*/*": JSON,
    "application/yaml": YAML,
    PROTOBUF: PROTOBUF,
}
ANYTHING = frozenset({"", "*/*", JSON})
"""Wishes that JSON meets."""
_SHAPES = {
    "Table": Shape.TABLE,
    "PartialObjectMetadata": Shape.PARTIAL,
    "PartialObjectMetadataList": Shape.PARTIAL_LIST,
}


@remembered(256)
def negotiate(accept: str, has_message: bool, available: tuple[str, ...]) -> Output:
    """The first of a client's wishes, by its own order of preference, that can be met. Raises NotAcceptable.

    `has_message` is whether what is asked for can be written as protobuf; its metadata always can, and tables never.
    `available` is what upstream's router has on offer; empty where it is not asked.
    """
    if accept in ANYTHING:
        return PLAIN
    if available:
        check_representation(accept, available)
    for media_range, parameters in wishes(accept):
        media_type = _MEDIA_TYPES.get(media_range)
        if media_type is None:
            continue
        if parameters.get("stream", "watch") not in ("watch", ""):
            continue
        wanted = parameters.get("as", "")
        if not wanted:
            if media_type == PROTOBUF and not has_message:
                continue
            return PLAIN if media_type == JSON else Output(media_type, Shape.WHOLE)
        shape = _SHAPES.get(wanted)
        version = parameters.get("v", "")
        is_known = parameters.get("g", "") == "meta.k8s.io" and version in ("v1", "v1beta1")
        if shape is not None and is_known and (media_type != PROTOBUF or shape is not Shape.TABLE):
            return Output(media_type, shape, version)
    raise not_acceptable(ACCEPTED)


def check_representation(accept: str, available: tuple[str, ...]) -> None:
    """Raises NotAcceptable if `accept` names none of the media types `available`, whatever their parameters.

    Upstream's router decides so before anything else looks at the header. Of wildcards it knows `*/*` alone.
    """
    for item in accept.split(","):
        media_range = item.partition(";")[0].strip()
        if media_range == "*/*" or media_range in available:
            return
    raise no_representation(available)


def check_routed(request: Request, available: str) -> None:
    """Check a request for a path that can only be read and has one representation. Raises MethodNotAllowed, NotAcceptable."""
    if request.method != "GET":
        raise method_not_allowed()
    check_representation(request.headers.get("accept") or "*/*", (available,))


def wishes(accept: str) -> list[tuple[str, dict[str, str]]]:
    """The media ranges of an `Accept` header with their parameters, the most wanted first."""
    found = []
    for item in accept.split(","):
        media_range, _, tail = item.strip().partition(";")
        parameters = dict(_parameter(part) for part in tail.split(";") if part.strip())
        found.append((media_range.strip().lower(), parameters))
    return sorted(found, key=lambda wish: -_quality(wish[1].get("q", "1")))


def _parameter(part: str) -> tuple[str, str]:
    name, _, value = part.partition("=")
    return name.strip().lower(), value.strip()


def _quality(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def wants_indent(headers: Mapping[str, str], query: Mapping[str, str]) -> bool:
    """Whether JSON is to be indented: `?pretty`, or a person's tool such as curl that did not say."""
    pretty = query.get("pretty")
    if pretty is not None:
        return pretty.lower() not in ("false", "0")
    return headers.get("user-agent", "").startswith(("curl", "Wget", "Mozilla/5.0"))
