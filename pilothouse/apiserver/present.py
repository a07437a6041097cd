"""Answers in the form that the client asked for: whole objects, tables or metadata alone; JSON, YAML or protobuf; plain, indented or
compressed.

Whole objects in JSON go out as the bytes they were stored as.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson

from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object
from pilothouse.api.resource import Resource
from pilothouse.api.status import BadRequest, NotAcceptable, StatusError
from pilothouse.apiserver import errors
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.endpoint import Endpoint
from pilothouse.apiserver.negotiate import (
    ACCEPTED,
    JSON,
    PLAIN,
    PROTOBUF,
    STREAMED,
    YAML,
    Output,
    Shape,
    negotiate,
    wants_indent,
)
from pilothouse.kit.http.feed import Feed
from pilothouse.kit.http.message import Request, Response
from pilothouse.store.base import Revision
from pilothouse.store.cached import Cached
from pilothouse.store.cacher import Listing
from pilothouse.store.event import INITIAL_EVENTS_END, Encoder

_GZIP_FROM_BYTES = 128 * 1024
_GZIP_LEVEL = 1
_ENCODED_AT_ONCE = 200
WATCH_HEADERS = {JSON: {"content-type": JSON}, PROTOBUF: {"content-type": f"{PROTOBUF};stream=watch"}}
_LOOPBACK = ("127.", "::1", "in-process")
_JSON_HEADERS = {"content-type": JSON}
_YAML_HEADERS = {"content-type": YAML}
_PROTOBUF_HEADERS = {"content-type": PROTOBUF}


async def object_response(call: Call, endpoint: Endpoint, code: int, wire: bytes, now: float) -> Response:
    """One object, given in its stored version's wire form. Raises StatusError."""
    output = call.output
    if endpoint.is_converted:
        wire = endpoint.wire(await endpoint.answered(wire))
    if output is PLAIN:
        return body_response(call, code, wire)
    obj = orjson.loads(wire)
    if output.shape is Shape.TABLE:
        return value_response(call, code, _table(endpoint, [obj], call.query, output, now, _revision_of(obj)))
    if output.shape is Shape.PARTIAL:
        return value_response(call, code, partial(obj, output.version))
    if output.shape is Shape.PARTIAL_LIST:
        raise NotAcceptable(
            "you requested PartialObjectMetadataList, but the requested object is not a list "
            f"({_go_type(endpoint, 'Unstructured')})"
        )
    return value_response(call, code, obj)


async def list_response(call: Call, endpoint: Endpoint, listing: Listing, continue_token: str, now: float) -> Response:
    """A collection."""
    output = call.output
    metadata: Object = {"resourceVersion": str(listing.revision)}
    if continue_token:
        metadata["continue"] = continue_token
        if listing.remaining is not None:
            metadata["remainingItemCount"] = listing.remaining
    if output.shape is Shape.WHOLE and output.media_type == PROTOBUF:
        body = await _message_list(endpoint, listing, metadata)
        return _packed_response(call.request, 200, _PROTOBUF_HEADERS, body)
    if output.shape is Shape.WHOLE:
        wires = (cached.wire for cached in listing.items)
        if endpoint.is_custom:
            metadata.setdefault("continue", "")
        body = list_body(endpoint, metadata, list(map(endpoint.wire, wires) if endpoint.is_converted else wires))
        if output is PLAIN:
            return body_response(call, 200, body)
        return value_response(call, 200, orjson.loads(body))
    if output.shape is Shape.PARTIAL:
        raise NotAcceptable(
            "you requested PartialObjectMetadata, but the requested object is a list "
            f"({_go_type(endpoint, 'Unstructured', 'List')})"
        )
    # One at a time: thousands of decoded objects at once would keep the garbage collector busier than the decoder.
    items = (endpoint.from_stored(cached.object()) for cached in listing.items)
    if output.shape is Shape.TABLE:
        return value_response(call, 200, _table(endpoint, items, call.query, output, now, metadata))
    answer = {
        "kind": "PartialObjectMetadataList",
        "apiVersion": f"meta.k8s.io/{output.version}",
        "metadata": metadata,
        "items": [partial(item, output.version) for item in items] or None,
    }
    return value_response(call, 200, answer)


