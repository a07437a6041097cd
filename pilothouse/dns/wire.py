"""DNS messages (RFC 1035, EDNS0 of RFC 6891), read and written by dnslib, whose import takes 40 ms and waits for the first use."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pilothouse.dns.records import TTL_S, Record

if TYPE_CHECKING:
    from dnslib import DNSRecord

HEADER_BYTES = 12
PLAIN_UDP_BYTES = 512
MAX_UDP_BYTES = 1232
"""The largest datagram that no network on the way cuts (DNS flag day 2020)."""

FORMAT_ERROR, SERVER_FAILURE, NO_SUCH_NAME, NOT_IMPLEMENTED, REFUSED = 1, 2, 3, 4, 5

_OPT = 41
_RESPONSE, _TRUNCATED, _RECURSION_DESIRED = 0x8000, 0x0200, 0x0100


class WireError(Exception):
    """A message cannot be read. `reply` is what to answer, empty if nothing."""

    def __init__(self, reply: bytes) -> None:
        super().__init__("not a DNS question")
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Question:
    """`name` is lower case without the final dot; `udp_bytes` is the largest datagram that the client takes."""

    name: str
    type: str
    is_internet: bool
    udp_bytes: int
    message: DNSRecord


def read_question(data: bytes) -> Question:
    """Raises WireError."""
    import dnslib

    if len(data) < HEADER_BYTES or data[2] & 0x80:
        raise WireError(b"")
    if data[2] & 0x78:
        raise WireError(error_reply(data, NOT_IMPLEMENTED))
    try:
        message = dnslib.DNSRecord.parse(data)
        (question,) = message.questions
        name = str(question.qname).rstrip(".").lower()
        type = dnslib.QTYPE.forward.get(question.qtype, f"TYPE{question.qtype}")
    except (
        dnslib.DNSError,
        ValueError,
        IndexError,
        struct.error,
        UnicodeError,
        AttributeError,
        TypeError,
        KeyError,
        RecursionError,
    ):
        raise WireError(error_reply(data, FORMAT_ERROR)) from None
    sizes = [record.rclass for record in message.ar if record.rtype == _OPT]
    udp_bytes = min(max([PLAIN_UDP_BYTES, *sizes]), MAX_UDP_BYTES)
    return Question(name, type, question.qclass in (1, 255), udp_bytes, message)


def error_reply(query: bytes, code: int) -> bytes:
    """A reply without a question or records, made without reading more than the header."""
    flags = _RESPONSE | struct.unpack_from("!H", query, 2)[0] & (0x7800 | _RECURSION_DESIRED) | code
    return query[:2] + struct.pack("!5H", flags, 0, 0, 0, 0)


def write_answer(
    question: Question, records: Iterable[Record], additional: Iterable[Record], *, authority: str = "", code: int = 0
) -> bytes:
    """An authoritative answer. `authority` is the SOA as zone files write it, with which a negative answer is kept."""
    import dnslib

    reply = question.message.reply(aa=1, ra=1)
    reply.header.rcode = code
    asked = question.message.questions[0].qname
    for record in records:
        reply.add_answer(_resource_record(record, asked))
    for record in additional:
        reply.add_ar(_resource_record(record, asked))
    if authority:
        zone, _, fields = authority.partition(" SOA ")
        reply.add_auth(dnslib.RR(zone, dnslib.QTYPE.SOA, rdata=_soa(fields), ttl=TTL_S))
    if any(record.rtype == _OPT for record in question.message.ar):
        reply.add_ar(dnslib.EDNS0(udp_len=MAX_UDP_BYTES))
    return bytes(reply.pack())


def write_error(question: Question, code: int) -> bytes:
    """A reply that carries only a code."""
    import dnslib

    reply = question.message.reply(aa=0, ra=1)
    reply.header.rcode = code
    if any(record.rtype == _OPT for record in question.message.ar):
        reply.add_ar(dnslib.EDNS0(udp_len=MAX_UDP_BYTES))
    return bytes(reply.pack())


def write_question(name: str, type: str, rng: random.Random) -> bytes:
    import dnslib

    header = dnslib.DNSHeader(id=rng.randrange(1 << 16), rd=1)
    message = dnslib.DNSRecord(header, q=dnslib.DNSQuestion(name, getattr(dnslib.QTYPE, type)))
    return bytes(message.pack())


def answers_in(reply: bytes) -> list[Any]:
    """The answer records of a reply, as dnslib has them; none if it cannot be read."""
    import dnslib

    try:
        records: list[Any] = dnslib.DNSRecord.parse(reply).rr
    except (dnslib.DNSError, ValueError, IndexError, struct.error):
        return []
    return records


def with_records(answer: bytes, records: Iterable[Any]) -> bytes:
    """The answer with dnslib's records added to those it has."""
    import dnslib

    message = dnslib.DNSRecord.parse(answer)
    message.add_answer(*records)
    return bytes(message.pack())


