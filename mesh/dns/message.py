"""Messages of DNS: what is asked, read strictly; and answers, as the bytes that follow the question.

    id(2) flags(2) questions(2) answers(2) authority(2) additional(2) | name type(2) class(2) | records ... | OPT

A record is written with a pointer to the question (byte 12) where its name is the one that was asked, so that it is the
same whatever upper and lower case the client used.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from mesh.dns.names import MAX_LABEL, MAX_NAME

HEADER: Final = struct.Struct("!2sHHHHH")
TYPE_CLASS: Final = struct.Struct("!HH")
RECORD: Final = struct.Struct("!HHIH")
OPT_RECORD: Final = struct.Struct("!BHHBBHH")
"""Root, type, payload size, upper bits of the rcode, version, flags, length."""
ASKED: Final = b"\xc0\x0c"
"""The name of the question."""

QR: Final = 0x8000
OPCODE: Final = 0x7800
AA: Final = 0x0400
TC: Final = 0x0200
RD: Final = 0x0100
RA: Final = 0x0080
AD: Final = 0x0020
CD: Final = 0x0010
RCODE: Final = 0x000F
DO: Final = 0x8000
IN: Final = 1
PLAIN_BYTES: Final = 512
"""What a client takes over UDP that does not say more."""
OUR_PAYLOAD_BYTES: Final = 1232
"""What passes everywhere without being cut into fragments, which get lost and can be forged (DNS flag day 2020)."""
TCP_BYTES: Final = 65_535


class Type(IntEnum):
    """The types of records that we know something of."""

    A = 1
    NS = 2
    CNAME = 5
    SOA = 6
    PTR = 12
    HINFO = 13
    TXT = 16
    AAAA = 28
    SRV = 33
    OPT = 41
    IXFR = 251
    AXFR = 252
    ANY = 255


class Rcode(IntEnum):
    """How it went."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16


@dataclass(frozen=True, slots=True)
class Edns:
    """What the client says of itself. Its options are ignored: cookies too, as RFC 7873 lets a server do."""

    payload_bytes: int
    version: int = 0
    dnssec: bool = False
    plain: bool = True
    """No options."""


@dataclass(frozen=True, slots=True)
class Query:
    """One question. ``name`` as it was written; ``key`` is name, type and class in lower case."""

    id: bytes
    flags: int
    name: bytes
    type: int
    klass: int
    key: bytes
    edns: Edns | None = None

    @property
    def question(self) -> bytes:
        """Its bytes, to be echoed."""
        return self.name + self.key[-4:]

    def limit_bytes(self, tcp: bool) -> int:
        """How long an answer may be."""
        if tcp:
            return TCP_BYTES
        return min(max(self.edns.payload_bytes, PLAIN_BYTES), OUR_PAYLOAD_BYTES) if self.edns else PLAIN_BYTES


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message that is no query we can read, with the answer to it; None: it gets none."""

    reply: bytes | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said to a question: records as bytes, by section. Additional ones are left out where space lacks."""

    rcode: Rcode = Rcode.NOERROR
    answers: tuple[bytes, ...] = ()
    authority: tuple[bytes, ...] = ()
    additional: tuple[bytes, ...] = ()
    authoritative: bool = True


def read(data: bytes) -> Query | Unreadable:
    """Read a query. Never raises; what is a response, or too short to be anything, gets no answer."""
    if len(data) < HEADER.size:
        return Unreadable(None)
    identity, flags, questions, answers, authority, additional = HEADER.unpack_from(data)
    if flags & QR:
        return Unreadable(None)
    if flags & OPCODE:
        return _unreadable(identity, flags, Rcode.NOTIMP)
    at = _end_of_plain_name(data, HEADER.size)
    if questions != 1 or at is None or at + 4 > len(data):
        return _unreadable(identity, flags, Rcode.FORMERR)
    kind, klass = TYPE_CLASS.unpack_from(data, at)
    name = data[HEADER.size : at]
    key = name.lower() + data[at : at + 4]
    if kind in (Type.IXFR, Type.AXFR):
        return Query(identity, flags, name, kind, klass, key)  # refused whatever else it holds
    edns = _read_opt(data, at + 4, additional) if additional or at + 4 != len(data) else None
    if answers or authority or isinstance(edns, Unreadable):
        return _unreadable(identity, flags, Rcode.FORMERR)
    return Query(identity, flags, name, kind, klass, key, edns)


