"""The API server over a connection: TLS, client certificate or bearer token, a pool of kept-alive connections.

Failures to connect and broken connections are raised as `status.ServiceUnavailable`, time-outs as `status.Timeout`.
"""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from pilothouse.api import status
from pilothouse.client.transport import Reply, StreamReply

if TYPE_CHECKING:
    import aiohttp


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an API server is and how to prove who one is.

    Authorities, certificate and key are PEM: a file, or the bytes themselves. `token_file` is read again when it changes and takes
    precedence over `token`. Without `ca` the system's authorities are trusted; `insecure` trusts everybody.
    """

    url: str
    ca: Path | bytes | None = None
    certificate: Path | bytes | None = None
    key: Path | bytes | None = None
    token: str = ""
    token_file: Path | None = None
    server_name: str = ""
    insecure: bool = False
    proxy: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def ssl_context(self) -> ssl.SSLContext | None:
        """The TLS settings; None for plain HTTP. Raises OSError or ssl.SSLError for files that cannot be used."""
        if not self.url.startswith("https:"):
            return None
        if isinstance(self.ca, bytes):
            context = ssl.create_default_context(cadata=self.ca.decode())
        else:
            context = ssl.create_default_context(cafile=self.ca)
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.certificate is not None:
            with _as_file(self.certificate) as certificate, _as_file(self.key) as key:
                context.load_cert_chain(str(certificate), key)
        return context


@contextmanager
def _as_file(material: Path | bytes | None) -> Iterator[Path | None]:
    """A file with `material`: Python's TLS reads certificates from files only. Data gets a private one that is removed again."""
    if not isinstance(material, bytes):
        yield material
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(material)
        file.flush()
        yield Path(file.name)


class SocketTransport:
    """A pool of connections to one endpoint. It connects on first use and can be used by one event loop."""

    def __init__(self, endpoint: Endpoint, *, timeout_s: float = 60.0, connect_timeout_s: float = 10.0) -> None:
        self.endpoint = endpoint
        self._timeout_s = timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._session: aiohttp.ClientSession | None = None
        self._token = _TokenFile(endpoint.token_file) if endpoint.token_file else None

    async def request(
        self, method: str, path: str, *, query: Mapping[str, str], headers: Mapping[str, str], body: bytes = b""
    ) -> Reply:
        import aiohttp

        session = self._open()
        try:
            async with session.request(
                method,
                self._url(path, query),
                headers=self._authorized(headers),
                data=body or None,
                **self._tls_options(),
            ) as response:
                content = await response.read()
                return Reply(response.status, _lower(response.headers), content)
        except TimeoutError as error:
            raise status.Timeout(f"{self.endpoint.url} did not answer {method} {path} in time") from error
        except (aiohttp.ClientError, OSError) as error:
            raise self._unavailable(error) from error

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> AsyncIterator[StreamReply]:
        import aiohttp

        session = self._open()
        # A stream may be silent for as long as it likes; only connecting is limited.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout_s)
        try:
            response = await session.request(
                method,
                self._url(path, query),
                headers=self._authorized(headers),
                timeout=timeout,
                **self._tls_options(),
            )
        except TimeoutError as error:
            raise status.Timeout(f"{self.endpoint.url} did not answer {method} {path} in time") from error
        except (aiohttp.ClientError, OSError) as error:
            raise self._unavailable(error) from error
        try:
            yield StreamReply(response.status, _lower(response.headers), self._chunks(response))
        finally:
            # A stream that is left before its end cannot be used again: closing it tells the server.
            response.close()

    async def close(self) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def _chunks(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        import aiohttp

        try:
            async for chunk in response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, OSError) as error:
            raise self._unavailable(error) from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            import aiohttp

            try:
                context = self.endpoint.ssl_context()
            except (OSError, ValueError) as error:
                raise status.Unauthorized(f"the credentials for {self.endpoint.url} cannot be used: {error}") from error
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0, ssl=context if context is not None else True, keepalive_timeout=90
                ),
                timeout=aiohttp.ClientTimeout(total=self._timeout_s, sock_connect=self._connect_timeout_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=True,
                read_bufsize=1 << 18,
                skip_auto_headers=("Accept-Encoding", "User-Agent", "Content-Type"),
            )
        return self._session

    def _tls_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if self.endpoint.server_name:
            options["server_hostname"] = self.endpoint.server_name
        if self.endpoint.proxy:
            options["proxy"] = self.endpoint.proxy
        return options

    def _url(self, path: str, query: Mapping[str, str]) -> Any:
        from yarl import URL

        url = self.endpoint.url.rstrip("/") + quote(path, safe="/:@!$&'()*+,;=~")
        return URL(f"{url}?{urlencode(query)}" if query else url, encoded=True)

    def _authorized(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        token = self._token.read() if self._token is not None else self.endpoint.token
        extra = {"authorization": f"Bearer {token}"} if token else {}
        return {**headers, **self.endpoint.headers, **extra}

    def _unavailable(self, error: Exception) -> status.ServiceUnavailable:
        return status.ServiceUnavailable(f"cannot reach the API server at {self.endpoint.url}: {error}")


class _TokenFile:
    """A token in a file that others renew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._token = ""

    def read(self) -> str:
        try:
            stat = self._path.stat()
            seen = (stat.st_mtime_ns, stat.st_ino)
            if seen != self._seen:
                self._token = self._path.read_text().strip()
                self._seen = seen
        except OSError as error:
            if not self._token:
                raise status.Unauthorized(f"cannot read the token file {self._path}: {error.strerror}") from error
        return self._token


def _lower(headers: Mapping[str, str]) -> Mapping[str, str]:
    return {name.lower(): value for name, value in headers.items()}
