"""Other people's names: asked of servers upstream, kept, and answered from what was kept where nobody answers.

fresh ── kept, still holds ───────────────────────────────> reply
stale ── nobody reachable, or asked in vain a moment ago ─> reply, 30 s
      └─ ask; no answer after half a second ──────────────> reply, 30 s; the answer is kept when it comes
none  ── ask ─────────────────────────────────────────────> reply, or SERVFAIL at once where all are known to be down
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from random import Random
from typing import Final

from mesh.dns.cache import Cache, Heard, read_response
from mesh.dns.exchange import over_tcp, over_udp
from mesh.dns.message import CD, HEADER, RCODE, RD, TC, Edns, Query, Rcode, Type, opt
from mesh.dns.places import Place, place_of
from mesh.dns.settings import DnsSettings
from mesh.dns.upstreams import MAX_TIMEOUT_S, Upstream, Upstreams

log = logging.getLogger(__name__)

STALE_AFTER_S: Final = 0.5
"""RFC 8767 advises 1.8 s; people at a gateway whose line is down should not wait that long for each name."""
TRIES: Final = 4
DEADLINE_S: Final = 4.0
"""Stub resolvers wait for five seconds."""
MAX_FLIGHTS: Final = 512


@dataclass(frozen=True, slots=True)
class Known:
    """What may be said now."""

    heard: Heard
    age_s: int = 0
    stale: bool = False

    def reply(self, query: Query, limit_bytes: int) -> bytes:
        """Write it for a client."""
        return self.heard.reply(query, limit_bytes, self.age_s, stale=self.stale)


class Forwarder:
    """Asks others. Equal questions that come while one is on its way share its answer."""

    def __init__(
        self, settings: DnsSettings, ourselves: Callable[[], Collection[Place]], clock: Callable[[], float], rng: Random
    ) -> None:
        fixed = [place for text in settings.upstreams if (place := place_of(text)) is not None]
        self._upstreams = Upstreams(fixed, settings.resolv_conf, ourselves)
        self._cache = Cache(settings.cached_names)
        self._clock = clock
        self._rng = rng
        self._flights: dict[bytes, asyncio.Task[Heard | None]] = {}
        self._probes: set[asyncio.Task[None]] = set()
        self._signs: dict[bytes, Upstream] = {}

    async def close(self) -> None:
        """Give up what is on its way."""
        tasks = (*self._flights.values(), *self._probes)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def kept(self, query: Query) -> Known | None:
        """What needs no asking: it holds still, or is stale and there is no point in asking now."""
        key, now_s = _key(query), self._clock()
        fresh = self._cache.fresh(key, now_s)
        if fresh is not None:
            return Known(*fresh)
        stale = self._cache.stale(key, now_s)
        if stale is not None and not self._cache.may_ask(key, now_s):
            return Known(stale, stale=True)
        return None

    async def known(self, query: Query) -> Known | None:
        """Ask, or fall back on what is kept. None: nobody could be asked."""
        kept = self.kept(query)
        if kept is not None:
            return kept
        key = _key(query)
        old = self._cache.stale(key, self._clock())
        stale = Known(old, stale=True) if old is not None else None
        flight = self._flight(key, query)
        if flight is None:
            return stale
        await asyncio.wait((flight,), timeout=STALE_AFTER_S if stale else None)
        if not flight.done() or flight.cancelled():
            return stale
        heard = flight.result()
        if heard is None or (stale and not heard.is_useful):
            return stale
        return Known(heard)

    def is_our_own(self, query: Query) -> bool:
        """Whether a question is one by which we look for loops; then whoever was asked it leads back to us."""
        upstream = self._signs.pop(query.key[: query.key[0] + 1], None) if self._signs else None
        if upstream is None:
            return False
        upstream.loops = True
        log.warning(
            "DNS server %s sends our own questions back to us and is not asked any more. "
            "Name the servers upstream in the settings, or have it not ask this gateway",
            upstream.place,
        )
        return True

    def _flight(self, key: bytes, query: Query) -> asyncio.Task[Heard | None] | None:
        flight = self._flights.get(key)
        if flight is not None:
            return flight
        now_s = self._clock()
        if self._upstreams.refresh(now_s):
            self._look_for_loops()
        order = self._upstreams.order(now_s)
        if not order or len(self._flights) >= MAX_FLIGHTS:
            self._cache.failed(key, now_s) if not order else None
            return None
        flight = self._flights[key] = asyncio.create_task(self._fly(key, query, order))
        flight.add_done_callback(lambda _: self._flights.pop(key, None))
        return flight

    async def _fly(self, key: bytes, query: Query, order: list[Upstream]) -> Heard | None:
        began_s = self._clock()
        failure: Heard | None = None
        for number in range(max(TRIES, len(order)) if len(order) > 1 else TRIES - 1):
            upstream = order[number % len(order)]
            timeout_s = min((1 + number // len(order)) * upstream.timeout_s(), MAX_TIMEOUT_S)
            again = number >= len(order)
            if (again and upstream.down) or self._clock() - began_s + timeout_s > DEADLINE_S:
                continue
            heard = await self._ask(upstream, query, timeout_s)
            if heard is not None and heard.is_useful:
                self._cache.put(key, heard, self._clock())
                return heard
            failure = heard or failure
            if failure is not None and number >= len(order) - 1:
                break  # everybody was asked, and somebody did answer
        if failure is not None:
            self._cache.put(key, failure, self._clock())
        self._cache.failed(key, self._clock())
        return failure

    async def _ask(self, upstream: Upstream, query: Query, timeout_s: float) -> Heard | None:
        began_s = self._clock()
        upstream.try_now(began_s)
        try:
            heard = await self._exchange(upstream.place, query, timeout_s)
        except TimeoutError:
            upstream.failed(self._clock(), "no answer in time", unreachable=False)
            return None
        except OSError as error:
            upstream.failed(self._clock(), str(error), unreachable=True)
            return None
        upstream.answered(self._clock() - began_s)
        return heard

    async def _exchange(self, place: Place, query: Query, timeout_s: float, *, edns: bool = True) -> Heard | None:
        message = self._message(query, edns=edns)
        reply = await over_udp(place, message, timeout_s)
        flags = HEADER.unpack_from(reply)[1]
        if edns and flags & RCODE in (Rcode.FORMERR, Rcode.NOTIMP):
            return await self._exchange(place, query, timeout_s, edns=False)  # it knows no EDNS (RFC 6891, 7)
        if flags & TC:
            reply = await over_tcp(place, message, MAX_TIMEOUT_S)
        return read_response(reply, query.key)

    def _message(self, query: Query, *, edns: bool) -> bytes:
        identity = self._rng.getrandbits(16).to_bytes(2, "big")
        head = HEADER.pack(identity, RD | query.flags & CD, 1, 0, 0, int(edns))
        wants_dnssec = query.edns is not None and query.edns.dnssec
        return head + query.key + (opt(dnssec=wants_dnssec) if edns else b"")

    def _look_for_loops(self) -> None:
        """Ask each server for a name that nobody else asks for: if it comes to us, that server asks us."""
        self._signs.clear()
        for upstream in self._upstreams:
            sign = b"\x10" + f"{self._rng.getrandbits(64):016x}".encode()
            self._signs[sign] = upstream
            key = sign + b"\x0aloop-check\x00" + bytes((0, Type.HINFO, 0, 1))
            probe = asyncio.create_task(self._probe(upstream, Query(b"\0\0", RD, key[:-4], Type.HINFO, 1, key)))
            self._probes.add(probe)
            probe.add_done_callback(self._probes.discard)

    async def _probe(self, upstream: Upstream, query: Query) -> None:
        try:
            await over_udp(upstream.place, self._message(query, edns=False), MAX_TIMEOUT_S)
        except OSError:
            return  # TimeoutError is one, too; questions find out by themselves


def _key(query: Query) -> bytes:
    """Answers differ by what the client can check itself."""
    wants_dnssec = query.edns is not None and query.edns.dnssec
    return query.key + bytes((wants_dnssec, bool(query.flags & CD)))


def question_for(name: bytes, kind: int, edns: Edns | None) -> Query:
    """Ask for a name on behalf of a client."""
    key = name + kind.to_bytes(2, "big") + b"\x00\x01"
    return Query(b"\0\0", RD, name, kind, 1, key, edns)
