"""Where etcd is and how it is used."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

DEFAULT_PREFIX = "/registry"
COMPACTION_INTERVAL_S = 300.0


@dataclass(frozen=True, slots=True)
class EtcdOptions:
    """`servers` are URLs (`https://10.0.0.1:2379`) or `host:port`; certificates and keys are PEM.

    With `compaction_interval_s` 0 this server compacts nothing.
    """

    servers: tuple[str, ...]
    authority: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None
    prefix: str = DEFAULT_PREFIX
    compaction_interval_s: float = COMPACTION_INTERVAL_S

    def check(self) -> None:
        """Raises ValueError for servers that are none, for a mixture of schemes, and for keys without encryption."""
        self.targets()
        schemes = {urlsplit(server).scheme if "://" in server else "" for server in self.servers}
        if len(schemes) > 1:
            raise ValueError("all etcd servers must have the same scheme")
        if "http" in schemes and (self.authority or self.certificate):
            raise ValueError("certificates are given, but the servers' scheme is http; use https")

    def targets(self) -> tuple[str, ...]:
        """The servers as gRPC names them. Raises ValueError."""
        if not self.servers:
            raise ValueError("no etcd server is named")
        return tuple(_target(server) for server in self.servers)

    @property
    def is_secure(self) -> bool:
        """Whether connections are encrypted: with an `https` server or an authority."""
        return self.authority is not None or self.servers[0].startswith("https://")

    @property
    def root(self) -> str:
        """The prefix with a slash before it and none behind it."""
        return "/" + self.prefix.strip("/")


def _target(server: str) -> str:
    url = urlsplit(server if "://" in server else f"//{server}")
    try:
        port = url.port
    except ValueError:
        port = None
    if url.scheme not in ("", "http", "https") or not url.hostname or not port:
        raise ValueError(f"{server!r} is no etcd server; give a URL such as https://10.0.0.1:2379")
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    return f"{host}:{port}"
