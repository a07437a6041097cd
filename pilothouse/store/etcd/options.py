"""Where etcd is and how it is used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

DEFAULT_PREFIX = "/registry"
COMPACTION_INTERVAL_S = 300.0
LEASE_REUSE_S = 60.0


class Material(NamedTuple):
    """What connections are encrypted with, PEM."""

    authority: bytes | None
    certificate: bytes | None
    key: bytes | None


@dataclass(frozen=True, slots=True)
class EtcdOptions:
    """`servers` are URLs (`https://10.0.0.1:2379`) or `host:port`; authorities, certificate and key are PEM: a file or the bytes.

    Files may be replaced while they are in use: new connections are made with what they hold then. With `compaction_interval_s` 0 this
    server compacts nothing. Keys that expire share a lease for `lease_reuse_s` at most.
    """

    servers: tuple[str, ...]
    authority: Path | bytes | None = None
    certificate: Path | bytes | None = None
    key: Path | bytes | None = None
    prefix: str = DEFAULT_PREFIX
    compaction_interval_s: float = COMPACTION_INTERVAL_S
    lease_reuse_s: float = LEASE_REUSE_S

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

    def material(self) -> Material:
        """What the files hold now. Raises OSError."""
        return Material(_content(self.authority), _content(self.certificate), _content(self.key))

    @property
    def is_secure(self) -> bool:
        """Whether connections are encrypted: with an `https` server or an authority."""
        return self.authority is not None or self.servers[0].startswith("https://")

    @property
    def root(self) -> str:
        """The prefix with a slash before it and none behind it."""
        return "/" + self.prefix.strip("/")


def _content(pem: Path | bytes | None) -> bytes | None:
    return pem.read_bytes() if isinstance(pem, Path) else pem


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