def _unreadable(identity: bytes, flags: int, rcode: Rcode) -> Unreadable:
    return Unreadable(HEADER.pack(identity, QR | flags & (OPCODE | RD) | rcode, 0, 0, 0, 0))


def _read_opt(data: bytes, at: int, count: int) -> Edns | Unreadable | None:
    found: Edns | None = None
    for record in records(data, at, count):
        if record is None:
            return Unreadable(None)
        if record.type == Type.OPT:
            if found is not None or data[record.at] != 0:
                return Unreadable(None)
            flags = record.ttl
            found = Edns(record.klass, flags >> 16 & 0xFF, bool(flags & DO), record.end == record.body)
        at = record.end
    return found if at == len(data) else Unreadable(None)


def _end_of_plain_name(data: bytes, at: int) -> int | None:
    """Where a name without pointers ends."""
    start, size = at, len(data)
    while at < size:
        length = data[at]
        if length == 0:
            return at + 1 if at + 1 - start <= MAX_NAME else None
        if length > MAX_LABEL:
            return None
        at += 1 + length
    return None


@dataclass(frozen=True, slots=True)
class Record:
    """Where a record lies: name from ``at``, time to live at ``ttl_at``, what it says from ``body`` to ``end``."""

    at: int
    type: int
    klass: int
    ttl: int
    ttl_at: int
    body: int
    end: int


def records(data: bytes, at: int, count: int) -> Iterator[Record | None]:
    """Walk over records; a None, and the end, where one is broken off."""
    for _ in range(count):
        begin = at
        end = _end_of_name(data, at)
        if end is None or end + RECORD.size > len(data):
            yield None
            return
        kind, klass, ttl, length = RECORD.unpack_from(data, end)
        at = end + RECORD.size + length
        if at > len(data):
            yield None
            return
        yield Record(begin, kind, klass, ttl, end + 4, end + RECORD.size, at)


def _end_of_name(data: bytes, at: int) -> int | None:
    """Where a name ends that may end in a pointer; what it points to is not looked at."""
    size = len(data)
    while at < size:
        length = data[at]
        if length == 0:
            return at + 1
        if length >= 0xC0:
            return at + 2 if at + 2 <= size else None
        if length > MAX_LABEL:
            return None
        at += 1 + length
    return None


def record(name: bytes, kind: Type, ttl_s: int, body: bytes) -> bytes:
    """Write a record; ``name`` may be ASKED."""
    return name + RECORD.pack(kind, IN, ttl_s, len(body)) + body


def opt(rcode: Rcode = Rcode.NOERROR, *, dnssec: bool = False, payload_bytes: int = OUR_PAYLOAD_BYTES) -> bytes:
    """Write our OPT record."""
    return OPT_RECORD.pack(0, Type.OPT, payload_bytes, rcode >> 4, 0, DO if dnssec else 0, 0)


def render(query: Query, answer: Answer, limit_bytes: int, *, recursion: bool) -> bytes:
    """Write the reply. What does not fit is left out, and said so (TC) if it was part of the answer."""
    tail = opt(answer.rcode, dnssec=query.edns.dnssec) if query.edns else b""
    question = query.question
    space = limit_bytes - HEADER.size - len(question) - len(tail)
    answers, authority, additional = answer.answers, answer.authority, answer.additional
    flags = QR | query.flags & (RD | CD) | answer.rcode & RCODE
    if answer.authoritative:
        flags |= AA
    if recursion:
        flags |= RA
    body = b"".join((*answers, *authority, *additional))
    if len(body) > space:
        additional = ()
        body = b"".join((*answers, *authority))
        if len(body) > space:
            flags |= TC
            answers = authority = ()
            body = b""
    extra = len(additional) + bool(tail)
    return b"".join(
        (HEADER.pack(query.id, flags, 1, len(answers), len(authority), extra), question, body, tail)
    )  # fmt: skip


def refusal(query: Query, rcode: Rcode, *, recursion: bool) -> bytes:
    """Write a reply that holds nothing but why."""
    return render(query, Answer(rcode, authoritative=False), PLAIN_BYTES, recursion=recursion)
