"""Upstream's API server to measure beside Pilothouse's: started here from its binaries, or one that runs already.

The environment's KUBE_APISERVER and ETCD name the binaries. They get the certificates and flags that Pilothouse's own server gets, so that
both do the same work: TLS, Node and RBAC authorization, the default admission plugins, every write durable.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from bench import process, verbs
from bench.cluster import Components, Unmeasurable, components_in, free_port, temporary_directory
from bench.http import RequestRefused, Server, encode
from bench.subject import Subject
from pilothouse.client.kubeconfig import KubeconfigError, endpoint
from pilothouse.client.socket import Endpoint

VARIABLES = ("KUBE_APISERVER", "ETCD")
_OWN_FLAGS = frozenset({"--database", "--warn-without-effect"})
_cpu_of_process = re.compile(rb"^process_cpu_seconds_total ([0-9.e+-]+)$", re.MULTILINE).search


@asynccontextmanager
async def from_binaries() -> AsyncIterator[Subject]:
    """Its own etcd and API server, removed in the end. Raises Unmeasurable."""
    programs = [os.environ.get(name, "") for name in VARIABLES]
    for name, program in zip(VARIABLES, programs, strict=True):
        if not os.access(program, os.X_OK):
            raise Unmeasurable(f"{name} must name upstream's binary, or give --beside a kubeconfig; it is {program!r}")
    with temporary_directory() as directory:
        components = components_in(directory)
        client_url, peer_url = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        try:
            components.start("etcd", [programs[1], *_etcd_flags(directory, client_url, peer_url)])
            components.start("kube-apiserver", [programs[0], *_api_server_flags(components, client_url)])
            await components.until_ready()
            pids = [components.pid(name) for name in ("etcd", "kube-apiserver")]

            async def used_s() -> float:
                return process.cpu_s(pids)

            yield Subject(components.server, used_s)
        finally:
            components.stop()


def _etcd_flags(directory: Path, client_url: str, peer_url: str) -> list[str]:
    return [
        f"--data-dir={directory / 'etcd'}",
        f"--listen-client-urls={client_url}",
        f"--advertise-client-urls={client_url}",
        f"--listen-peer-urls={peer_url}",
        f"--initial-advertise-peer-urls={peer_url}",
        f"--initial-cluster=default={peer_url}",
    ]


def _api_server_flags(components: Components, etcd_url: str) -> list[str]:
    """Those of Pilothouse's server, with etcd in the place of its database, and without those that upstream does not have."""
    flags = [flag for flag in components.api_server_flags() if flag.partition("=")[0] not in _OWN_FLAGS]
    return [*flags, f"--etcd-servers={etcd_url}", "--bind-address=127.0.0.1"]


@asynccontextmanager
async def from_kubeconfig(path: Path) -> AsyncIterator[Subject]:
    """One that runs. Its CPU time is what its own metrics tell, without its store. Raises Unmeasurable."""
    try:
        found = endpoint(path)
    except KubeconfigError as error:
        raise Unmeasurable(str(error)) from error
    server = _server_of(path, found)

    async def used_s() -> float:
        metrics = await server.answer(encode("GET", "/metrics"))
        value = _cpu_of_process(metrics)
        if value is None:
            raise Unmeasurable(f"{path}: the server's /metrics does not tell process_cpu_seconds_total")
        return float(value[1])

    try:
        yield Subject(server, used_s)
    finally:
        await asyncio.shield(_clean_up(server))


def _server_of(path: Path, found: Endpoint) -> Server:
    url = urlsplit(found.url)
    if url.scheme != "https" or not url.hostname or not found.certificate:
        raise Unmeasurable(f"{path}: a server with https and a user with a client certificate are needed")
    return Server(url.port or 443, found.ssl_context(), url.hostname)


async def _clean_up(server: Server) -> None:
    for resource in verbs.MADE:
        try:
            await server.request("DELETE", resource)
        except (RequestRefused, OSError):
            continue
