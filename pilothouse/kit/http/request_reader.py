"""Makes requests of the bytes of one connection, and refuses what is malformed, too large or ambiguous.

The parser (llhttp) is strict: a request with both `Transfer-Encoding` and `Content-Length`, a malformed header or a bare line feed
is refused, so that no proxy in front can see other requests than this server does.
"""

from __future__ import annotations

from typing import Protocol
from urllib.parse import unquote

import httptools

from pilothouse.kit.http.fields import JoinedFields
from pilothouse.kit.http.head import HeaderNames
from pilothouse.kit.http.limits import Limits
from pilothouse.kit.http.target import Malformed, check_framing, check_host, parse_target

_HOST_CHARACTERS = 255
"""The longest Host that is remembered as well formed."""


class Receiver(Protocol):
    """The connection, as its reader needs it."""

    def expect(self, timeout_s: float) -> None:
        """What comes next must be complete after `timeout_s`. Means nothing while an earlier request is worked on."""

    def go_on(self) -> None:
        """The client waits to be told to send its body (`Expect: 100-continue`)."""

    def take(self, method: str, path: str, query: str, headers: dict[str, str], body: bytes, raw_path: str) -> None:
        """A request is complete; the reader's `keep_alive` and `upgrade` say how it ends."""


class RequestReader:
    """`feed` is given every byte in turn; after it has raised it is given no more."""

    __slots__ = (
        "_body",
        "_body_bytes",
        "_head_bytes",
        "_headers",
        "_hosts",
        "_is_body_awaited",
        "_limits",
        "_names",
        "_parser",
        "_receiver",
        "_repeated",
        "_url",
        "in_body",
        "in_head",
        "keep_alive",
        "upgrade",
    )

    def __init__(self, receiver: Receiver, limits: Limits, names: HeaderNames, hosts: set[str]) -> None:
        self._receiver = receiver
        self._limits = limits
        self._names = names
        self._hosts = hosts
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: dict[str, str] = {}
        self._repeated: dict[str, list[str]] = {}
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._head_bytes = 0
        self._is_body_awaited = False
        self.in_head = False
        self.in_body = False
        self.keep_alive = False
        self.upgrade = False

    @property
    def version(self) -> str:
        """Of the latest request: `1.0` or `1.1`."""
        return str(self._parser.get_http_version())

    def feed(self, data: bytes) -> bytes | None:
        """Take in `data`; what follows a request to leave HTTP, if there was one. Raises Malformed."""
        rest: bytes | None = None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
        except httptools.HttpParserCallbackError as error:
            raise error.__context__ or error from None
        except httptools.HttpParserError as error:
            raise Malformed from error
        if self.in_head:
            if not self._head_bytes:
                self._receiver.expect(self._limits.head_timeout_s)
            self._count_head(len(data))
        elif self.in_body and not self._is_body_awaited:
            self._is_body_awaited = True
            self._receiver.expect(self._limits.body_timeout_s)
        return rest

    def close(self) -> None:
        """The parser refers to the reader, and with it to the buffers of TLS: without the cycle they are free at once."""
        self._parser = None

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self._limits.head_bytes:
            raise Malformed(code=431)

    # Parser's calls

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = {}
        self._body = []
        self._body_bytes = self._head_bytes = 0
        self.in_head = True
        self._is_body_awaited = False

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, raw_name: bytes, raw_value: bytes) -> None:
        if not self.in_head:
            # Trailers: nothing here uses them, and they must not pass for headers.
            self._count_head(len(raw_name) + len(raw_value))
            return
        name = self._names[raw_name]
        value = raw_value.decode("latin-1")
        headers = self._headers
        if name in headers:
            self._repeated.setdefault(name, [headers[name]]).append(value)
        else:
            headers[name] = value

    def on_headers_complete(self) -> None:
        self.in_head = False
        headers = self._headers
        lines = len(headers)
        if self._repeated:
            lines += sum(len(values) - 1 for values in self._repeated.values())
            headers = self._headers = JoinedFields(headers, self._repeated)
            self._repeated = {}
        if lines > self._limits.head_lines:
            raise Malformed(code=431)
        host = headers.get("host")
        if host not in self._hosts:
            check_host(headers, self.version)
            if host is not None and len(host) <= _HOST_CHARACTERS and len(self._hosts) < self._limits.known_hosts:
                self._hosts.add(host)
        length = headers.get("content-length")
        if length is None:
            if "transfer-encoding" not in headers:
                return
            check_framing(headers, self.version)
        elif length == "0":
            return
        elif not length.isdigit() or len(length) > 18:
            raise Malformed
        elif int(length) > self._limits.body_bytes:
            raise self._too_large()
        self.in_body = True
        expectation = headers.get("expect")
        if expectation is not None:
            if expectation.lower() != "100-continue":
                raise Malformed(code=417)
            self._receiver.go_on()

    def on_body(self, part: bytes) -> None:
        self._body.append(part)
        self._body_bytes += len(part)
        if self._body_bytes > self._limits.body_bytes:
            raise self._too_large()

    def on_message_complete(self) -> None:
        self.in_body = False
        parser = self._parser
        method = parser.get_method().decode("latin-1")
        raw_path, query = parse_target(method, self._url.decode("latin-1"))
        body = self._body
        self.upgrade = upgrade = parser.should_upgrade()
        self.keep_alive = upgrade or parser.should_keep_alive()
        self._receiver.take(
            method,
            unquote(raw_path) if "%" in raw_path else raw_path,
            query,
            self._headers,
            body[0] if len(body) == 1 else b"".join(body),
            raw_path,
        )

    def _too_large(self) -> Malformed:
        return Malformed(f"limit is {self._limits.body_bytes}", 413)