async def _message_list(endpoint: Endpoint, listing: Listing, metadata: Object) -> bytes:
    """A list as protobuf. Thousands of objects take long to encode: others get their turn meanwhile."""
    from pilothouse.api.codec import protobuf

    writer = protobuf.ListWriter(endpoint.gvr.api_version, endpoint.gvr.kind, metadata)
    for count, cached in enumerate(listing.items, 1):
        writer.add(endpoint.from_stored(cached.object()))
        if count % _ENCODED_AT_ONCE == 0:
            await asyncio.sleep(0)
    return writer.finish()


def list_body(endpoint: Endpoint, metadata: Object, wires: list[bytes]) -> bytes:
    """The JSON of a list of objects in wire form. Large lists are copied once.

    As upstream encodes them, items of built-in kinds do not repeat what the list says: their kind and version.
    """
    gvr = endpoint.gvr
    head = orjson.dumps({"kind": f"{gvr.kind}List", "apiVersion": gvr.api_version, "metadata": metadata})[:-1]
    if not wires:
        return head + b',"items":[]}\n'
    opening, between = b',"items":[', b","
    parts: list[bytes | memoryview] = [*wires]
    if endpoint.resource.read is None:
        named = b'{"kind":"%b","apiVersion":"%b",' % (gvr.kind.encode(), gvr.api_version.encode())
        if all(wire.startswith(named) for wire in wires):
            opening, between = opening + b"{", between + b"{"
            parts = [memoryview(wire)[len(named) :] for wire in wires]
    parts[0] = b"".join((head, opening, parts[0]))
    parts[-1] = b"".join((parts[-1], b"]}\n"))
    return between.join(parts)


def value_response(call: Call, code: int, value: Any) -> Response:
    """A value that is encoded here."""
    if call.output.media_type == YAML:
        from pilothouse.apiserver import yaml

        return Response(code, _YAML_HEADERS, yaml.dump(value))
    if call.output.media_type == PROTOBUF:
        from pilothouse.api.codec import protobuf

        try:
            body = protobuf.encode(value)
        except protobuf.UnknownMessage as error:
            raise NotAcceptable(f"the answer cannot be encoded to a protobuf message: {error}") from None
        return _packed_response(call.request, code, _PROTOBUF_HEADERS, body)
    return body_response(call, code, orjson.dumps(value))


def body_response(call: Call, code: int, body: bytes) -> Response:
    """JSON bytes."""
    request = call.request
    if wants_indent(request.headers, call.query):
        body = orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return _packed_response(request, code, _JSON_HEADERS, body)


def _packed_response(request: Request, code: int, headers: dict[str, str], body: bytes) -> Response:
    """A body that is compressed if it is large and the client takes it so."""
    if len(body) >= _GZIP_FROM_BYTES and _wants_gzip(request):
        return Response(code, {**headers, "content-encoding": "gzip", "vary": "Accept-Encoding"}, _gzip(body))
    return Response(code, headers, body)


def error_response(error: StatusError, accept: str) -> Response:
    """A failure in the form that the client wants its answers in; in JSON if that cannot be had."""
    response = errors.error_response(error)
    if ("protobuf" not in accept and "yaml" not in accept) or "as=" in accept:
        # A failure has no columns and no metadata to be shown by.
        return response
    try:
        media_type = negotiate(accept, True, ACCEPTED).media_type
    except NotAcceptable:
        return response
    if media_type == YAML:
        from pilothouse.apiserver import yaml

        return Response(response.status, {**response.headers, **_YAML_HEADERS}, yaml.dump(error.to_object()))
    if media_type == PROTOBUF:
        from pilothouse.api.codec import protobuf

        return Response(response.status, {**response.headers, **_PROTOBUF_HEADERS}, protobuf.encode(error.to_object()))
    return response


