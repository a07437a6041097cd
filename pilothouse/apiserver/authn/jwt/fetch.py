"""GET of what issuers publish, over TLS. Connections are not kept: it happens rarely."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from urllib.parse import urljoin, urlsplit

from pilothouse.kit.http.client import Answer, ConnectionFailed, HttpPool, ResponseTimeout

TIMEOUT_S = 30.0
MAX_REDIRECTS = 10
MAX_BYTES = 8 << 20
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class FetchFailed(Exception):
    """No answer came."""


class Fetcher:
    def __init__(self, authority: str = "") -> None:
        """`authority` is PEM; without it the machine's authorities are trusted."""
        self._authority = authority
        self._context: ssl.SSLContext | None = None

    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> Answer:
        """The answer, whatever its status. Raises FetchFailed."""
        # Up to its first suspension a request is worked on outside a task, where no time-out can be set.
        await asyncio.sleep(0)
        shown = f'Get "{url}"'
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._follow(url, headers or {})
        except (TimeoutError, ResponseTimeout):
            raise FetchFailed(f"{shown}: context deadline exceeded") from None
        except (ConnectionFailed, ssl.SSLError, ValueError) as error:
            raise FetchFailed(f"{shown}: {error}") from None

    async def _follow(self, url: str, headers: Mapping[str, str]) -> Answer:
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._once(url, headers)
            location = answer.headers.get("location", "")
            if answer.status not in _REDIRECTS or not location:
                if len(answer.body) > MAX_BYTES:
                    raise ConnectionFailed(f"the answer is larger than {MAX_BYTES} bytes")
                return answer
            target = urljoin(url, location)
            if urlsplit(target).netloc != urlsplit(url).netloc:
                headers = {name: value for name, value in headers.items() if name != "authorization"}
            url = target
        raise ConnectionFailed(f"stopped after {MAX_REDIRECTS} redirects")

    async def _once(self, url: str, headers: Mapping[str, str]) -> Answer:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConnectionFailed(f'unsupported protocol scheme "{parts.scheme}"')
        context = self._tls() if parts.scheme == "https" else None
        pool = HttpPool(
            parts.hostname, parts.port or (443 if context else 80), ssl_context=context, timeout_s=TIMEOUT_S
        )
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        try:
            return await pool.request("GET", target, headers={"user-agent": "kube-apiserver", **headers})
        finally:
            await pool.close()

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = ssl.create_default_context(cadata=self._authority or None)
            # Authorities that were made without the key usage extension are as good here as they are to upstream.
            self._context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return self._context
