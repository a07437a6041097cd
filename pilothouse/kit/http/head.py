"""Heads of HTTP/1.1 messages: the names of a request's headers, and the bytes of a response's."""

from __future__ import annotations

from http import HTTPStatus

from pilothouse.kit.http.message import Response

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_KNOWN_NAMES_LIMIT = 512
_KNOWN_NAME_BYTES = 64


class HeaderNames(dict[bytes, str]):
    """Lower-case header names by their bytes on the wire; bounded, as clients choose the keys."""

    def __missing__(self, raw: bytes) -> str:
        name = raw.decode("latin-1").lower()
        if len(raw) <= _KNOWN_NAME_BYTES and len(self) < _KNOWN_NAMES_LIMIT:
            self[raw] = name
        return name


def response_head(response: Response, date: str, *, keep_alive: bool, length_line: str) -> bytes:
    """The status line and headers. `length_line` says how the body's end is known; of a takeover, only its own headers are sent."""
    begin = _STATUS_LINES.get(response.status) or f"HTTP/1.1 {response.status} Unknown\r\n"
    headers = response.headers
    fields = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if fields.count("\n") != len(headers) or fields.count("\r") != len(headers):
        fields = "".join([f"{name}: {_one_line(value)}\r\n" for name, value in headers.items()])
    if response.takeover is not None:
        end = "\r\n"
    elif keep_alive:
        end = f"{length_line}date: {date}\r\n\r\n"
    else:
        end = f"{length_line}date: {date}\r\nconnection: close\r\n\r\n"
    return f"{begin}{fields}{end}".encode("utf-8", "surrogateescape")


def _one_line(value: str) -> str:
    return value.replace("\r", " ").replace("\n", " ")
