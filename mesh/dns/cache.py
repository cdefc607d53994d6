"""What others said, for as long as they said it holds; and longer, where they cannot be asked (RFC 8767)."""

from __future__ import annotations

import struct
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from mesh.dns.message import (
    AA,
    AD,
    CD,
    HEADER,
    QR,
    RA,
    RCODE,
    RD,
    TC,
    Query,
    Rcode,
    Type,
    opt,
    records,
)

MAX_POSITIVE_S: Final = 3600
MAX_NEGATIVE_S: Final = 1800
MIN_S: Final = 5
"""Shorter times to live would only mean more questions over a line that may be slow or dear."""
STALE_TTL_S: Final = 30
RECHECK_S: Final = 30
"""After a failure nobody is asked again for so long, where there is a stale answer."""
MAX_STALE_S: Final = 24 * 3600
FAILURE_S: Final = 5
"""How long a server's own failure is believed (RFC 2308, 7.1)."""
_TTL: Final = struct.Struct("!I")


@dataclass(frozen=True, slots=True)
class Heard:
    """A response without its id and question, and without the OPT record, which is only for the next hop."""

    flags: int
    counts: tuple[int, int, int]
    body: bytes
    ttl_places: tuple[int, ...]
    ttl_s: int
    """How long it may be kept."""

    @property
    def rcode(self) -> int:
        """How it went, by the header alone."""
        return self.flags & RCODE

    @property
    def is_useful(self) -> bool:
        """Whether it says something of the name, rather than of the server."""
        return self.rcode in (Rcode.NOERROR, Rcode.NXDOMAIN)

    def reply(self, query: Query, limit_bytes: int, age_s: int, *, stale: bool = False) -> bytes:
        """Write it for a client. Times to live are counted down; those of a stale answer are 30 s."""
        body = bytearray(self.body)
        for place in self.ttl_places:
            ttl_s = STALE_TTL_S if stale else max(_TTL.unpack_from(body, place)[0] - age_s, 0)
            _TTL.pack_into(body, place, min(ttl_s, MAX_POSITIVE_S))
        tail = opt(dnssec=query.edns.dnssec) if query.edns else b""
        counts = self.counts
        flags = QR | RA | query.flags & (RD | CD) | self.flags & (RCODE | (AD if not stale else 0))
        if HEADER.size + len(query.question) + len(body) + len(tail) > limit_bytes:
            flags |= TC
            counts, body = (0, 0, 0), bytearray()
        head = HEADER.pack(query.id, flags & ~AA, 1, *counts[:2], counts[2] + bool(tail))
        return b"".join((head, query.question, body, tail))


def read_response(data: bytes, question: bytes) -> Heard | None:
    """Read a response to a question (in lower case); None if it is no such thing, or broken."""
    end = HEADER.size + len(question)
    if len(data) < end or data[HEADER.size : end].lower()[:-4] + data[end - 4 : end] != question:
        return None
    _, flags, questions, *counts = HEADER.unpack_from(data)
    if not flags & QR or questions != 1:
        return None
    if flags & TC:
        return Heard(flags, (0, 0, 0), b"", (), 0)
    places: list[int] = []
    ttls: list[int] = []
    negative_s: int | None = None
    opt_at = None
    stop = end
    for number, record in enumerate(records(data, end, sum(counts))):
        if record is None:
            return None
        stop = record.end
        if record.type == Type.OPT:
            opt_at = record.at
            counts[2] -= 1
            if (
                number < counts[0] + counts[1] or record.ttl >> 24
            ):  # in a wrong section, or an rcode beyond the header's
                return None
            continue
        if opt_at is not None:  # names after it may point to each other: cutting it out would move them
            return _read_again(data, question)
        places.append(record.ttl_at - end)
        ttl_s = record.ttl if record.ttl < 1 << 31 else 0  # RFC 2181, 8
        if number < counts[0]:
            ttls.append(ttl_s)
        elif record.type == Type.SOA and record.end - record.body >= 20:
            negative_s = min(ttl_s, _TTL.unpack_from(data, record.end - 4)[0])
    body = data[end : opt_at if opt_at is not None else stop]
    return Heard(flags, (counts[0], counts[1], counts[2]), body, tuple(places), _keep_s(ttls, negative_s))


def _keep_s(ttls: list[int], negative_s: int | None) -> int:
    if negative_s is None and ttls:
        return min(max(min(ttls), MIN_S), MAX_POSITIVE_S)
    return min(max(min((*ttls, negative_s or 0)), MIN_S), MAX_NEGATIVE_S)


def _read_again(data: bytes, question: bytes) -> Heard | None:
    from mesh.dns.rare import without_opt  # the libraries for it are loaded when the first such response comes

    clean = without_opt(data)
    return read_response(clean, question) if clean is not None else None


@dataclass(slots=True)
class _Entry:
    heard: Heard
    at_s: float
    asked_again_s: float
    """Not before then, after a failure."""


class Cache:
    """Bounded: the name that was asked for longest ago goes first. Times are seconds of the monotonic clock."""

    def __init__(self, max_names: int) -> None:
        self._max_names = max_names
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, key: bytes, heard: Heard, now_s: float) -> None:
        """Keep what was said. A server's failure never takes the place of what it once knew."""
        if not heard.is_useful and (self.stale(key, now_s) or self.fresh(key, now_s)):
            self.failed(key, now_s)
            return
        self._entries[key] = _Entry(heard, now_s, 0)
        self._entries.move_to_end(key)
        while len(self._entries) > self._max_names:
            self._entries.popitem(last=False)

    def fresh(self, key: bytes, now_s: float) -> tuple[Heard, int] | None:
        """What still holds, and how many seconds old it is."""
        entry = self._entries.get(key)
        if entry is None or now_s - entry.at_s >= _holds_s(entry.heard):
            return None
        self._entries.move_to_end(key)
        return entry.heard, int(now_s - entry.at_s)

    def stale(self, key: bytes, now_s: float) -> Heard | None:
        """What once held, no more than a day ago."""
        entry = self._entries.get(key)
        if entry is None or not entry.heard.is_useful:
            return None
        overdue_s = now_s - entry.at_s - entry.heard.ttl_s
        return entry.heard if 0 <= overdue_s < MAX_STALE_S else None

    def failed(self, key: bytes, now_s: float) -> None:
        """Nobody could be asked: what is stale is good enough for a while."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.asked_again_s = now_s + RECHECK_S

    def may_ask(self, key: bytes, now_s: float) -> bool:
        """Whether the last failure is long enough ago."""
        entry = self._entries.get(key)
        return entry is None or now_s >= entry.asked_again_s


def _holds_s(heard: Heard) -> int:
    return heard.ttl_s if heard.is_useful else FAILURE_S
