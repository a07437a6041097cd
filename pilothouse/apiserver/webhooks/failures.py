"""What is told of a webhook that could not be asked, in the words of upstream's client, which people look for.

Source: client-go `rest/request.go`, apimachinery `pkg/api/errors` (`NewGenericServerResponse`), Go's `net` and `crypto/x509`.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping

from pilothouse.kit.http.client import Answer, ConnectionFailed

_EXPIRED, _MISMATCH = frozenset({9, 10}), frozenset({62, 64})
"""Of OpenSSL's verification results: not in its time, not of this name or address."""
_STATUSES: Mapping[int, str] = {
    400: "the server rejected our request for an unknown reason",
    401: "the server has asked for the client to provide credentials",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    409: "the server reported a conflict",
    422: "the server rejected our request due to an error in our request",
    429: "the server has received too many requests and has asked us to try again later",
    503: "the server is currently unable to handle the request",
    504: "the server was unable to return a response in the time allotted, but may still be processing the request",
}
_TOLD = frozenset({403, 406, 415})
"""Where the server's own text is the message."""
_MAX_TEXT = 2048


def connection_text(error: ConnectionFailed, host: str, port: int) -> str:
    """Why there was no connection, or no answer on it."""
    cause = error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"tls: failed to verify certificate: x509: {_certificate_text(cause, host)}"
    if isinstance(cause, socket.gaierror):
        return f"dial tcp: lookup {host}: no such host"
    if isinstance(cause, ConnectionRefusedError):
        return f"dial tcp {_address(host)}:{port}: connect: connection refused"
    if "closed the connection" in str(error):
        return "EOF"
    return str(error)


def _certificate_text(error: ssl.SSLCertVerificationError, host: str) -> str:
    if error.verify_code in _EXPIRED:
        return "certificate has expired or is not yet valid"
    if error.verify_code in _MISMATCH:
        return f"certificate is not valid for {host}: {error.verify_message}"
    return "certificate signed by unknown authority"


def _address(host: str) -> str:
    if host == "localhost":
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def answer_text(answer: Answer) -> str:
    """What a failed answer means."""
    is_text = answer.headers.get("content-type", "").startswith("text/")
    said = answer.body[:_MAX_TEXT].decode(errors="replace").strip() if is_text else ""
    said = said or "unknown"
    if answer.status in _STATUSES:
        return _STATUSES[answer.status]
    if answer.status in _TOLD:
        return said
    if answer.status >= 500:
        quoted = said.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'an error on the server ("{quoted}") has prevented the request from succeeding'
    return f"the server responded with the status code {answer.status} but did not return more information"
