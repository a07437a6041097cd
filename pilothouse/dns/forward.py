"""Names outside the cluster: asked of the node's own resolvers, and remembered for a while.

Each question goes out once, however many clients wait for it, from a port of its own (RFC 5452). A reply lives as long as its shortest
record says, 30 s at most; a failure lives 5 s. A resolver that leads back here is found out by a question that nobody else can ask,
and left out.
"""

from __future__ import annotations

import asyncio
import random
import struct
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from pilothouse.dns import wire
from pilothouse.dns.wire import WireError
from pilothouse.kit.clock import Clock
from pilothouse.kit.log import get_logger

log = get_logger("pilothouse.dns.forward")

_MAX_LIFETIME_S = 30
_FAILURE_LIFETIME_S = 5
_MAX_KEPT = 10_000
_MAX_IN_FLIGHT = 1000
_PROBE_SUFFIX = ".loop.pilothouse.invalid"


@dataclass(frozen=True, slots=True)
class Upstream:
    """A resolver."""

    host: str
    port: int = 53


def upstreams_of(resolv_conf: str, own_addresses: Sequence[str] = ()) -> tuple[Upstream, ...]:
    """The name servers of a `resolv.conf`, three at most as libc takes, without our own addresses."""
    found = []
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver" and words[1] not in own_addresses:
            found.append(Upstream(words[1].partition("%")[0]))
    return tuple(found[:3])


@dataclass(slots=True)
class _Kept:
    reply: bytes
    stored: float
    expires: float
    lifetimes: list[tuple[int, int]]


class Forwarder:
    """Asks the upstreams in turn. `timeout_s` is for each of them."""

    def __init__(
        self, upstreams: Sequence[Upstream], clock: Clock, rng: random.Random, *, timeout_s: float = 2.0
    ) -> None:
        self._upstreams = tuple(upstreams)
        self._clock = clock
        self._rng = rng
        self._timeout_s = timeout_s
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._in_flight: dict[bytes, asyncio.Future[bytes | None]] = {}
        self._probes: dict[str, Upstream] = {}

    @property
    def upstreams(self) -> tuple[Upstream, ...]:
        """Those in use."""
        return self._upstreams

    async def ask(self, query: bytes, *, over_tcp: bool) -> bytes | None:
        """The reply to a whole query, with its id; None if no upstream gives one."""
        key = bytes([over_tcp]) + query[2:]
        reply = self._recall(key)
        if reply is None:
            reply = await self._ask_once(key, query, over_tcp)
        return None if not reply else query[:2] + reply[2:]

    async def probe(self) -> None:
        """Ask each upstream for a name that only this server would be asked for."""
        for upstream in self._upstreams:
            name = f"{self._rng.randrange(1 << 63):x}{_PROBE_SUFFIX}"
            self._probes[name] = upstream
            await self._exchange(wire.write_question(name, "HINFO", self._rng), upstream, over_tcp=False)
            self._probes.pop(name, None)

    def is_loop(self, name: str) -> bool:
        """Whether a question is our own probe come back; its upstream is not asked again."""
        if not name.endswith(_PROBE_SUFFIX):
            return False
        upstream = self._probes.pop(name, None)
        if upstream is not None:
            self._upstreams = tuple(other for other in self._upstreams if other != upstream)
            log.error("a resolver of this node leads back to the cluster's DNS and is left out", resolver=upstream.host)
        return True

    def _recall(self, key: bytes) -> bytes | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        now = self._clock.monotonic()
        if now >= kept.expires:
            del self._kept[key]
            return None
        age = int(now - kept.stored)
        if not age:
            return kept.reply
        reply = bytearray(kept.reply)
        for offset, seconds in kept.lifetimes:
            struct.pack_into("!I", reply, offset, max(seconds - age, 0))
        return bytes(reply)

    async def _ask_once(self, key: bytes, query: bytes, over_tcp: bool) -> bytes | None:
        if (waiting := self._in_flight.get(key)) is not None:
            return await asyncio.shield(waiting)
        if len(self._in_flight) >= _MAX_IN_FLIGHT:
            return None
        waiting = self._in_flight[key] = asyncio.get_running_loop().create_future()
        reply: bytes | None = None
        try:
            reply = await self._ask_upstreams(query, over_tcp)
            self._keep(key, reply)
        finally:
            del self._in_flight[key]
            waiting.set_result(reply)
        return reply

    async def _ask_upstreams(self, query: bytes, over_tcp: bool) -> bytes | None:
        """The first reply that settles the question; a server failure only if all fail."""
        failure: bytes | None = None
        for upstream in self._upstreams:
            reply = await self._exchange(query, upstream, over_tcp)
            if reply is None:
                continue
            if wire.code_of(reply) not in (wire.SERVER_FAILURE, wire.REFUSED, wire.NOT_IMPLEMENTED):
                return reply
            failure = reply
        return failure

    async def _exchange(self, query: bytes, upstream: Upstream, over_tcp: bool) -> bytes | None:
        """One question to one upstream, under an id of our own."""
        sent = struct.pack("!H", self._rng.randrange(1 << 16)) + query[2:]
        try:
            async with asyncio.timeout(self._timeout_s):
                reply = await (_over_tcp(sent, upstream) if over_tcp else _over_udp(sent, upstream))
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return None
        return query[:2] + reply[2:]

    def _keep(self, key: bytes, reply: bytes | None) -> None:
        if reply is not None and (wire.is_truncated(reply) or wire.code_of(reply) not in (0, wire.NO_SUCH_NAME)):
            lifetimes, lasts_s = [], _FAILURE_LIFETIME_S if not wire.is_truncated(reply) else 0
        elif reply is None:
            return
        else:
            try:
                lifetimes = wire.lifetimes(reply)
            except WireError:
                return
            lasts_s = min([_MAX_LIFETIME_S, *(seconds for _, seconds in lifetimes)]) if lifetimes else 0
        if lasts_s > 0:
            now = self._clock.monotonic()
            self._kept[key] = _Kept(reply, now, now + lasts_s, lifetimes)
            while len(self._kept) > _MAX_KEPT:
                self._kept.popitem(last=False)


class _UdpQuestion(asyncio.DatagramProtocol):
    """Waits for the reply to one question; what is not the reply to it is passed over."""

    def __init__(self, sent: bytes, reply: asyncio.Future[bytes]) -> None:
        self._sent = sent
        self._reply = reply

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not self._reply.done() and wire.is_reply_to(data, self._sent):
            self._reply.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self._reply.done():
            self._reply.set_exception(exc)


async def _over_udp(sent: bytes, upstream: Upstream) -> bytes:
    loop = asyncio.get_running_loop()
    reply: asyncio.Future[bytes] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _UdpQuestion(sent, reply), remote_addr=(upstream.host, upstream.port)
    )
    try:
        transport.sendto(sent)
        return await reply
    finally:
        transport.close()


async def _over_tcp(sent: bytes, upstream: Upstream) -> bytes:
    reader, writer = await asyncio.open_connection(upstream.host, upstream.port)
    try:
        writer.write(struct.pack("!H", len(sent)) + sent)
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        reply = await reader.readexactly(length)
        if length < wire.HEADER_BYTES:
            raise OSError("the reply is too short")
        return reply
    finally:
        writer.close()
