"""By what extension servers know users and this server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from pilothouse.api import gvr as kinds
from pilothouse.apiserver.aggregation.trust import KEEP_S, NAME, NAMESPACE, Trust, combined, keep, publish
from pilothouse.kit.clock import VirtualClock
from pilothouse.kit.pki import AUTHORITY_LIFETIME_S, Authority, Pki
from pilothouse.store.base import StoreUnavailable
from tests.apiserver.harness import Harness

CLIENTS, PROXIES = "client-ca-file", "requestheader-client-ca-file"
NAMES = "requestheader-allowed-names"


@pytest.fixture
def pems(tmp_path: Path) -> tuple[str, str]:
    pki = Pki(tmp_path, VirtualClock())
    pki.ensure([Authority("a", "a"), Authority("b", "b")])
    return pki.certificate_path("a").read_text(), pki.certificate_path("b").read_text()


def test_what_another_server_has_put_there_stays(pems: tuple[str, str]) -> None:
    first, second = pems
    now = VirtualClock().now()
    theirs = Trust(first, first, ["x", "y"]).data()
    data = combined(theirs, Trust(second, "", []).data(), now)
    assert data[CLIENTS] == first + second
    assert data[PROXIES] == first
    data = combined(theirs, Trust(first, second, ["z", "x"]).data(), now)
    assert (data[CLIENTS], data[PROXIES], json.loads(data[NAMES])) == (first, first + second, ["x", "y", "z"])


def test_what_is_not_told(pems: tuple[str, str]) -> None:
    first, second = pems
    now = VirtualClock().now()
    present = {CLIENTS: first.replace("-----END", "-----EN"), NAMES: "[", "odd": "key"}
    data = combined(present, Trust(second, second, ["x"]).data(), now)
    assert (data[CLIENTS], json.loads(data[NAMES]), "odd" in data) == (second, ["x"], False)
    assert combined({}, Trust(first).data(), now + AUTHORITY_LIFETIME_S + 400) == {}


async def fail(*arguments: object) -> None:
    raise StoreUnavailable("the disk is full")


async def test_it_is_kept(pems: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = pems
    harness = Harness()
    clock = harness.clock
    config_maps = await harness.app.registry(harness.app.endpoint(kinds.CONFIG_MAPS).resource)
    trusts = [Trust(first)]
    await publish(config_maps, trusts[0], clock.now())
    keeping = asyncio.ensure_future(keep(config_maps, lambda: trusts[-1], clock))

    def data() -> dict[str, str]:
        found = config_maps.cacher.get(NAMESPACE, NAME)
        assert found is not None
        told: dict[str, str] = found.object()["data"]
        return told

    try:
        await clock.advance(KEEP_S)
        written = config_maps.cacher.get(NAMESPACE, NAME)
        await clock.advance(3 * KEEP_S)
        assert config_maps.cacher.get(NAMESPACE, NAME) is written
        trusts.append(Trust(second))
        change = config_maps.change
        with monkeypatch.context() as patched:
            patched.setattr(config_maps, "change", fail)
            await clock.advance(KEEP_S)
        assert config_maps.change == change
        assert data() == {CLIENTS: first}
        await clock.advance(KEEP_S)
        assert data() == {CLIENTS: first + second}
        path = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{NAME}"
        assert (await harness.request("DELETE", path)).status == 200
        await clock.advance(KEEP_S)
        assert data() == {CLIENTS: second}
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
