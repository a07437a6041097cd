"""Warnings of kinds that nothing acts on: in a cluster of Pilothouse's own components, and nowhere else."""

from __future__ import annotations

import random
from ipaddress import ip_network
from pathlib import Path

import orjson
import pytest

from pilothouse.apiserver.authz.modes import AuthorizationOptions
from pilothouse.apiserver.security import SecurityOptions
from pilothouse.kit.clock import VirtualClock
from pilothouse.kit.http.message import LOCAL_PEER, Request, Response
from pilothouse.main.apiserver_parts import ServerOptions, assemble
from pilothouse.main.cluster import default_settings, processes
from pilothouse.main.paths import paths_for
from pilothouse.store.memory import MemoryStore

INGRESSES = "/apis/networking.k8s.io/v1/namespaces/default/ingresses"
INGRESS = {"metadata": {"name": "i"}, "spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}}


async def created(*, warns: bool) -> Response:
    clock = VirtualClock()
    options = ServerOptions(
        (ip_network("10.96.0.0/24"),),
        security=SecurityOptions(
            authorization=AuthorizationOptions(("AlwaysAllow",)), disable_admission=("ServiceAccount",)
        ),
        warns_without_effect=warns,
    )
    app = await assemble(MemoryStore(clock), options, clock, random.Random(1))
    headers = {"content-type": "application/json"}
    body = orjson.dumps(INGRESS)
    return await app.handle(Request("POST", INGRESSES, "", headers, body, LOCAL_PEER, INGRESSES))


@pytest.mark.parametrize("warns", [True, False])
async def test_only_a_whole_cluster_knows_that_nothing_acts_on_a_kind(warns: bool) -> None:
    response = await created(warns=warns)
    assert response.status == 201
    assert ("no controller routes its traffic" in response.headers.get("warning", "")) is warns


def test_the_api_server_of_a_whole_cluster_is_told_to_warn(tmp_path: Path) -> None:
    server = processes(default_settings(simulated=1), paths_for(tmp_path), tmp_path)[0]
    assert "--warn-without-effect=true" in server.argv
