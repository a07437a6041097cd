"""A webhook that a kubeconfig file names: authentication, authorization and the audit log ask or tell it.

The file's server is asked at exactly its URL. What may pass by itself (a broken connection, 429, 500, 504, Retry-After) is tried again,
five times at most with growing pauses. Source: apiserver `pkg/util/webhook/webhook.go`.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from pilothouse.api.meta import Object
from pilothouse.apiserver.webhooks.client import refusal_of
from pilothouse.client.kubeconfig import KubeconfigError, endpoint
from pilothouse.client.socket import Endpoint
from pilothouse.kit.backoff import Backoff, BackoffPolicy
from pilothouse.kit.clock import Clock
from pilothouse.kit.http.client import Answer, ConnectionFailed, HttpPool, ResponseTimeout

TIMEOUT_S = 30.0
ATTEMPTS = 5
RETRY = BackoffPolicy(base_s=0.5, max_s=60.0, factor=1.5, jitter=0.2)
_MAY_PASS = frozenset({429, 500, 504})


class RemoteFailed(Exception):
    """The webhook gave no answer that can be used. `code` is its HTTP status, 0 if there is none."""

    def __init__(self, text: str, code: int = 0, *, is_timeout: bool = False, may_pass: bool = False) -> None:
        super().__init__(text)
        self.code = code
        self.is_timeout = is_timeout or code == 504
        self.may_pass = may_pass or code in _MAY_PASS


Observe = Callable[[RemoteFailed | None, float], None]
"""Told how each attempt ended, and how many seconds it took."""


def read_endpoint(file: str) -> Endpoint:
    """Where the file's current context leads. Raises ValueError for one that cannot be used."""
    try:
        found = endpoint(Path(file))
        found.ssl_context()
    except (KubeconfigError, OSError, ssl.SSLError) as error:
        raise ValueError(f"webhook kubeconfig {file}: {error}") from error
    return found


class RemoteWebhook:
    """Connects on first use. Belongs to one event loop."""

    def __init__(
        self,
        endpoint: Endpoint,
        clock: Clock,
        rng: random.Random,
        *,
        timeout_s: float = TIMEOUT_S,
        retry: BackoffPolicy = RETRY,
        retries_all: bool = False,
    ) -> None:
        """With `retries_all` every failure is taken for one that may pass."""
        self._endpoint = endpoint
        self._clock = clock
        self._rng = rng
        self._timeout_s = timeout_s
        self._retry = retry
        self._retries_all = retries_all
        self._pool: HttpPool | None = None

    async def ask(self, document: Mapping[str, Any], observe: Observe | None = None) -> Object:
        """The object that answers `document`. Raises RemoteFailed with the last failure."""
        answer = await self.post(orjson.dumps(document), observe)
        try:
            found = orjson.loads(answer)
        except orjson.JSONDecodeError as error:
            raise RemoteFailed(f"couldn't get version/kind; json parse error: {error}", 200) from None
        if not isinstance(found, dict):
            raise RemoteFailed("couldn't get version/kind; json parse error: the answer is not an object", 200)
        return found

    async def post(self, body: bytes, observe: Observe | None = None) -> bytes:
        """The body of the answer. Raises RemoteFailed with the last failure."""
        # Up to its first suspension a request is worked on outside a task, where no time-out can be set.
        await asyncio.sleep(0)
        backoff = Backoff(self._retry, self._rng)
        for attempt in range(1, ATTEMPTS + 1):
            began = self._clock.monotonic()
            try:
                answer = await self._send(body)
            except RemoteFailed as failure:
                if observe is not None:
                    observe(failure, self._clock.monotonic() - began)
                if attempt == ATTEMPTS or not (failure.may_pass or self._retries_all):
                    raise
            else:
                if observe is not None:
                    observe(None, self._clock.monotonic() - began)
                return answer
            await self._clock.sleep(backoff.next())
        raise AssertionError("the last attempt returns or raises")

    async def close(self) -> None:
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await pool.close()

    async def _send(self, body: bytes) -> bytes:
        url = self._endpoint.url
        shown = f'Post "{url}?timeout={self._timeout_s:g}s"'
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._exchange(body)
        except (TimeoutError, ResponseTimeout):
            raise RemoteFailed(f"{shown}: context deadline exceeded", is_timeout=True) from None
        except ConnectionFailed as error:
            raise RemoteFailed(f"{shown}: {error}", may_pass="closed the connection" in str(error)) from None
        if 200 <= answer.status <= 299:
            return answer.body
        raise RemoteFailed(refusal_of(answer), answer.status, may_pass="retry-after" in answer.headers)

    async def _exchange(self, body: bytes) -> Answer:
        parts = urlsplit(self._endpoint.url)
        headers = {
            "content-type": "application/json",
            "accept": "application/json, */*",
            "user-agent": "kube-apiserver",
            **self._endpoint.headers,
        }
        if token := self._token():
            headers["authorization"] = f"Bearer {token}"
        target = f"{parts.path or '/'}?timeout={self._timeout_s:g}s"
        try:
            return await self._open().request("POST", target, headers=headers, body=body)
        except ConnectionFailed as error:
            if "closed the connection" not in str(error):
                raise
        # The server may have closed a kept connection just as it was taken.
        return await self._open().request("POST", target, headers=headers, body=body)

    def _token(self) -> str:
        if self._endpoint.token_file is None:
            return self._endpoint.token
        try:
            return self._endpoint.token_file.read_text().strip()
        except OSError as error:
            raise RemoteFailed(f"the token of the webhook cannot be read: {error}") from error

    def _open(self) -> HttpPool:
        if self._pool is None:
            parts = urlsplit(self._endpoint.url)
            context = self._endpoint.ssl_context()
            if context is not None:
                # Authorities that were made without the key usage extension are as good here as they are to upstream.
                context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            self._pool = HttpPool(
                parts.hostname or "",
                parts.port or (80 if context is None else 443),
                ssl_context=context,
                server_name=self._endpoint.server_name,
                timeout_s=self._timeout_s,
            )
        return self._pool
