"""The API server over a connection: TLS, client certificate or bearer token, a pool of kept-alive connections.

Failures to connect and broken connections are raised as `status.ServiceUnavailable`, time-outs as `status.Timeout`.
"""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

from pilothouse.api import status
from pilothouse.client.transport import Reply, StreamReply
from pilothouse.kit.http.client import ConnectionFailed, HttpPool, ResponseTimeout


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
        self._prefix = urlsplit(endpoint.url).path.rstrip("/")
        self._pool: HttpPool | None = None
        self._token = _TokenFile(endpoint.token_file) if endpoint.token_file else None

    async def request(
        self, method: str, path: str, *, query: Mapping[str, str], headers: Mapping[str, str], body: bytes = b""
    ) -> Reply:
        try:
            answer = await self._open().request(
                method, self._target(path, query), headers=self._authorized(headers), body=body
            )
        except ResponseTimeout as error:
            raise status.Timeout(f"{self.endpoint.url}: {error}") from error
        except ConnectionFailed as error:
            raise self._unavailable(error) from error
        return Reply(answer.status, answer.headers, answer.body)

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> AsyncIterator[StreamReply]:
        async with AsyncExitStack() as stack:
            try:
                answer = await stack.enter_async_context(
                    self._open().stream(method, self._target(path, query), headers=self._authorized(headers))
                )
            except ResponseTimeout as error:
                raise status.Timeout(f"{self.endpoint.url}: {error}") from error
            except ConnectionFailed as error:
                raise self._unavailable(error) from error
            yield StreamReply(answer.status, answer.headers, self._chunks(answer.chunks))

    def without_credentials(self) -> SocketTransport:
        """A transport to the same server, with connections of its own, on which one is nobody."""
        bare = replace(self.endpoint, certificate=None, key=None, token="", token_file=None, headers={})
        return SocketTransport(bare, timeout_s=self._timeout_s, connect_timeout_s=self._connect_timeout_s)

    async def close(self) -> None:
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await pool.close()

    async def _chunks(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        try:
            async for chunk in chunks:
                yield chunk
        except ConnectionFailed as error:
            raise self._unavailable(error) from error

    def _open(self) -> HttpPool:
        if self._pool is None:
            try:
                context = self.endpoint.ssl_context()
            except (OSError, ValueError) as error:
                raise status.Unauthorized(f"the credentials for {self.endpoint.url} cannot be used: {error}") from error
            url = urlsplit(self.endpoint.url)
            self._pool = HttpPool(
                url.hostname or "",
                url.port or (80 if context is None else 443),
                ssl_context=context,
                server_name=self.endpoint.server_name,
                connect_timeout_s=self._connect_timeout_s,
                timeout_s=self._timeout_s,
            )
        return self._pool

    def _target(self, path: str, query: Mapping[str, str]) -> str:
        target = self._prefix + quote(path, safe="/:@!$&'()*+,;=~")
        return f"{target}?{urlencode(query)}" if query else target

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
