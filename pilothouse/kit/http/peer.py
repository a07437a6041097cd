"""Who is at the other end of a connection."""

from __future__ import annotations

import asyncio
from typing import Any

from pilothouse.kit.http.message import Peer

_DER = 2
"""OpenSSL's number of the encoding, as Python's `ssl` has it."""


def peer_of(transport: asyncio.BaseTransport) -> Peer:
    address = transport.get_extra_info("peername")
    tls = transport.get_extra_info("ssl_object")
    certificate = tls.getpeercert(binary_form=True) if tls is not None else None
    return Peer(
        address[0] if isinstance(address, tuple) else str(address or ""),
        certificate,
        tls is not None,
        () if certificate is None else _sent_beside(tls),
    )


def _sent_beside(tls: Any) -> tuple[bytes, ...]:
    """The certificates that a client sent beside its own, as they are. None where this interpreter does not tell."""
    chain = getattr(getattr(tls, "_sslobj", tls), "get_unverified_chain", None)
    return () if chain is None else tuple(each.public_bytes(_DER) for each in (chain() or ())[1:])
