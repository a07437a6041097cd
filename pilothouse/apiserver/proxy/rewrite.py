"""Links of a proxied page, so that they lead through the proxy again. Pure.

Source: apimachinery `pkg/util/proxy/transport.go`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from functools import cache
from urllib.parse import urlsplit, urlunsplit

_ATTRIBUTES: Mapping[bytes, Sequence[str]] = {
    **dict.fromkeys((b"a", b"area", b"base", b"link"), ("href",)),
    **dict.fromkeys((b"audio", b"embed", b"script", b"source"), ("src",)),
    **dict.fromkeys((b"frame", b"iframe"), ("longdesc", "src")),
    **dict.fromkeys((b"blockquote", b"del", b"ins", b"q"), ("cite",)),
    b"applet": ("codebase",),
    b"body": ("background",),
    b"button": ("formaction",),
    b"command": ("icon",),
    b"form": ("action",),
    b"head": ("profile",),
    b"html": ("manifest",),
    b"img": ("longdesc", "src", "usemap"),
    b"input": ("src", "usemap", "formaction"),
    b"object": ("classid", "codebase", "data", "usemap"),
    b"video": ("poster", "src"),
}
"""Which attributes of which tags are links."""
_TAG = re.compile(rb"<([a-zA-Z][a-zA-Z0-9]*)(?=[\s/>])[^<>]*>")


@cache
def _links_of(tag: bytes) -> re.Pattern[bytes] | None:
    names = _ATTRIBUTES.get(tag)
    if names is None:
        return None
    value = r"""("[^"]*"|'[^']*'|[^\s"'>]+)"""
    return re.compile(rf"(\s(?:{'|'.join(names)})\s*=\s*){value}".encode(), re.IGNORECASE)


def rewrite_html(page: bytes, prefix: str, host: str, asked_host: str = "") -> bytes:
    """`page` with absolute links of its own host led through `prefix`, the proxy's path."""

    def link(match: re.Match[bytes]) -> bytes:
        value = match[2]
        quote = value[:1] if value[:1] in (b'"', b"'") else b""
        text = value[len(quote) : len(value) - len(quote)].decode("utf-8", "surrogateescape")
        rewritten = rewrite_url(text, prefix, host, asked_host).encode("utf-8", "surrogateescape")
        return match[1] + quote + rewritten + quote

    def tag(match: re.Match[bytes]) -> bytes:
        links = _links_of(match[1].lower())
        return match[0] if links is None else links.sub(link, match[0])

    return _TAG.sub(tag, page)


def rewrite_url(url: str, prefix: str, host: str, asked_host: str = "") -> str:
    """A link led through `prefix`; what points elsewhere, is relative, or goes through it already stays.

    `host` is the backend's own, `asked_host` what the client called this server, under which the link is left.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    if (parts.netloc and parts.netloc not in (host, asked_host)) or not parts.path.startswith("/"):
        return url
    scheme, netloc = (parts.scheme, parts.netloc) if parts.netloc and parts.netloc == asked_host else ("", "")
    path = parts.path
    if not path.startswith(prefix):
        path = posixpath.normpath(prefix + path) + ("/" if path.endswith("/") else "")
    return urlunsplit((scheme, netloc, path, parts.query, parts.fragment))
