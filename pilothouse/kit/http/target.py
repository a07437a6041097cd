"""What a request asks for and of whom: its target and its Host, checked as Go's `net/http` checks them.

A request that one server reads differently from another is how requests are smuggled past a proxy: what is not plainly one of the
forms below is refused. Source: RFC 9112 3.2; Go's `net/http` (`readRequest`), `net/url` (`ParseRequestURI`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_HOST = re.compile(r"[A-Za-z0-9!$%&()*+,\-.:;=\[\]'_~]*")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://([^/?]*)")
ASTERISK = "*"


class Malformed(Exception):
    """The request cannot be served, whatever it asks for; `code` is how it is answered."""

    def __init__(self, why: str = "", code: int = 400) -> None:
        super().__init__(why)
        self.code = code


def parse_target(method: str, target: str) -> tuple[str, str]:
    """The path, still percent-encoded, and the query. Raises Malformed."""
    if target[:1] != "/":
        if method == "CONNECT":
            raise Malformed(code=405)
        if target == ASTERISK and method == "OPTIONS":
            return target, ""
        absolute = _ABSOLUTE.match(target)
        if absolute is None or not _HOST.fullmatch(absolute[1]):
            raise Malformed
        # The absolute form of a proxy request names this server before the path.
        target = target[absolute.end() :]
        if target[:1] != "/":
            target = "/" + target
    path, _, query = target.partition("?")
    if "%" in path and _BAD_ESCAPE.search(path):
        raise Malformed
    return path, query


def check_host(headers: Mapping[str, str], version: str) -> None:
    """Several Host lines, which come joined, are no host either. Raises Malformed."""
    host = headers.get("host")
    if host is None:
        if version == "1.1":
            raise Malformed("missing required Host header")
    elif not _HOST.fullmatch(host):
        raise Malformed("too many Host headers" if ", " in host else "malformed Host header")


def check_framing(headers: Mapping[str, str], version: str) -> None:
    """How the body's end is known must be beyond doubt; the parser has refused what contradicts itself. Raises Malformed."""
    encoding = headers.get("transfer-encoding")
    if encoding is None:
        return
    if version == "1.0":
        raise Malformed
    if encoding.lower() != "chunked":
        raise Malformed(f"Unsupported transfer encoding: {encoding!r}", 501)
