"""Who a server is among several, and how metrics show names and texts. Source: apiserver `pkg/server/config.go`."""

from __future__ import annotations

import base64
import hashlib
import struct


def server_id(hostname: str) -> str:
    """The name of the API server on a host."""
    parts = (hostname.encode(), b"kube-apiserver")
    digest = hashlib.sha256(b"".join(struct.pack("!H", len(part)) + part for part in parts)).digest()
    return f"apiserver-{base64.b32encode(digest[:16]).decode().rstrip('=').lower()}"


def hashed(text: str | bytes) -> str:
    """As metrics show it; nothing stays nothing."""
    data = text.encode() if isinstance(text, str) else text
    return f"sha256:{hashlib.sha256(data).hexdigest()}" if data else ""