def _go_type(endpoint: Endpoint, custom: str, suffix: str = "") -> str:
    """What upstream calls the type that it holds an object in, which its messages tell."""
    if endpoint.is_custom:
        return f"*unstructured.{custom}{suffix}"
    return f"*{endpoint.gvr.group.partition('.')[0] or 'core'}.{endpoint.gvr.kind}{suffix}"


def partial(obj: Mapping[str, Any], version: str = "v1") -> Object:
    """PartialObjectMetadata."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": obj["metadata"],
    }


def watch_encoder(call: Call, endpoint: Endpoint, plain: Encoder, clock_now: Any) -> Encoder:
    """What writes the events of a watch in the form that `call` asks for. Raises NotAcceptable, BadRequest."""
    output = call.output
    if output.media_type == YAML:
        raise errors.not_acceptable(STREAMED)
    if output.media_type == PROTOBUF:
        frames = endpoint.encoders.get(output)
        if frames is None:
            is_partial = output.shape is not Shape.WHOLE
            lines = PartialLines(endpoint, output.version) if is_partial else ObjectLines(endpoint)
            frames = endpoint.encoders[output] = MessageFrames(endpoint, lines)
        return frames
    if output.shape is Shape.WHOLE:
        if not endpoint.is_converted:
            return plain
        return endpoint.encoders.setdefault("converted", ConvertedLines(endpoint))
    if output.shape is not Shape.TABLE:
        return endpoint.encoders.setdefault(output, PartialLines(endpoint, output.version))
    key = (output, included(call.query))
    encoder = endpoint.encoders.get(key)
    if encoder is None:
        encoder = endpoint.encoders[key] = TableLines(endpoint, output, call.query, clock_now)
    return encoder


class ObjectLines:
    """Watch events with the object in another version than the stored one, or in another form."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def event(self, type: str, cached: Cached) -> bytes:
        return _line(type, self.form(self._endpoint.from_stored(cached.object())))

    def bookmark(self, revision: Revision, *, initial_events_end: bool) -> bytes:
        return _line("BOOKMARK", self.bookmark_form(_bookmark(self._endpoint.gvr, revision, initial_events_end)))

    def form(self, obj: Object) -> Object:
        return obj

    def bookmark_form(self, obj: Object) -> Object:
        return self.form(obj)


class ConvertedLines(ObjectLines):
    """Watch events with whole objects at the endpoint's version."""

    def event(self, type: str, cached: Cached) -> bytes:
        return b'{"type":"%b","object":%b}\n' % (type.encode(), self._endpoint.wire(cached.wire))


class PartialLines(ObjectLines):
    """Watch events with metadata alone."""

    def __init__(self, endpoint: Endpoint, version: str) -> None:
        super().__init__(endpoint)
        self._version = version

    def form(self, obj: Object) -> Object:
        return partial(obj, self._version)


class TableLines(ObjectLines):
    """Watch events with a table of one row. None has the definitions of columns, so that all watchers share them: see `HeadedFeed`."""

    def __init__(self, endpoint: Endpoint, output: Output, query: Mapping[str, str], clock_now: Any) -> None:
        super().__init__(endpoint)
        self._output = output
        self._query = query
        self._now = clock_now

    def form(self, obj: Object) -> Object:
        return self._table(obj, self._query)

    def bookmark_form(self, obj: Object) -> Object:
        """The end of initial events is told by the row's object, which is there even if the client wants none."""
        return self._table(obj, {} if "annotations" in obj["metadata"] else self._query)

    def _table(self, obj: Object, query: Mapping[str, str]) -> Object:
        return _table(self._endpoint, [obj], query, self._output, self._now(), _revision_of(obj), headers=False)


