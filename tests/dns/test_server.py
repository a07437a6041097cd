"""The server over real sockets on loopback, with a resolver of the test's own behind it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import dnslib
import pytest

from pilothouse.api import status
from pilothouse.api.gvr import ENDPOINT_SLICES, GVR, NODES, SERVICES
from pilothouse.api.meta import Object, key_of
from pilothouse.dns.forward import Forwarder, Upstream, upstreams_of
from pilothouse.dns.server import DnsOptions, DnsServer
from pilothouse.kit.clock import SystemClock, VirtualClock
from tests.dns.test_records import DB_0, UNNAMED, service, slice_of
from tests.proxy.informers import HandInformers


class Resolver(asyncio.DatagramProtocol):
    """Answers over UDP what `answer` says; None is silence."""

    def __init__(self, answer: Callable[[dnslib.DNSRecord], dnslib.DNSRecord | None]) -> None:
        self.asked: list[str] = []
        self._answer = answer
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        query = dnslib.DNSRecord.parse(data)
        self.asked.append(str(query.q.qname))
        reply = self._answer(query)
        if reply is not None:
            self._transport.sendto(reply.pack(), addr)

    @property
    def upstream(self) -> Upstream:
        host, port = self._transport.get_extra_info("sockname")
        return Upstream(host, port)


@contextlib.asynccontextmanager
async def resolving(answer: Callable[[dnslib.DNSRecord], dnslib.DNSRecord | None]) -> AsyncIterator[Resolver]:
    loop = asyncio.get_running_loop()
    transport, resolver = await loop.create_datagram_endpoint(lambda: Resolver(answer), local_addr=("127.0.0.1", 0))
    try:
        yield resolver
    finally:
        transport.close()


def example(query: dnslib.DNSRecord) -> dnslib.DNSRecord | None:
    reply = query.reply()
    name = str(query.q.qname).lower()
    if "pilothouse.invalid" in name:
        reply.header.rcode = dnslib.RCODE.NXDOMAIN
    elif name == "silent.example.":
        return None
    elif name == "missing.example.":
        reply.header.rcode = dnslib.RCODE.NXDOMAIN
        reply.add_auth(*dnslib.RR.fromZone("example. 5 SOA a. b. 1 2 3 4 5"))
    else:
        reply.add_answer(dnslib.RR(query.q.qname, dnslib.QTYPE.A, rdata=dnslib.A("192.0.2.80"), ttl=100))
    return reply


class HandClient:
    """Creates and updates into hand-filled informers."""

    def __init__(self, informers: HandInformers) -> None:
        self.informers = informers
        self.refusals: list[status.StatusError] = []

    async def create(self, gvr: GVR, obj: Object) -> Object:
        if self.refusals:
            raise self.refusals.pop()
        informer = self.informers.of(gvr)
        if informer.get(key_of(obj)) is not None:
            raise status.AlreadyExists("exists")
        informer.put(obj)
        return obj

    async def update(self, gvr: GVR, obj: Object) -> Object:
        self.informers.of(gvr).put(obj)
        return obj


class Running:
    def __init__(self, server: DnsServer, informers: HandInformers, client: HandClient) -> None:
        self.server = server
        self.informers = informers
        self.client = client

    async def ask(self, name: str, type: str = "A", *, tcp: bool = False, edns: int = 0) -> dnslib.DNSRecord:
        query = dnslib.DNSRecord(q=dnslib.DNSQuestion(name, getattr(dnslib.QTYPE, type)))
        query.header.rd = 1
        if edns:
            query.add_ar(dnslib.EDNS0(udp_len=edns))
        reply = dnslib.DNSRecord.parse(await (self.tcp(bytes(query.pack())) if tcp else self.udp(bytes(query.pack()))))
        assert reply.header.id == query.header.id
        return reply

    async def udp(self, data: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.setblocking(False)
            await loop.sock_connect(asking, ("127.0.0.1", self.server.port))
            await loop.sock_sendall(asking, data)
            async with asyncio.timeout(5):
                return await loop.sock_recv(asking, 4096)

    async def tcp(self, data: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        writer.write(struct.pack("!H", len(data)) + data)
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        reply = await reader.readexactly(length)
        writer.close()
        return reply


@contextlib.asynccontextmanager
async def serving(*upstreams: Upstream, **options: Any) -> AsyncIterator[Running]:
    informers = HandInformers()
    informers.of(SERVICES).put(service("web"))
    informers.of(SERVICES).put(service("db", "None"))
    informers.of(SERVICES).put(service("far", "", type="ExternalName", externalName="www.example", ports=[]))
    informers.of(SERVICES).put(
        service("near", "", type="ExternalName", externalName="web.default.svc.cluster.local", ports=[])
    )
    informers.of(ENDPOINT_SLICES).put(slice_of("db", DB_0, UNNAMED))
    informers.of(NODES).put({"metadata": {"name": "here", "uid": "u1"}})
    client = HandClient(informers)
    arguments = {"node_name": "here", "address": "127.0.0.1", "port": 0, "upstream_timeout_s": 0.2, **options}
    server = DnsServer(
        client,
        informers,
        DnsOptions(upstreams=upstreams, **arguments),
        SystemClock(),
        rng=random.Random(1),  # type: ignore[arg-type]
    )
    task = asyncio.create_task(server.run())
    try:
        async with asyncio.timeout(5):
            await server.ready.wait()
        yield Running(server, informers, client)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


WEB = "web.default.svc.cluster.local"


@pytest.mark.parametrize("tcp", [False, True])
async def test_a_cluster_name_is_answered_with_authority(tcp: bool) -> None:
    async with serving() as running:
        for _ in range(3):
            reply = await running.ask(WEB, tcp=tcp)
            assert [(str(one.rdata), one.ttl) for one in reply.rr] == [("10.96.0.20", 30)]
            assert reply.header.aa == 1
            assert reply.header.ra == 1


async def test_the_question_comes_back_in_its_own_case() -> None:
    async with serving() as running:
        await running.ask(WEB)
        reply = await running.ask("WEB.default.svc.CLUSTER.local")
        assert str(reply.q.qname) == "WEB.default.svc.CLUSTER.local."
        assert str(reply.rr[0].rname) == "WEB.default.svc.CLUSTER.local."


async def test_a_missing_name_and_a_missing_record_carry_the_soa() -> None:
    async with serving() as running:
        missing = await running.ask("absent.default.svc.cluster.local")
        assert (missing.header.rcode, missing.rr) == (dnslib.RCODE.NXDOMAIN, [])
        assert missing.auth[0].rtype == dnslib.QTYPE.SOA
        assert (missing.auth[0].ttl, missing.auth[0].rdata.times[4]) == (30, 30)
        no_record = await running.ask(WEB, "AAAA")
        assert (no_record.header.rcode, no_record.rr, len(no_record.auth)) == (0, [], 1)


async def test_a_named_port_brings_the_targets_address() -> None:
    async with serving() as running:
        reply = await running.ask(f"_http._tcp.{WEB}", "SRV")
        assert (reply.rr[0].rdata.port, str(reply.rr[0].rdata.target)) == (80, f"{WEB}.")
        assert [str(one.rdata) for one in reply.ar] == ["10.96.0.20"]


async def test_changes_are_seen_at_once() -> None:
    async with serving() as running:
        await running.ask(WEB)
        running.informers.of(SERVICES).put(service("web", "10.96.0.99"))
        assert str((await running.ask(WEB)).rr[0].rdata) == "10.96.0.99"


async def test_several_addresses_come_in_changing_order() -> None:
    async with serving() as running:
        replies = [await running.ask("db.default.svc.cluster.local") for _ in range(20)]
        assert {str(reply.rr[0].rdata) for reply in replies} == {"10.244.0.7", "10.244.1.8"}


async def test_what_does_not_fit_is_cut_and_comes_whole_over_tcp() -> None:
    async with serving() as running:
        many = [{"addresses": [f"10.244.0.{number}"]} for number in range(1, 41)]
        running.informers.of(ENDPOINT_SLICES).put(slice_of("db", *many))
        name = "db.default.svc.cluster.local"
        cut = await running.ask(name)
        assert (cut.header.tc, cut.rr) == (1, [])
        assert len((await running.ask(name, edns=4096)).rr) == 40
        assert len((await running.ask(name, tcp=True)).rr) == 40


async def test_edns_is_answered_with_edns() -> None:
    async with serving() as running:
        assert [one.rtype for one in (await running.ask(WEB, edns=4096)).ar] == [dnslib.QTYPE.OPT]
        assert (await running.ask(WEB)).ar == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        (b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x3fabc", dnslib.RCODE.FORMERR),
        (b"\x12\x34\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00", dnslib.RCODE.FORMERR),
        (b"\x12\x34\x11\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01", dnslib.RCODE.NOTIMP),
        (b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01", dnslib.RCODE.FORMERR),
        (b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x03", dnslib.RCODE.REFUSED),
    ],
)
async def test_bad_questions_get_an_error_and_harm_nothing(query: bytes, code: int) -> None:
    async with serving() as running:
        reply = await running.udp(query)
        assert reply[:2] == b"\x12\x34"
        assert reply[3] & 15 == code
        assert (await running.ask(WEB)).rr


async def test_fragments_and_replies_are_passed_over() -> None:
    async with serving() as running:
        for junk in (b"", b"\x00", b"\x12\x34\x81\x80\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01"):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await running.udp(junk)
        assert (await running.ask(WEB)).rr


async def test_other_names_are_asked_elsewhere_once_and_remembered() -> None:
    async with resolving(example) as resolver, serving(resolver.upstream) as running:
        replies = await asyncio.gather(*(running.ask("www.example") for _ in range(5)))
        assert {str(reply.rr[0].rdata) for reply in replies} == {"192.0.2.80"}
        assert str((await running.ask("www.example")).rr[0].rdata) == "192.0.2.80"
        assert resolver.asked.count("www.example.") == 1
        assert (await running.ask("missing.example")).header.rcode == dnslib.RCODE.NXDOMAIN


async def test_a_silent_resolver_is_followed_by_the_next_and_at_last_by_an_error() -> None:
    async with resolving(lambda _query: None) as silent, resolving(example) as resolver:
        upstreams = (silent.upstream, resolver.upstream)
        async with serving(*upstreams) as running:
            assert str((await running.ask("www.example")).rr[0].rdata) == "192.0.2.80"
            assert (await running.ask("silent.example")).header.rcode == dnslib.RCODE.SERVFAIL
    async with serving() as running:
        assert (await running.ask("www.example")).header.rcode == dnslib.RCODE.SERVFAIL


async def test_a_reply_to_another_question_is_not_believed() -> None:
    def lie(query: dnslib.DNSRecord) -> dnslib.DNSRecord:
        forged = dnslib.DNSRecord(dnslib.DNSHeader(id=query.header.id, qr=1), q=dnslib.DNSQuestion("other.example"))
        forged.add_answer(dnslib.RR("other.example", rdata=dnslib.A("203.0.113.66")))
        return forged

    async with resolving(lie) as resolver, serving(resolver.upstream) as running:
        assert (await running.ask("www.example")).header.rcode == dnslib.RCODE.SERVFAIL


async def test_an_external_name_brings_what_it_stands_for() -> None:
    async with resolving(example) as resolver, serving(resolver.upstream) as running:
        reply = await running.ask("far.default.svc.cluster.local")
        assert [str(one.rdata) for one in reply.rr] == ["www.example.", "192.0.2.80"]
        inside = await running.ask("near.default.svc.cluster.local")
        assert [str(one.rdata) for one in inside.rr] == [f"{WEB}.", "10.96.0.20"]
        assert str(inside.rr[1].rname) == f"{WEB}."


async def test_a_resolver_that_leads_back_is_left_out() -> None:
    async with serving() as running:
        forwarder = Forwarder(
            [Upstream("127.0.0.1", running.server.port)], SystemClock(), random.Random(2), timeout_s=0.2
        )
        running.server.forwarder = forwarder
        await forwarder.probe()
        assert forwarder.upstreams == ()


async def test_kept_replies_grow_old() -> None:
    clock = VirtualClock()
    async with resolving(example) as resolver:
        forwarder = Forwarder([resolver.upstream], clock, random.Random(1))
        query = bytes(dnslib.DNSRecord.question("www.example").pack())

        async def ttl() -> int:
            reply = await forwarder.ask(query, over_tcp=False)
            assert reply is not None
            return int(dnslib.DNSRecord.parse(reply).rr[0].ttl)

        assert await ttl() == 100
        await clock.advance(20)
        assert await ttl() == 80
        await clock.advance(11)
        assert await ttl() == 100
        assert len(resolver.asked) == 2


async def test_it_registers_itself_and_puts_right_what_others_change() -> None:
    async with serving() as running:
        made = running.informers.of(SERVICES).get("kube-system/kube-dns")
        assert made is not None
        assert made["spec"]["clusterIP"] == "10.96.0.10"
        assert made["spec"]["internalTrafficPolicy"] == "Local"
        slices = running.informers.of(ENDPOINT_SLICES)
        one = slices.get("kube-system/kube-dns-here")
        assert one is not None
        assert one["endpoints"][0]["addresses"] == ["127.0.0.1"]
        assert one["ports"][0] == {"name": "dns", "port": running.server.port, "protocol": "UDP"}
        assert one["metadata"]["ownerReferences"][0]["uid"] == "u1"
        slices.put({**one, "endpoints": []})
        await turns(
            lambda: (
                slices.get("kube-system/kube-dns-here")
                == {**one, "metadata": {**one["metadata"], "resourceVersion": ""}}
            )
        )
        slices.remove("kube-system/kube-dns-here")
        await turns(lambda: slices.get("kube-system/kube-dns-here") == one)
        assert str((await running.ask("kube-dns.kube-system.svc.cluster.local")).rr[0].rdata) == "10.96.0.10"


async def turns(condition: Callable[[], bool]) -> None:
    for _ in range(100):
        if condition():
            return
        await asyncio.sleep(0)
    assert condition()


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("nameserver 192.0.2.1\n# nameserver 192.0.2.2\nsearch x\nnameserver 192.0.2.3\n", ["192.0.2.1", "192.0.2.3"]),
        ("nameserver 10.96.0.10\nnameserver fe80::1%eth0\n", ["fe80::1"]),
        ("nameserver\n", []),
        ("".join(f"nameserver 192.0.2.{n}\n" for n in range(1, 6)), ["192.0.2.1", "192.0.2.2", "192.0.2.3"]),
    ],
)
def test_resolvers_are_read_from_resolv_conf(text: str, hosts: list[str]) -> None:
    assert [one.host for one in upstreams_of(text, ["10.96.0.10"])] == hosts
