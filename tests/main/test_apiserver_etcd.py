"""API servers on a real etcd: flags, several servers, an etcd that is gone, forgotten history."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from pilothouse.api import gvr, status
from pilothouse.api.meta import Object
from pilothouse.apiserver.app import ApiServer
from pilothouse.apiserver.authz.modes import AuthorizationOptions
from pilothouse.apiserver.security import SecurityOptions
from pilothouse.client.client import Client
from pilothouse.client.inprocess import InProcessTransport
from pilothouse.kit.clock import SystemClock
from pilothouse.main.apiserver import FLAGS
from pilothouse.main.apiserver_parts import ServerOptions, assemble
from pilothouse.main.apiserver_store import etcd_options, etcd_overrides, open_stores
from pilothouse.main.failure import Fatal
from pilothouse.main.flags import parse
from pilothouse.store.base import Revision
from pilothouse.store.etcd.options import EtcdOptions
from pilothouse.store.etcd.store import EtcdStore
from tests.store.etcd.server import Etcd, needs_etcd

OPTIONS = ServerOptions(
    (ip_network("10.96.0.0/24"),),
    security=SecurityOptions(
        authorization=AuthorizationOptions(("AlwaysAllow",)), disable_admission=("ServiceAccount",)
    ),
)


@dataclass
class ServerUnderTest:
    store: EtcdStore
    app: ApiServer
    client: Client


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Etcd]:
    with Etcd(tmp_path) as etcd:
        yield etcd


@pytest.fixture
async def servers(etcd: Etcd) -> AsyncIterator[tuple[ServerUnderTest, ServerUnderTest]]:
    """Two, begun at the same moment on an empty etcd."""
    clock = SystemClock()
    made: list[ServerUnderTest] = []

    async def begin(seed: int) -> None:
        store = await EtcdStore.open(EtcdOptions(etcd.urls), clock, random.Random(seed))
        try:
            options = replace(OPTIONS, advertise_address=f"192.0.2.{seed}", shares_store=True)
            app = await assemble(store, options, clock, random.Random(seed))
        except BaseException:
            await store.close()
            raise
        made.append(ServerUnderTest(store, app, Client(InProcessTransport(app.handle))))

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(begin(1))
            group.create_task(begin(2))
        yield made[0], made[1]
    finally:
        for each in made:
            await each.app.stop()
            await each.store.close()


def config(name: str, **data: str) -> Object:
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name, "namespace": "default"}, "data": data}


def event(name: str) -> Object:
    involved = {"kind": "Pod", "namespace": "default", "name": "p"}
    metadata = {"name": name, "namespace": "default"}
    return {"kind": "Event", "apiVersion": "v1", "metadata": metadata, "involvedObject": involved, "reason": "Tested"}


def service(name: str) -> Object:
    spec = {"type": "NodePort", "selector": {"a": "b"}, "ports": [{"port": 80}]}
    return {"kind": "Service", "apiVersion": "v1", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


# Flags


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--etcd-servers=http://a:1", "--database=x"], "--database and --etcd-servers exclude each other"),
        (["--etcd-prefix=/x"], "--etcd-prefix means nothing without --etcd-servers"),
        (["--lease-reuse-duration-seconds=5"], "--lease-reuse-duration-seconds means nothing without --etcd-servers"),
        (["--etcd-servers=https://a:1", "--etcd-certfile=x"], "--etcd-certfile and --etcd-keyfile go together"),
        (["--etcd-servers=https://a:1", "--etcd-cafile=/none"], "--etcd-cafile /none cannot be read: No such file"),
        (
            ["--etcd-servers-overrides=/events#http://a:1"],
            "--etcd-servers-overrides means nothing without --etcd-servers",
        ),
        (["--etcd-servers=nonsense"], "--etcd-servers: 'nonsense' is no etcd server; give a URL"),
        (["--etcd-servers=http://a:1,https://b:1"], "all etcd servers must have the same scheme"),
    ],
)
def test_flags_that_do_not_fit_together_are_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(Fatal, match=message):
        etcd_options(parse("apiserver", FLAGS, arguments))


def test_flags() -> None:
    assert etcd_options(parse("apiserver", FLAGS, [])) is None
    values = parse("apiserver", FLAGS, ["--etcd-servers=http://a:1,http://b:2", "--etcd-compaction-interval=1m"])
    assert etcd_options(values) == EtcdOptions(("http://a:1", "http://b:2"), compaction_interval_s=60)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("events#http://a:1", "give group/resource#servers"),
        ("/events", "give group/resource#servers"),
        ("/nothings#http://a:1", "there is no resource 'nothings' in group ''"),
        ("apps/pods#http://a:1", "there is no resource 'pods' in group 'apps'"),
        ("/events#nonsense", "'nonsense' is no etcd server"),
        ("/events#http://a:1;https://b:1", "all etcd servers must have the same scheme"),
    ],
)
def test_overrides_that_cannot_be_are_refused(override: str, message: str) -> None:
    values = parse("apiserver", FLAGS, ["--etcd-servers=http://a:1", f"--etcd-servers-overrides={override}"])
    options = etcd_options(values)
    assert options is not None
    with pytest.raises(Fatal, match=message):
        etcd_overrides(values, options)


# Servers


@needs_etcd
@pytest.mark.real
class TestServers:
    async def test_each_sees_the_others_writes_at_once(self, servers: tuple[ServerUnderTest, ServerUnderTest]) -> None:
        one, other = servers
        for turn in range(20):
            name = f"c{turn}"
            created = await one.client.create(gvr.CONFIG_MAPS, config(name))
            listing = await other.client.list(gvr.CONFIG_MAPS, namespace="default")
            assert name in [item["metadata"]["name"] for item in listing.items]
            assert await other.client.get(gvr.CONFIG_MAPS, "default", name) == created
            changed = await other.client.update(gvr.CONFIG_MAPS, {**created, "data": {"turn": str(turn)}})
            assert await one.client.get(gvr.CONFIG_MAPS, "default", name) == changed
            with pytest.raises(status.Conflict):
                await one.client.update(gvr.CONFIG_MAPS, created)
            await one.client.delete(gvr.CONFIG_MAPS, "default", name)
            with pytest.raises(status.NotFound):
                await other.client.get(gvr.CONFIG_MAPS, "default", name)

    async def test_a_watch_through_one_tells_what_was_written_through_the_other(
        self, servers: tuple[ServerUnderTest, ServerUnderTest]
    ) -> None:
        one, other = servers
        listing = await one.client.list(gvr.CONFIG_MAPS, namespace="default")
        async with one.client.watch(
            gvr.CONFIG_MAPS, namespace="default", resource_version=listing.resource_version
        ) as events:
            written = [await other.client.create(gvr.CONFIG_MAPS, config(f"c{number}")) for number in range(30)]
            seen = [(await anext(events)).obj["metadata"]["resourceVersion"] for _ in written]
        assert seen == [each["metadata"]["resourceVersion"] for each in written]

    async def test_the_kubernetes_service_leads_to_both(self, servers: tuple[ServerUnderTest, ServerUnderTest]) -> None:
        for server in servers:
            endpoints = await server.client.get(gvr.ENDPOINTS, "default", "kubernetes")
            assert [each["ip"] for each in endpoints["subsets"][0]["addresses"]] == ["192.0.2.1", "192.0.2.2"]

    async def test_resources_may_have_an_etcd_of_their_own(self, etcd: Etcd, tmp_path: Path) -> None:
        with Etcd(tmp_path / "events") as own:
            overrides = f"/events#{own.urls[0]},coordination.k8s.io/leases#{own.urls[0]}"
            flags = [f"--etcd-servers={etcd.urls[0]}", f"--etcd-servers-overrides={overrides}"]
            clock = SystemClock()
            stores = await open_stores(parse("apiserver", FLAGS, flags), clock, random.Random(1))
            try:
                app = await assemble(stores.default, OPTIONS, clock, random.Random(1), others=stores.others)
                client = Client(InProcessTransport(app.handle))
                await client.create(gvr.CONFIG_MAPS, config("a"))
                async with client.watch(gvr.CORE_EVENTS, namespace="default") as events:
                    assert (await anext(events)).type == "BOOKMARK"
                    made = await client.create(gvr.CORE_EVENTS, event("e"))
                    assert (await anext(events)).obj == made
                assert (await client.list(gvr.CORE_EVENTS)).items == [made]
                ready = await client.raw("GET", "/readyz", query={"verbose": ""})
                assert b"[+]etcd-override-0 ok" in ready
                assert b"[+]etcd-override-readiness-0 ok" in ready
                assert b"override-1" not in ready
                own_store, store = stores.others["/registry/core/events/"], stores.default
                assert [entry.key for entry in (await own_store.list("/registry/")).entries] == [
                    "/registry/core/events/default/e"
                ]
                assert (await store.list("/registry/core/events/")).entries == []
                assert len((await store.list("/registry/core/configmaps/default/")).entries) == 1
                await app.stop()
            finally:
                await stores.close()

    async def test_addresses_and_node_ports_are_given_once(
        self, servers: tuple[ServerUnderTest, ServerUnderTest]
    ) -> None:
        made = await asyncio.gather(
            *(servers[number % 2].client.create(gvr.SERVICES, service(f"s{number}")) for number in range(40))
        )
        assert len({each["spec"]["clusterIP"] for each in made}) == 40
        assert len({each["spec"]["ports"][0]["nodePort"] for each in made}) == 40

    async def test_a_server_that_starts_leaves_what_another_just_took(
        self, etcd: Etcd, servers: tuple[ServerUnderTest, ServerUnderTest]
    ) -> None:
        one, _ = servers
        store = await EtcdStore.open(EtcdOptions(etcd.urls), SystemClock(), random.Random(3))
        try:
            creating = asyncio.gather(
                *(one.client.create(gvr.SERVICES, service(f"s{number}")) for number in range(100))
            )
            app = await assemble(store, OPTIONS, SystemClock(), random.Random(3))
            made = await creating
            taken = {
                entry.key.rpartition("/")[2] for entry in (await store.list("/registry/ranges/nodeports/")).entries
            }
            assert {str(each["spec"]["ports"][0]["nodePort"]) for each in made} == taken
            addresses = {item["metadata"]["name"] for item in (await one.client.list(gvr.IP_ADDRESSES)).items}
            assert {each["spec"]["clusterIP"] for each in made} <= addresses
            await app.stop()
        finally:
            await store.close()

    async def test_without_etcd_requests_are_refused_and_readyz_is_red(
        self, etcd: Etcd, servers: tuple[ServerUnderTest, ServerUnderTest]
    ) -> None:
        one, _ = servers
        await one.client.create(gvr.CONFIG_MAPS, config("before"))
        assert (await one.client.raw("GET", "/readyz")) == b"ok"
        await one.client.get(gvr.CONFIG_MAPS, "default", "before")
        (member,) = etcd.members
        member.kill()
        refusals = await asyncio.gather(
            one.client.create(gvr.CONFIG_MAPS, config("during")),
            one.client.get(gvr.CONFIG_MAPS, "default", "before"),
            one.client.list(gvr.CONFIG_MAPS),
            one.client.raw("GET", "/readyz"),
            one.client.raw("GET", "/readyz/etcd"),
            return_exceptions=True,
        )
        codes = [refusal.status_code for refusal in refusals if isinstance(refusal, status.StatusError)]
        assert codes[0] in (500, 503)
        assert codes[1:] == [503, 503, 500, 500]
        assert "see that a majority of its members runs" in str(refusals[1])
        assert "[-]etcd failed: reason withheld" in str(refusals[3])
        assert "the store does not answer within 2 s" in str(refusals[4])
        assert "[-]etcd-readiness failed" in str(refusals[3])
        stale = await one.client.list(gvr.CONFIG_MAPS, namespace="default", resource_version="0")
        assert "before" in [item["metadata"]["name"] for item in stale.items]
        member.start()
        member.wait()
        await one.client.create(gvr.CONFIG_MAPS, config("after"))
        assert (await one.client.raw("GET", "/readyz")) == b"ok"

    async def test_forgotten_history_is_expired(
        self, etcd: Etcd, servers: tuple[ServerUnderTest, ServerUnderTest]
    ) -> None:
        one, _ = servers
        await one.client.create(gvr.CONFIG_MAPS, config("0"))
        first = await one.client.create(gvr.CONFIG_MAPS, config("a"))
        page = await one.client.list(gvr.CONFIG_MAPS, limit=1)
        last = await one.client.create(gvr.CONFIG_MAPS, config("b"))
        await one.store.compact(Revision(int(last["metadata"]["resourceVersion"])))
        store = await EtcdStore.open(EtcdOptions(etcd.urls), SystemClock(), random.Random(3))
        try:
            app = await assemble(store, OPTIONS, SystemClock(), random.Random(3))
            for client in (one.client, Client(InProcessTransport(app.handle))):
                old = first["metadata"]["resourceVersion"]
                query = {"resourceVersion": old, "resourceVersionMatch": "Exact"}
                with pytest.raises(
                    status.Expired, match="The resourceVersion for the provided list is too old"
                ) as refused:
                    await client.raw("GET", "/api/v1/configmaps", query=query)
                assert (refused.value.status_code, refused.value.reason) == (410, "Expired")
                with pytest.raises(status.Expired, match="The provided continue parameter is too old"):
                    await client.list(gvr.CONFIG_MAPS, continue_token=page.continue_token)
            async with client.watch(gvr.CONFIG_MAPS, resource_version=old) as events:
                with pytest.raises(status.Expired, match=rf"too old resource version: {old} \("):
                    await anext(events)
            await app.stop()
        finally:
            await store.close()