class HeadedFeed(Feed):
    """A watch in tables: the first event that the client gets has the definitions of the columns, and no other."""

    __slots__ = ("_columns", "_feed")

    def __init__(self, feed: Feed, resource: Resource) -> None:
        from pilothouse.api.printing import column_definitions, columns_of

        self._feed = feed
        self._columns = b'"columnDefinitions":' + orjson.dumps(column_definitions(columns_of(resource)))

    def take(self) -> bytes | None:
        lines = self._feed.take()
        if lines and self._columns:
            lines = lines.replace(b'"columnDefinitions":null', self._columns, 1)
            self._columns = b""
        return lines

    def when_more(self, wake: Callable[[], None]) -> None:
        self._feed.when_more(wake)

    def close(self) -> None:
        self._feed.close()


class MessageFrames:
    """Watch events as frames of protobuf, with what `lines` would write as JSON."""

    def __init__(self, endpoint: Endpoint, lines: ObjectLines) -> None:
        from pilothouse.api.codec import protobuf

        self._endpoint = endpoint
        self._lines = lines
        self._encode = protobuf.encode
        self._frame = protobuf.frame

    def event(self, type: str, cached: Cached) -> bytes:
        return self._frame(type, self._encode(self._lines.form(self._endpoint.from_stored(cached.object()))))

    def bookmark(self, revision: Revision, *, initial_events_end: bool) -> bytes:
        obj = self._lines.bookmark_form(_bookmark(self._endpoint.gvr, revision, initial_events_end))
        return self._frame("BOOKMARK", self._encode(obj))


def watch_error(call: Call, error: StatusError) -> Response:
    """A watch that consists of an ERROR event."""
    if call.output.media_type == PROTOBUF:
        from pilothouse.api.codec import protobuf

        return Response(200, WATCH_HEADERS[PROTOBUF], protobuf.frame("ERROR", protobuf.encode(error.to_object())))
    return Response(200, WATCH_HEADERS[JSON], _line("ERROR", error.to_object()))


def _line(type: str, obj: Object) -> bytes:
    return orjson.dumps({"type": type, "object": obj}, option=orjson.OPT_APPEND_NEWLINE)


def _bookmark(gvr: GVR, revision: Revision, initial_events_end: bool) -> Object:
    metadata: Object = {"resourceVersion": str(revision)}
    if initial_events_end:
        metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
    return {"kind": gvr.kind, "apiVersion": gvr.api_version, "metadata": metadata}


def _revision_of(obj: Object) -> Object:
    """The metadata of one object's table. What is answered and not kept has no revision."""
    revision = obj["metadata"].get("resourceVersion")
    return {"resourceVersion": revision} if revision else {}


def _table(
    endpoint: Endpoint,
    objects: Iterable[Object],
    query: Mapping[str, str],
    output: Output,
    now: float,
    metadata: Mapping[str, Any],
    *,
    headers: bool = True,
) -> Object:
    from pilothouse.api.printing import to_table

    include = included(query)
    return to_table(
        endpoint.resource, objects, now, metadata=metadata, include=include, version=output.version, headers=headers
    )


def included(query: Mapping[str, str]) -> str:
    """What a table's rows carry of their objects. Raises BadRequest."""
    include = query.get("includeObject", "") or "Metadata"
    if include not in ("None", "Metadata", "Object"):
        raise BadRequest(
            f'Unable to convert to Table as requested: includeObject: Invalid value: "{include}": '
            "must be 'Metadata', 'Object', 'None', or empty"
        )
    return include


def _wants_gzip(request: Request) -> bool:
    """Whether the client takes gzip and is on another machine: on the same one compressing costs more than it saves."""
    encodings = request.headers.get("accept-encoding")
    if not encodings or request.peer.address.startswith(_LOOPBACK):
        return False
    return any(part.partition(";")[0].strip().lower() == "gzip" for part in encodings.split(","))


def _gzip(body: bytes) -> bytes:
    compressor = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 31)
    return compressor.compress(body) + compressor.flush()
