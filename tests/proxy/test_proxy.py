"""The component: from objects to transactions, over failures, and out again."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes.util
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from pilothouse.api.gvr import ENDPOINT_SLICES, NODES, SERVICES
from pilothouse.kit.clock import SystemClock
from pilothouse.proxy.backends.libnftables import Libnftables, NftError
from pilothouse.proxy.conntrack import Conntrack
from pilothouse.proxy.proxy import Proxy, ProxyOptions
from tests.proxy.informers import HandInformers
from tests.proxy.namespaces import IP, EchoServer, Network, ask, ask_udp, can_make_namespaces, within

OPTIONS = ProxyOptions(
    node_name="here",
    localhost_node_ports=False,
    health_port=0,
    metrics_port=0,
    min_sync_period_s=0,
    check_period_s=0.01,
)


class RecordingNft:
    """Keeps the transactions; refuses those that `refuse` says."""

    def __init__(self) -> None:
        self.transactions: list[str] = []
        self.refuse: Callable[[str], bool] = lambda commands: False
        self.is_present = True
        self._loop = asyncio.get_running_loop()
        self._ran = asyncio.Event()

    def run(self, commands: str) -> str:
        if self.refuse(commands):
            raise NftError("refused")
        self.transactions.append(commands)
        self.is_present = True
        self._loop.call_soon_threadsafe(self._ran.set)
        return ""

    def list(self, what: str) -> list[dict[str, Any]]:
        if what.startswith("chain ") and not self.is_present:
            raise NftError("no such table")
        return []

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                self._ran.clear()
                await self._ran.wait()


def service(name: str = "web", address: str = "10.96.0.20", protocol: str = "TCP", **spec: Any) -> dict[str, Any]:
    ports = [{"name": "p", "port": 80, "protocol": protocol}]
    return {
        "metadata": {"namespace": "n", "name": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"clusterIP": address, "ports": ports, **spec},
    }


def slice_of(*addresses: str, name: str = "web", protocol: str = "TCP") -> dict[str, Any]:
    return {
        "metadata": {"namespace": "n", "name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "p", "port": 8080, "protocol": protocol}],
        "endpoints": [{"addresses": [address], "nodeName": "here"} for address in addresses],
    }


@contextlib.asynccontextmanager
async def running(proxy: Proxy) -> AsyncIterator[None]:
    task = asyncio.create_task(proxy.run())
    try:
        yield
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


class World:
    def __init__(self) -> None:
        self.informers = HandInformers()
        self.services = self.informers.of(SERVICES)
        self.slices = self.informers.of(ENDPOINT_SLICES)
        self.nodes = self.informers.of(NODES)

    def proxy(self, **arguments: Any) -> Proxy:
        options = arguments.pop("options", OPTIONS)
        return Proxy(self.informers, options, SystemClock(), **arguments)  # type: ignore[arg-type]


async def test_all_at_first_then_only_what_changes() -> None:
    world, nft = World(), RecordingNft()
    world.services.put(service())
    world.slices.put(slice_of("10.244.0.2"))
    proxy = world.proxy(nft=lambda: nft)
    async with running(proxy):
        await proxy.synced.wait()
        assert "10.96.0.20 . tcp . 80 : goto cluster-" in nft.transactions[0]
        world.services.put(service("other", "10.96.0.21"))
        await nft.until(lambda: len(nft.transactions) > 1)
        assert "10.96.0.21" in nft.transactions[1]
        assert "10.96.0.20" not in nft.transactions[1]
        world.slices.put(slice_of("10.244.0.2", "10.244.0.3"))
        await nft.until(lambda: len(nft.transactions) > 2)
        assert "10.244.0.3" in nft.transactions[2]
        assert "service-ips" not in nft.transactions[2], "the address still leads to the same chain"
    assert proxy.health.is_healthy


async def test_nothing_is_done_for_what_does_not_concern_the_rules() -> None:
    world, nft = World(), RecordingNft()
    world.services.put(service())
    proxy = world.proxy(nft=lambda: nft)
    async with running(proxy):
        await proxy.synced.wait()
        changed = service()
        changed["metadata"]["labels"] = {"a": "b"}
        world.services.put(changed)
        world.services.put(service("foreign", "10.96.0.30") | {"metadata": {
            "namespace": "n", "name": "foreign", "labels": {"service.kubernetes.io/service-proxy-name": "mine"}}})  # fmt: skip
        world.services.put(service("headless", "None"))
        world.services.put(service("last", "10.96.0.22"))
        await nft.until(lambda: len(nft.transactions) > 1)
        assert "10.96.0.22" in nft.transactions[1]
        assert "10.96.0.30" not in nft.transactions[1]


async def test_a_refused_change_is_followed_by_everything_anew() -> None:
    world, nft = World(), RecordingNft()
    world.services.put(service())
    proxy = world.proxy(nft=lambda: nft)
    async with running(proxy):
        await proxy.synced.wait()
        nft.refuse = lambda commands: "delete table" not in commands
        world.services.put(service("other", "10.96.0.21"))
        await nft.until(lambda: len(nft.transactions) > 1)
        assert "delete table ip pilothouse-proxy" in nft.transactions[1]
        assert "10.96.0.20" in nft.transactions[1]
        assert "10.96.0.21" in nft.transactions[1]
    assert proxy.metrics.failures == 1


async def test_a_table_that_someone_removed_is_made_again() -> None:
    world, nft = World(), RecordingNft()
    world.services.put(service())
    proxy = world.proxy(nft=lambda: nft)
    async with running(proxy):
        await proxy.synced.wait()
        nft.is_present = False
        await nft.until(lambda: len(nft.transactions) > 1)
        assert "10.96.0.20" in nft.transactions[1]


async def test_a_service_that_makes_no_sense_does_not_harm_the_others() -> None:
    world, nft = World(), RecordingNft()
    world.services.put(
        service("broken", "10.96.0.9") | {"spec": {"clusterIP": "10.96.0.9", "ports": [{"name": "no number"}]}}
    )
    evil = service(
        "evil", "10.96.0.8", externalIPs=["192.0.2.1 : drop }; flush ruleset; #"], loadBalancerSourceRanges=["nonsense"]
    )
    evil["spec"]["ports"][0]["name"] = "x; flush ruleset; #"
    world.services.put(evil)
    world.services.put(service())
    proxy = world.proxy(nft=lambda: nft)
    async with running(proxy):
        await proxy.synced.wait()
        assert "10.96.0.20 . tcp . 80" in nft.transactions[0]
        assert "flush ruleset;" not in nft.transactions[0]


async def test_health_and_metrics_over_http() -> None:
    world, nft = World(), RecordingNft()
    options = ProxyOptions(
        node_name="here", localhost_node_ports=False, health_host="127.0.0.1", health_port=0, metrics_port=0
    )
    proxy = world.proxy(options=options, nft=lambda: nft)
    assert proxy.health.respond("/healthz").status == 503
    async with running(proxy):
        await proxy.synced.wait()
        assert proxy.health.respond("/healthz").status == 200
        world.nodes.put({"metadata": {"name": "here"}, "spec": {"taints": [{"key": "ToBeDeletedByClusterAutoscaler"}]}})
        assert proxy.health.respond("/healthz").status == 503
        assert proxy.health.respond("/livez").status == 200
        assert proxy.health.respond("/other").status == 404
        assert b"kubeproxy_sync_proxy_rules_duration_seconds_count" in proxy.metrics.respond("/metrics").body
        assert proxy.metrics.respond("/proxyMode").body == b"nftables"


async def test_the_health_check_port_of_a_service_counts_local_endpoints() -> None:
    world, nft = World(), RecordingNft()
    free = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port = free.sockets[0].getsockname()[1]
    free.close()
    await free.wait_closed()
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": port}
    exposed = service(**spec)
    exposed["status"] = {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}
    world.services.put(exposed)
    world.slices.put(slice_of("10.244.0.2"))
    proxy = world.proxy(nft=lambda: nft)
    async with running(proxy):
        await proxy.synced.wait()
        answer = await get("127.0.0.1", port)
        assert answer.startswith("HTTP/1.1 200 OK")
        assert "X-Load-Balancing-Endpoint-Weight: 1" in answer
        assert '"localEndpoints":1' in answer
        world.slices.put(slice_of())
        await nft.until(lambda: len(nft.transactions) > 1)
        async with asyncio.timeout(5):
            while "503" not in (answer := await get("127.0.0.1", port)):
                pass
        assert '"service":{"namespace":"n","name":"web"}' in answer
    with pytest.raises(OSError):
        await get("127.0.0.1", port)


async def get(host: str, port: int) -> str:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer.decode()


@pytest.mark.real
@pytest.mark.skipif(not can_make_namespaces(), reason="network namespaces need root and iproute2")
@pytest.mark.skipif(not ctypes.util.find_library("nftables"), reason="the package nftables is missing")
class TestReal:
    async def test_a_udp_client_moves_on_when_its_endpoint_goes(self) -> None:
        network, world = Network(), World()
        servers: list[EchoServer] = []
        try:
            network.make()
            servers += [EchoServer(pod, f"pod{index}", 8080) for index, pod in enumerate(network.pods)]
            world.services.put(service(protocol="UDP"))
            world.slices.put(slice_of("10.244.0.2", protocol="UDP"))
            conntrack = Conntrack([str(IP), "netns", "exec", network.node])
            proxy = world.proxy(nft=lambda: within(network.node, Libnftables), conntrack=conntrack)
            async with running(proxy):
                await proxy.synced.wait()

                def asked() -> str:
                    # A datagram that is on its way while its flow is deleted is lost, as any may be.
                    with contextlib.suppress(TimeoutError):
                        return ask_udp(network.pods[1], "10.96.0.20", 80, source_port=40000, timeout_s=0.2)[0]
                    return "lost"

                assert await asyncio.to_thread(asked) == "pod0"
                world.slices.put(slice_of("10.244.0.3", protocol="UDP"))
                async with asyncio.timeout(5):
                    while await asyncio.to_thread(asked) != "pod1":
                        pass
        finally:
            for server in servers:
                server.close()
            network.remove()

    async def test_rules_outlive_the_proxy(self) -> None:
        network, world = Network(), World()
        servers: list[EchoServer] = []
        try:
            network.make()
            servers.append(EchoServer(network.pods[0], "pod0", 8080))
            world.services.put(service())
            world.slices.put(slice_of("10.244.0.2"))
            proxy = world.proxy(nft=lambda: within(network.node, Libnftables))
            async with running(proxy):
                await proxy.synced.wait()
            assert ask(network.node, "10.96.0.20", 80)[0] == "pod0"
            within(network.node, proxy.cleanup)
            with pytest.raises(TimeoutError):
                ask(network.node, "10.96.0.20", 80, timeout_s=0.2)
        finally:
            for server in servers:
                server.close()
            network.remove()
