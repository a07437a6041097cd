"""How the kubelet's server says no: a status code and plain text, which the API server turns into a Status."""

from __future__ import annotations

from pilothouse.kit.http.message import Response


class Refused(Exception):
    """The request is answered by `code` and the text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code

    @property
    def response(self) -> Response:
        return plain(self.code, str(self))


def plain(code: int, text: str) -> Response:
    return Response(code, {"content-type": "text/plain; charset=utf-8"}, text.encode())
