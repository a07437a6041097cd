"""WATCH of a collection: the changes of objects as they happen, one JSON document a line or one protobuf message a frame."""

from __future__ import annotations

from collections.abc import Callable

from pilothouse.api.status import Expired, Timeout
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.endpoint import Endpoint
from pilothouse.apiserver.metrics.events import SentEvents
from pilothouse.apiserver.negotiate import Shape
from pilothouse.apiserver.options import list_options, revision_of
from pilothouse.apiserver.present import WATCH_HEADERS, HeadedFeed, watch_encoder, watch_error
from pilothouse.apiserver.verbs.list import named_options
from pilothouse.kit.clock import Clock
from pilothouse.kit.http.feed import Feed
from pilothouse.kit.http.message import Response
from pilothouse.store.watcher import Watcher

LAST_BOOKMARK_S = 2.0
"""How long before its end a watch is told where it is. Source: apiserver `pkg/storage/cacher/cache_watcher.go`."""
MIN_TIMEOUT_S = 1800.0
"""A watch without `timeoutSeconds` lasts between this and twice as long."""


async def watch(call: Call, endpoint: Endpoint, clock: Clock, default_s: float) -> Response:
    """It lasts for `default_s` if the client does not say how long. Raises BadRequest, Invalid, Timeout.

    A revision that is no longer kept is told by an ERROR event."""
    options = named_options(call, list_options(call.query, is_watch=True))
    endpoint.check_selectable(options.fields)
    cacher = await endpoint.cacher()
    encoder = watch_encoder(call, endpoint, cacher.lines, clock.now)
    try:
        watcher = await cacher.watch(
            call.info.namespace if endpoint.gvr.namespaced else "",
            after=revision_of(options.resource_version) if options.resource_version else None,
            labels=options.labels,
            fields=options.fields,
            send_initial_events=options.send_initial_events,
            bookmarks=options.allow_bookmarks,
            encoder=encoder,
        )
    except (Expired, Timeout) as error:
        return watch_error(call, error)
    timeout_s = options.timeout_s or default_s
    last_bookmark = (lambda: watcher.bookmark(cacher.revision)) if options.allow_bookmarks else None
    timed = TimedWatch(watcher, clock, timeout_s, endpoint.sent, last_bookmark)
    if options.send_initial_events:
        began, scope = clock.monotonic(), "namespace" if call.info.namespace else "cluster"
        timed.caught_up = lambda: endpoint.sent.listed(scope, clock.monotonic() - began)
    feed: Feed = timed
    if call.output.shape is Shape.TABLE:
        feed = HeadedFeed(feed, endpoint.resource)
    return Response(200, WATCH_HEADERS[call.output.media_type], feed)


class TimedWatch(Feed):
    """A watch that ends by itself after `timeout_s`, shortly after a last bookmark from which its client can go on."""

    __slots__ = ("_clock", "_last_bookmark", "_sent", "_timer", "_watcher", "caught_up")

    def __init__(
        self,
        watcher: Watcher,
        clock: Clock,
        timeout_s: float,
        sent: SentEvents,
        last_bookmark: Callable[[], None] | None = None,
    ) -> None:
        self._watcher = watcher
        self._clock = clock
        self._sent = sent
        self._last_bookmark = last_bookmark
        self.caught_up: Callable[[], None] | None = None
        """Called when the initial events are sent."""
        if last_bookmark is None or timeout_s <= LAST_BOOKMARK_S:
            self._timer = clock.call_later(timeout_s, watcher.end)
        else:
            self._timer = clock.call_later(timeout_s - LAST_BOOKMARK_S, self._end_soon)

    def _end_soon(self) -> None:
        assert self._last_bookmark is not None
        self._timer = self._clock.call_later(LAST_BOOKMARK_S, self._watcher.end)
        self._last_bookmark()

    def take(self) -> bytes | None:
        lines = self._watcher.take()
        if self.caught_up is not None and self._watcher.is_caught_up:
            self.caught_up()
            self.caught_up = None
        if not lines:
            return None if lines is None else b""
        data = lines[0] if len(lines) == 1 else b"".join(lines)
        self._sent.add(lines, len(data))
        return data

    def when_more(self, wake: Callable[[], None]) -> None:
        self._watcher.when_more(wake)

    def close(self) -> None:
        self._timer.cancel()
        self._watcher.close()
