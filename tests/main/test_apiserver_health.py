"""The checks of a whole API server."""

from __future__ import annotations

import random
from ipaddress import ip_network

import pytest

from pilothouse.apiserver.authz.modes import AuthorizationOptions
from pilothouse.apiserver.security import SecurityOptions
from pilothouse.kit.clock import VirtualClock
from pilothouse.kit.http.message import LOCAL_PEER, Request
from pilothouse.main.apiserver_parts import ServerOptions, assemble
from pilothouse.store.memory import MemoryStore


@pytest.mark.parametrize(("endpoint", "is_ready"), [("healthz", False), ("livez", False), ("readyz", True)])
async def test_what_the_start_has_done_is_named_as_upstream_names_it(endpoint: str, is_ready: bool) -> None:
    clock = VirtualClock()
    security = SecurityOptions(authorization=AuthorizationOptions(("AlwaysAllow",)))
    options = ServerOptions((ip_network("10.96.0.0/24"),), security=security)
    app = await assemble(MemoryStore(clock), options, clock, random.Random(1))

    async def get(path: str, query: str = "") -> bytes:
        response = await app.handle(Request("GET", path, query, {}, b"", LOCAL_PEER, path))
        assert response.status == 200
        assert isinstance(response.body, bytes)
        return response.body

    lines = (await get(f"/{endpoint}", "verbose=1")).decode().splitlines()
    assert {"[+]ping ok", "[+]etcd ok", "[+]poststarthook/rbac/bootstrap-roles ok"} <= set(lines)
    assert ("[+]informer-sync ok" in lines) is is_ready
    assert await get(f"/{endpoint}/poststarthook/rbac/bootstrap-roles") == b"ok"
