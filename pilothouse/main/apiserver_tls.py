"""The certificates of a running API server: what new connections are shown follows the files.

Source: apiserver `pkg/server/dynamiccertificates`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from pathlib import Path

from pilothouse.apiserver.configuration import FileWatch
from pilothouse.kit.clock import Clock
from pilothouse.kit.http.tls import name_authorities
from pilothouse.kit.log import get_logger

log = get_logger("pilothouse.apiserver")


async def follow(
    context: ssl.SSLContext, certificate: Path, key: Path, authorities: Sequence[Path], clock: Clock
) -> None:
    """Take up the server's certificate, and the names of clients' authorities, when their files change, until cancelled."""

    shown = _contents(certificate, key)

    async def renew() -> None:
        nonlocal shown
        found = _contents(certificate, key)
        if found == shown:
            return
        try:
            # A context that has taken half of what does not go together serves nobody.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
            context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            log.error("the server's certificate is not taken up", file=str(certificate), reason=str(error))
        else:
            shown = found
            log.info("the server's certificate is taken up", file=str(certificate))

    named = _contents(*authorities)

    async def rename() -> None:
        nonlocal named
        found = _contents(*authorities)
        if found == named:
            return
        try:
            for file in authorities:
                context.load_verify_locations(file)
            name_authorities(context, authorities)
        except (OSError, ssl.SSLError) as error:
            log.error("authorities of clients are not named", reason=str(error))
        else:
            named = found

    async with asyncio.TaskGroup() as tasks:
        for file in (certificate, key):
            tasks.create_task(FileWatch(str(file), clock).run(renew))
        for file in authorities:
            tasks.create_task(FileWatch(str(file), clock).run(rename))


def _contents(*files: Path) -> Sequence[bytes]:
    """Empty for what cannot be read."""
    found = []
    for file in files:
        try:
            found.append(file.read_bytes())
        except OSError:
            found.append(b"")
    return found
