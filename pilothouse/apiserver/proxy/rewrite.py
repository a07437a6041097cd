"""Links of a proxied page, so that they lead through the proxy again. Pure.

Source: apimachinery `pkg/util/proxy/transport.go`.
"""

from __future__ import annotations

import posixpath
import re
from urllib.parse import urlsplit, urlunsplit

_ATTRIBUTES = (
    "href|src|action|formaction|cite|background|codebase|classid|data|usemap|longdesc|poster|profile|manifest|icon"
)
_TAG = re.compile(rb"<[a-zA-Z][^<>]*>")
_LINK = re.compile(rf"""(\s(?:{_ATTRIBUTES})\s*=\s*)("[^"]*"|'[^']*'|[^\s"'>]+)""".encode(), re.IGNORECASE)


def rewrite_html(page: bytes, prefix: str, host: str) -> bytes:
    """`page` with absolute links of its own host led through `prefix`, the proxy's path."""

    def link(match: re.Match[bytes]) -> bytes:
        value = match[2]
        quote = value[:1] if value[:1] in (b'"', b"'") else b""
        text = value[len(quote) : len(value) - len(quote)].decode("utf-8", "surrogateescape")
        rewritten = rewrite_url(text, prefix, host).encode("utf-8", "surrogateescape")
        return match[1] + quote + rewritten + quote

    return _TAG.sub(lambda tag: _LINK.sub(link, tag[0]), page)


def rewrite_url(url: str, prefix: str, host: str) -> str:
    """A link led through `prefix`; what points elsewhere, is relative, or goes through it already stays."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    if (parts.netloc and parts.netloc != host) or not parts.path.startswith("/") or parts.path.startswith(prefix):
        return url
    path = posixpath.normpath(prefix + parts.path)
    if parts.path.endswith("/"):
        path += "/"
    return urlunsplit(("", "", path, parts.query, parts.fragment))
