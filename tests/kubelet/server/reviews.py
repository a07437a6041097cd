"""An API server that only reviews: tokens and what users may do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson

from pilothouse.api.status import ServiceUnavailable
from pilothouse.client.transport import Reply, StreamReply


class Reviews:
    """`tokens` gives a token's UserInfo, `allowed` the (user, verb, subresource) that may pass. `asked` records the reviews."""

    def __init__(self) -> None:
        self.tokens: dict[str, dict[str, Any]] = {}
        self.allowed: set[tuple[str, str, str]] = set()
        self.asked: list[dict[str, Any]] = []
        self.is_down = False

    async def request(
        self, method: str, path: str, *, query: Mapping[str, str], headers: Mapping[str, str], body: bytes = b""
    ) -> Reply:
        await asyncio.sleep(0)
        if self.is_down:
            raise ServiceUnavailable("no connection")
        review = orjson.loads(body)
        self.asked.append(review)
        spec = review["spec"]
        if path.endswith("/tokenreviews"):
            user = self.tokens.get(spec["token"])
            status: dict[str, Any] = (
                {"authenticated": True, "user": user} if user else {"error": "invalid bearer token"}
            )
        else:
            attributes = spec["resourceAttributes"]
            assert (attributes["resource"], attributes["version"]) == ("nodes", "v1")
            status = {"allowed": (spec["user"], attributes["verb"], attributes["subresource"]) in self.allowed}
        return Reply(201, {}, orjson.dumps({**review, "status": status}))

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> AsyncIterator[StreamReply]:
        raise AssertionError("nobody watches reviews")
        yield

    async def close(self) -> None:
        return
