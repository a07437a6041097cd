"""Runtime, proxy and DNS together: a pod finds another one by its Service's name, and the machine does, too."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import dnslib
import pytest

from pilothouse.api.gvr import ENDPOINT_SLICES, SERVICES
from pilothouse.dns.server import DnsOptions, DnsServer
from pilothouse.kit.clock import SystemClock
from pilothouse.main.runtime.requirements import missing_packages
from pilothouse.proxy.proxy import Proxy, ProxyOptions
from tests.dns.test_server import HandClient
from tests.main.runtime.pods import BUSYBOX, Node, PodSettings, busybox_archive, execute, run_pod, running_node
from tests.proxy.informers import HandInformers

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="containers need root"),
    pytest.mark.skipif(bool(missing_packages()), reason=f"packages are missing: {', '.join(missing_packages())}"),
    pytest.mark.skipif(not BUSYBOX.exists(), reason="the package busybox-static is missing"),
]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with running_node(tmp_path) as node:
        await node.containerd.images.load(busybox_archive(tmp_path))
        yield node


@contextlib.asynccontextmanager
async def proxy_and_dns(node: Node, informers: HandInformers) -> AsyncIterator[DnsServer]:
    """With the bridge as the node's address, as no other is sure to be there."""
    address, table = f"10.251.{node.number}.1", f"phtest-proxy-{os.getpid()}"
    proxy_options = ProxyOptions(
        node_name="here",
        node_addresses=(address,),
        cluster_cidrs=("10.251.0.0/16",),
        service_cidrs=(),
        localhost_node_ports=False,
        table=table,
        health_port=0,
        metrics_port=0,
    )
    clock = SystemClock()
    proxy = Proxy(informers, proxy_options, clock)  # type: ignore[arg-type]
    dns_options = DnsOptions("here", address, port=0, cluster_ip=f"10.98.{node.number}.10")
    dns = DnsServer(HandClient(informers), informers, dns_options, clock)  # type: ignore[arg-type]
    tasks = [asyncio.create_task(proxy.run()), asyncio.create_task(dns.run())]
    try:
        async with asyncio.timeout(10):
            await proxy.synced.wait()
            await dns.ready.wait()
        yield dns
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        proxy.cleanup()


async def eventually(node: Node, container: str, command: list[str], wanted: str) -> str:
    """The output of the command once it has `wanted` in it."""
    output = ""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(10):
            while wanted not in output:
                _, output = await execute(node, container, command)
    assert wanted in output
    return output


async def test_a_pod_reaches_a_service_by_its_name(node: Node) -> None:
    page = "mkdir -p /tmp/www && echo hello > /tmp/www/index.html && httpd -f -p 8080 -h /tmp/www"
    web = await run_pod(node, PodSettings(["busybox", "sh", "-c", page.replace("mkdir", "busybox mkdir")], name="web"))
    domain = "default.svc.cluster.local"
    searches = [domain, "svc.cluster.local", "cluster.local"]
    settings = PodSettings(["sleep", "1000"], name="client", dns_server=f"10.98.{node.number}.10", searches=searches)
    client = await run_pod(node, settings)

    informers = HandInformers()
    service_ip = f"10.98.{node.number}.20"
    metadata = {"namespace": "default", "name": "web"}
    ports = [{"name": "http", "port": 80}]
    informers.of(SERVICES).put({"metadata": metadata, "spec": {"clusterIP": service_ip, "ports": ports}})
    informers.of(ENDPOINT_SLICES).put(
        {
            "metadata": {**metadata, "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": [{"addresses": [web.address], "nodeName": "here"}],
        }
    )
    async with proxy_and_dns(node, informers):
        found = await eventually(node, client.container, ["nslookup", f"web.{domain}"], service_ip)
        assert "server can't find" not in found
        dashed = web.address.replace(".", "-")
        await eventually(node, client.container, ["nslookup", f"{dashed}.default.pod.cluster.local"], web.address)
        await eventually(node, client.container, ["wget", "-qO-", "http://web/"], "hello")
        await eventually(node, web.container, ["wget", "-qO-", f"http://{service_ip}/"], "hello")
        reader, writer = await asyncio.open_connection(service_ip, 80)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        assert (await reader.read()).endswith(b"hello\n")
        writer.close()

        question = dnslib.DNSRecord.question(f"web.{domain}")
        for tcp in (False, True):
            reply = await asyncio.to_thread(question.send, f"10.98.{node.number}.10", 53, tcp=tcp, timeout=5)
            assert str(dnslib.DNSRecord.parse(reply).rr[0].rdata) == service_ip
