"""TLS contexts of servers, and of clients that ask whether something answers rather than who.

A server asks clients for a certificate and does not need one. Whether a certificate is good is decided by the application,
which can answer 401; OpenSSL's own check would end the handshake with an alert. Python has no interface for switching the check
off while still asking, nor for naming the authorities whose certificates are wanted, by which clients with several choose one; so
OpenSSL's functions are called through ctypes where the interpreter links OpenSSL as a shared library. Elsewhere the check stays on and
nothing is named: good certificates work the same, bad ones end the handshake.
"""

from __future__ import annotations

import ctypes
import ssl
from collections.abc import Sequence
from pathlib import Path

_ANY_CERTIFICATE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(lambda context, argument: 1)
"""`SSL_CTX_set_cert_verify_callback`'s callback: 1 lets the handshake go on. Lives as long as contexts may call it."""


def server_context(
    certificate: Path, key: Path, *, client_cas: Sequence[Path] = (), verified: bool = False
) -> ssl.SSLContext:
    """A context for a server that asks clients for certificates of the authorities in `client_cas`, if there are any.

    With `verified` OpenSSL checks what they send, which spares the application a cryptographic library: a bad certificate ends the
    handshake. `load_cert_chain` on the result exchanges the server's certificate for new connections. Raises OSError, ssl.SSLError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(certificate, key)
    if client_cas:
        for file in client_cas:
            context.load_verify_locations(file)
        context.verify_mode = ssl.CERT_OPTIONAL
        name_authorities(context, client_cas)
        if not verified:
            leave_verification_to_application(context)
    return context


def leave_verification_to_application(context: ssl.SSLContext) -> bool:
    """Let handshakes pass whatever certificate the client sends. False where this interpreter cannot."""
    found = _native(context)
    if found is None:
        return False
    openssl, pointer = found
    set_callback = openssl.SSL_CTX_set_cert_verify_callback
    set_callback.argtypes = [ctypes.c_void_p, type(_ANY_CERTIFICATE), ctypes.c_void_p]
    set_callback.restype = None
    set_callback(pointer, _ANY_CERTIFICATE, None)
    return True


def name_authorities(context: ssl.SSLContext, files: Sequence[Path]) -> bool:
    """Tell clients the subjects of the certificates in `files`, PEM, when they are asked. False where this interpreter cannot."""
    found = _native(context)
    if found is None:
        return False
    openssl, pointer = found
    load, add = openssl.SSL_load_client_CA_file, openssl.SSL_add_file_cert_subjects_to_stack
    load.argtypes, load.restype = [ctypes.c_char_p], ctypes.c_void_p
    add.argtypes, add.restype = [ctypes.c_void_p, ctypes.c_char_p], ctypes.c_int
    first, *others = (str(file).encode() for file in files)
    names = load(first)
    if not names:
        return False
    for other in others:
        add(names, other)
    set_list = openssl.SSL_CTX_set_client_CA_list
    set_list.argtypes, set_list.restype = [ctypes.c_void_p, ctypes.c_void_p], None
    set_list(pointer, names)
    return True


def _native(context: ssl.SSLContext) -> tuple[ctypes.CDLL, ctypes.c_void_p] | None:
    """OpenSSL and its own object of a context; None where it is not to be reached, or does not look as expected."""
    import _ssl

    file = getattr(_ssl, "__file__", None)
    if file is None:
        return None
    try:
        openssl = ctypes.CDLL(file)
        get_mode = openssl.SSL_CTX_get_verify_mode
    except (OSError, AttributeError):
        return None
    # CPython's context object is the object header followed by the SSL_CTX pointer.
    pointer = ctypes.c_void_p.from_address(id(context) + object.__basicsize__)
    get_mode.argtypes = [ctypes.c_void_p]
    return (openssl, pointer) if get_mode(pointer) == int(context.verify_mode) else None


def unverified_client_context() -> ssl.SSLContext:
    """For probes and hooks, which like upstream's verify no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