def truncated(query: bytes, reply: bytes) -> bytes:
    """The header and question of a reply that does not fit, from which the client learns to ask again over TCP."""
    end = _skip_name(reply, HEADER_BYTES) + 4
    flags = struct.unpack_from("!H", reply, 2)[0] | _TRUNCATED
    return query[:2] + struct.pack("!5H", flags, 1, 0, 0, 0) + reply[HEADER_BYTES:end]


def is_reply_to(reply: bytes, query: bytes) -> bool:
    """Whether id and question are those of the query."""
    if len(reply) < HEADER_BYTES or reply[:2] != query[:2] or not reply[2] & 0x80:
        return False
    if reply[4:6] == b"\0\0":
        return True
    end = _skip_name(query, HEADER_BYTES) + 4
    return reply[HEADER_BYTES:end].lower() == query[HEADER_BYTES:end].lower()


def is_truncated(reply: bytes) -> bool:
    return len(reply) >= HEADER_BYTES and bool(struct.unpack_from("!H", reply, 2)[0] & _TRUNCATED)


def code_of(reply: bytes) -> int:
    return reply[3] & 0x0F


def lifetimes(reply: bytes) -> list[tuple[int, int]]:
    """`(offset, seconds)` of the time to live of each record. Raises WireError if the reply cannot be read."""
    try:
        questions, answers, authorities, additional = struct.unpack_from("!4H", reply, 4)
        position = HEADER_BYTES
        for _ in range(questions):
            position = _skip_name(reply, position) + 4
        found = []
        for _ in range(answers + authorities + additional):
            position = _skip_name(reply, position)
            type, _, seconds, length = struct.unpack_from("!HHIH", reply, position)
            if type != _OPT:
                found.append((position + 4, seconds))
            position += 10 + length
    except (struct.error, IndexError):
        raise WireError(b"") from None
    return found


def _skip_name(message: bytes, position: int) -> int:
    while (length := message[position]) != 0:
        if length & 0xC0:
            return position + 2
        position += length + 1
    return position + 1


def _resource_record(record: Record, asked: Any) -> Any:
    import dnslib

    return dnslib.RR(record.owner or asked, getattr(dnslib.QTYPE, record.type), rdata=_rdata(record), ttl=TTL_S)


def _rdata(record: Record) -> Any:
    import dnslib

    if record.type == "SRV":
        priority, weight, port, target = record.value.split()
        return dnslib.SRV(int(priority), int(weight), int(port), target)
    if record.type == "SOA":
        return _soa(record.value)
    kinds = {
        "A": dnslib.A,
        "AAAA": dnslib.AAAA,
        "CNAME": dnslib.CNAME,
        "NS": dnslib.NS,
        "PTR": dnslib.PTR,
        "TXT": dnslib.TXT,
    }
    return kinds[record.type](record.value)


def _soa(text: str) -> Any:
    import dnslib

    server, mailbox, *times = text.split()
    return dnslib.SOA(server, mailbox, tuple(int(number) for number in times))
