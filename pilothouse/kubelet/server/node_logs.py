"""`/logs/`: the files below the machine's log directory, for those who may read the node's logs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from html import escape
from pathlib import Path
from urllib.parse import quote

from pilothouse.kit.http.message import Request, Response
from pilothouse.kubelet.server.refusal import Refused

_PIECE_BYTES = 256 * 1024
_NOT_FOUND = "404 page not found\n"


def get(request: Request, rest: list[str], root: Path = Path("/var/log")) -> Response:
    """A directory's listing, or a file's content as it is now. Raises Refused."""
    if any(part in ("", ".", "..") for part in rest[:-1]) or rest[-1:] in ([".."], ["."]):
        raise Refused(404, _NOT_FOUND)
    path = root.joinpath(*rest)
    try:
        if path.is_dir():
            if not request.path.endswith("/"):
                return Response(301, {"location": request.path.rpartition("/")[2] + "/"})
            return Response(200, {"content-type": "text/html; charset=utf-8"}, _listing(path).encode())
        if not path.is_file():
            raise Refused(404, _NOT_FOUND)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise Refused(404, _NOT_FOUND) from error
    return Response(200, {"content-type": "text/plain; charset=utf-8"}, _content(descriptor))


def _listing(directory: Path) -> str:
    names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in os.scandir(directory))
    lines = "\n".join(f'<a href="{quote(name)}">{escape(name)}</a>' for name in names)
    return f"<!doctype html>\n<pre>\n{lines}\n</pre>\n"


async def _content(descriptor: int) -> AsyncIterator[bytes]:
    """What the file holds at the beginning: one that grows faster than it is read must end, too."""
    try:
        left = os.fstat(descriptor).st_size
        while left > 0 and (piece := os.read(descriptor, min(_PIECE_BYTES, left))):
            left -= len(piece)
            yield piece
            await asyncio.sleep(0)
    finally:
        os.close(descriptor)
