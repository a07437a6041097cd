"""The DNS server of one node.

An answer about the cluster is encoded once and given again, with the id of the next question patched in, until a Service or slice
changes. Only answers with several addresses are made anew each time, in random order, so that clients spread. Everything else goes to
the forwarder.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import random
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from pilothouse.api.gvr import ENDPOINT_SLICES, SERVICES
from pilothouse.client.client import Client
from pilothouse.client.informer import InformerFactory
from pilothouse.dns import wire
from pilothouse.dns.forward import Forwarder, Upstream
from pilothouse.dns.records import Answer, Record, Records
from pilothouse.dns.registration import Registration
from pilothouse.dns.wire import Question, WireError
from pilothouse.kit.clock import Clock
from pilothouse.kit.log import get_logger

log = get_logger("pilothouse.dns")

_MAX_KEPT = 10_000
_MAX_WAITING = 2000
_MAX_CONNECTIONS = 500
_IDLE_S = 10.0
_RECEIVE_BYTES = 1 << 20
_OPEN_RETRY_S = 5.0


@dataclass(frozen=True, slots=True)
class DnsOptions:
    """`address` is the node's, where the server listens and where the node's proxy leads clients to.

    With `is_registered` the server makes the Service kube-dns with `cluster_ip` and its own slice.
    """

    node_name: str
    address: str
    port: int = 10053
    domain: str = "cluster.local"
    cluster_ip: str = "10.96.0.10"
    upstreams: tuple[Upstream, ...] = ()
    upstream_timeout_s: float = 2.0
    is_registered: bool = True


class DnsServer:
    """Runs until cancelled. The informers are run by whoever owns the factory."""

    def __init__(
        self,
        client: Client,
        informers: InformerFactory,
        options: DnsOptions,
        clock: Clock,
        *,
        rng: random.Random | None = None,
    ) -> None:
        self._informers = informers
        self._options = options
        self._rng = rng or random.SystemRandom()
        self.records = Records(options.domain)
        self.forwarder = Forwarder(options.upstreams, clock, self._rng, timeout_s=options.upstream_timeout_s)
        self.ready = asyncio.Event()
        """Set when it answers and can be found."""
        self.port = options.port
        self._client = client
        self._clock = clock
        self._kept: dict[bytes, bytes] = {}
        self._kept_version = 0
        self._waiting = 0
        self._connections: set[asyncio.StreamWriter] = set()

    async def run(self) -> None:
        """Serve until cancelled."""
        services, slices = self._informers.of(SERVICES), self._informers.of(ENDPOINT_SLICES)
        await asyncio.to_thread(importlib.import_module, "dnslib")
        stops = [services.subscribe(self.records.on_service), slices.subscribe(self.records.on_slice)]
        try:
            await services.synced.wait()
            await slices.synced.wait()
            async with asyncio.TaskGroup() as group:
                await self._serve(group)
        finally:
            for stop in stops:
                stop()

    async def _serve(self, group: asyncio.TaskGroup) -> None:
        options = self._options
        tcp, udp = await self._open(group)
        try:
            log.info("answering", address=options.address, port=self.port, upstreams=len(self.forwarder.upstreams))
            group.create_task(self.forwarder.probe(), name="dns probe")
            if options.is_registered:
                await self._register(group)
            self.ready.set()
            await asyncio.Event().wait()
        finally:
            udp.close()
            tcp.close()
            for connection in self._connections:
                connection.close()

    async def _open(self, group: asyncio.TaskGroup) -> tuple[asyncio.Server, asyncio.DatagramTransport]:
        """Listen over both transports on one port; tried again until it is free."""
        options = self._options
        while True:
            try:
                return await self._listen(group)
            except OSError as error:
                log.error(
                    "the DNS port cannot be opened", address=options.address, port=options.port, reason=error,
                    retry_in_s=_OPEN_RETRY_S,
                )  # fmt: skip
            await self._clock.sleep(_OPEN_RETRY_S)

    async def _listen(self, group: asyncio.TaskGroup) -> tuple[asyncio.Server, asyncio.DatagramTransport]:
        options = self._options
        tcp = await asyncio.start_server(self._serve_connection, options.address, options.port, reuse_address=True)
        self.port = tcp.sockets[0].getsockname()[1]
        try:
            udp, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: _Datagrams(self, group), sock=_udp_socket(options.address, self.port)
            )
        except BaseException:
            tcp.close()
            raise
        return tcp, udp

    async def _register(self, group: asyncio.TaskGroup) -> None:
        options = self._options
        registration = Registration(
            self._client,
            self._informers,
            self._clock,
            self._rng,
            node_name=options.node_name,
            address=options.address,
            port=self.port,
            cluster_ip=options.cluster_ip,
        )
        group.create_task(registration.run(), name="dns registration")
        await registration.done.wait()

    # Answering

    def answer_now(self, query: bytes, *, over_tcp: bool) -> bytes | Question:
        """The reply if it can be given at once (empty if there is none to give), else the question that is to be asked elsewhere."""
        if self._kept_version != self.records.version:
            self._kept.clear()
            self._kept_version = self.records.version
        key = bytes([over_tcp]) + query[2:]
        if (kept := self._kept.get(key)) is not None:
            return query[:2] + kept
        try:
            question = wire.read_question(query)
        except WireError as error:
            return error.reply
        if not question.is_internet:
            return wire.write_error(question, wire.REFUSED)
        answer = self.records.answer(question.name, question.type)
        if answer is None or answer.alias:
            return question
        reply = _fitting(query, self._encode(question, answer), question, over_tcp)
        if not _is_spread(answer):
            if len(self._kept) >= _MAX_KEPT:
                self._kept.clear()
            self._kept[key] = reply[2:]
        return reply

    async def answer_later(self, query: bytes, question: Question, *, over_tcp: bool) -> bytes:
        """The reply to a question that concerns names elsewhere, or leads there."""
        answer = self.records.answer(question.name, question.type)
        if answer is not None:
            return _fitting(query, await self._with_alias(question, answer), question, over_tcp)
        if self.forwarder.is_loop(question.name):
            return wire.write_error(question, wire.REFUSED)
        reply = await self.forwarder.ask(query, over_tcp=over_tcp)
        return reply if reply is not None else wire.write_error(question, wire.SERVER_FAILURE)

    async def _with_alias(self, question: Question, answer: Answer) -> bytes:
        """The answer with what its alias stands for, as far as that can be found out."""
        records, alias = list(answer.records), answer.alias
        for _ in range(8):
            inside = self.records.answer(alias, question.type) if alias else None
            if inside is None:
                break
            records += [Record(one.type, one.value, one.owner or alias) for one in inside.records]
            alias = inside.alias
        reply = wire.write_answer(question, records, ())
        if not alias or question.type == "CNAME":
            return reply
        follow_up = wire.write_question(alias, question.type, self._rng)
        found = await self.forwarder.ask(follow_up, over_tcp=False)
        if found and wire.is_truncated(found):
            found = await self.forwarder.ask(follow_up, over_tcp=True)
        return wire.with_records(reply, wire.answers_in(found)) if found else reply

    def _encode(self, question: Question, answer: Answer) -> bytes:
        records = list(answer.records)
        if _is_spread(answer):
            self._rng.shuffle(records)
        domain = self.records.domain
        authority = "" if records else f"{domain} SOA {self.records.start_of_authority()}"
        code = 0 if answer.exists else wire.NO_SUCH_NAME
        return wire.write_answer(question, records, answer.additional, authority=authority, code=code)

    # Transports

    def on_datagram(self, query: bytes, reply: Callable[[bytes], None], group: asyncio.TaskGroup) -> None:
        """Answer at once or in a task of the group; too many that wait are refused."""
        answer = self.answer_now(query, over_tcp=False)
        if isinstance(answer, bytes):
            if answer:
                reply(answer)
        elif self._waiting >= _MAX_WAITING:
            reply(wire.write_error(answer, wire.SERVER_FAILURE))
        else:
            self._waiting += 1
            group.create_task(self._reply_later(query, answer, reply))

    async def _reply_later(self, query: bytes, question: Question, reply: Callable[[bytes], None]) -> None:
        try:
            reply(await self.answer_later(query, question, over_tcp=False))
        except Exception:
            log.exception("a question failed", name=question.name, type=question.type)
            reply(wire.write_error(question, wire.SERVER_FAILURE))
        finally:
            self._waiting -= 1

    async def _serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= _MAX_CONNECTIONS:
            writer.close()
            return
        self._connections.add(writer)
        try:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                while True:
                    async with asyncio.timeout(_IDLE_S):
                        (length,) = struct.unpack("!H", await reader.readexactly(2))
                        query = await reader.readexactly(length)
                    answer = self.answer_now(query, over_tcp=True)
                    if not isinstance(answer, bytes):
                        answer = await self.answer_later(query, answer, over_tcp=True)
                    if not answer:
                        return
                    writer.write(struct.pack("!H", len(answer)) + answer)
                    async with asyncio.timeout(_IDLE_S):
                        await writer.drain()
        except Exception:
            log.exception("a connection failed")
        finally:
            self._connections.discard(writer)
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    """The UDP port."""

    def __init__(self, server: DnsServer, group: asyncio.TaskGroup) -> None:
        self._server = server
        self._group = group
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        transport = self._transport

        def reply(answer: bytes) -> None:
            if transport is not None and not transport.is_closing():
                transport.sendto(answer, addr)

        self._server.on_datagram(data, reply, self._group)


def _is_spread(answer: Answer) -> bool:
    """Whether clients should see the records in changing order."""
    return len(answer.records) > 1 and answer.records[0].type in ("A", "AAAA")


def _fitting(query: bytes, reply: bytes, question: Question, over_tcp: bool) -> bytes:
    return reply if over_tcp or len(reply) <= question.udp_bytes else wire.truncated(query, reply)


def _udp_socket(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
        opened.bind((address, port))
    except OSError:
        opened.close()
        raise
    return opened
