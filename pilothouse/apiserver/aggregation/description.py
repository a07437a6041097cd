"""What extension servers say of their kinds in OpenAPI 3: found in their index, named in this server's, passed on when it is asked for.

The document itself is never kept here. Source: kube-aggregator `pkg/controllers/openapiv3/aggregator`, KEP-2896.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import orjson

from pilothouse.api.status import StatusError
from pilothouse.apiserver.aggregation.availability import AGGREGATOR, CHECK_TIMEOUT_S, MAX_ANSWER_BYTES
from pilothouse.apiserver.aggregation.backend import Backend, Unresolvable, identified, resolve
from pilothouse.apiserver.app import Connector
from pilothouse.apiserver.objects import Objects
from pilothouse.apiserver.proxy.backend import fetch, read_some
from pilothouse.kit.http.client import ConnectionFailed

INDEX_PATH = "/openapi/v3"


@dataclass(frozen=True, slots=True)
class Description:
    """The document of one group version: `url` is where the extension server's own index has it, `serve` gives it."""

    url: str
    serve: Connector


Describe = Callable[[Mapping[str, Description]], None]
"""Takes all descriptions there are, by their names (`apis/GROUP/VERSION`)."""


def no_description(descriptions: Mapping[str, Description]) -> None:
    """For a server without OpenAPI."""


async def document_url(backend: Backend, objects: Objects) -> str:
    """Where the extension server has the document of the group version; empty if it tells of none or does not answer."""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            address = (await resolve(objects, backend.reference, backend.port))[0]
            headers = identified({"accept": "application/json"}, AGGREGATOR)
            code, _, body = await fetch("GET", backend.target(address, INDEX_PATH), headers)
            text = await read_some(body, MAX_ANSWER_BYTES)
        paths = orjson.loads(text)["paths"] if code == 200 else {}
        return str(paths[backend.path.strip("/")]["serverRelativeURL"])
    except (Unresolvable, TimeoutError, StatusError, ConnectionFailed, OSError, ValueError, KeyError, TypeError):
        return ""
