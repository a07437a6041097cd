"""TLS contexts of servers, and of clients that ask whether something answers rather than who.

A server asks clients for a certificate and does not need one. Whether a certificate is good is decided by the application,
which can answer 401; OpenSSL's own check would end the handshake with an alert. Python has no interface for switching the check
off while still asking, so the OpenSSL function is called through ctypes where the interpreter links OpenSSL as a shared library.
Elsewhere the check stays on: good certificates work the same, bad ones end the handshake.
"""

from __future__ import annotations

import ctypes
import ssl
from pathlib import Path

_ANY_CERTIFICATE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(lambda context, argument: 1)
"""`SSL_CTX_set_cert_verify_callback`'s callback: 1 lets the handshake go on. Lives as long as contexts may call it."""


def server_context(
    certificate: Path, key: Path, *, client_ca: Path | None = None, verified: bool = False
) -> ssl.SSLContext:
    """A context for a server that asks clients for certificates if `client_ca` is given (its names are what clients are offered).

    With `verified` OpenSSL checks what they send, which spares the application a cryptographic library: a bad certificate ends the
    handshake. `load_cert_chain` on the result exchanges the server's certificate for new connections. Raises OSError, ssl.SSLError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(certificate, key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL
        if not verified:
            leave_verification_to_application(context)
    return context


def leave_verification_to_application(context: ssl.SSLContext) -> bool:
    """Let handshakes pass whatever certificate the client sends. False where this interpreter cannot."""
    import _ssl

    file = getattr(_ssl, "__file__", None)
    if file is None:
        return False
    try:
        openssl = ctypes.CDLL(file)
        get_mode = openssl.SSL_CTX_get_verify_mode
        set_callback = openssl.SSL_CTX_set_cert_verify_callback
    except (OSError, AttributeError):
        return False
    # CPython's context object is the object header followed by the SSL_CTX pointer.
    pointer = ctypes.c_void_p.from_address(id(context) + object.__basicsize__)
    get_mode.argtypes = [ctypes.c_void_p]
    if get_mode(pointer) != int(context.verify_mode):
        return False
    set_callback.argtypes = [ctypes.c_void_p, type(_ANY_CERTIFICATE), ctypes.c_void_p]
    set_callback.restype = None
    set_callback(pointer, _ANY_CERTIFICATE, None)
    return True


def unverified_client_context() -> ssl.SSLContext:
    """For probes and hooks, which like upstream's verify no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
