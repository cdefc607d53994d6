"""From a message to its reply: refused, ours, or somebody else's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mesh.dns.answers import Answers, Onward
from mesh.dns.forward import Forwarder, question_for
from mesh.dns.message import (
    ASKED,
    IN,
    TCP_BYTES,
    Answer,
    Query,
    Rcode,
    Type,
    Unreadable,
    read,
    record,
    refusal,
    render,
)

log = logging.getLogger(__name__)

MAX_WAITING: Final = 2048
"""Clients that wait for somebody else's answer; those beyond are told to come again."""
_META: Final = range(128, 256)
_ANY_TTL_S: Final = 3600
_ANY_BODY: Final = b"\x07RFC8482\x00"


@dataclass(slots=True)
class DnsCounters:
    """What the server did since it was opened."""

    queries: int = 0
    own: int = 0
    """Answered from the services, apart from those that were answered from ready replies."""
    forwarded: int = 0
    kept: int = 0
    """Answered from what others had said before."""
    stale: int = 0
    failed: int = 0
    refused: int = 0
    unreadable: int = 0
    dropped: int = 0
    """Replies that the network did not take, or that nobody was left to wait for."""


class Responder:
    """Answers messages, at once where it can. Tasks are those of questions that are asked of others."""

    def __init__(self, answers: Answers, forwarder: Forwarder | None, counters: DnsCounters) -> None:
        self._answers = answers
        self._forwarder = forwarder
        self._counters = counters
        self._waiting: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Leave those who still wait without an answer; they ask again."""
        for task in self._waiting:
            task.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)

    def respond(self, message: bytes, send: Callable[[bytes], None], *, tcp: bool) -> bool:
        """Answer a message with ``send``, now or later. False: it is no query, and gets no answer. Never raises."""
        query = read(message)
        if isinstance(query, Unreadable):
            self._counters.unreadable += 1
            if query.reply is not None:
                send(query.reply)
            return query.reply is not None
        refused = self._refused(query)
        if refused is not None:
            self._counters.refused += 1
            send(refused)
        else:
            self._answer(query, message, send, tcp=tcp)
        return True

    def _answer(self, query: Query, message: bytes, send: Callable[[bytes], None], *, tcp: bool) -> None:
        own = self._answers.reply(query, message, tcp=tcp)
        if isinstance(own, bytes):
            self._counters.own += 1
            send(own)
        elif self._forwarder is None and own is None:
            self._counters.refused += 1
            send(self._refusal(query, Rcode.REFUSED))
        else:
            self._ask_others(query, own, send, tcp=tcp)

    def _refused(self, query: Query) -> bytes | None:
        if query.edns is not None and query.edns.version > 0:
            return self._refusal(query, Rcode.BADVERS)
        if query.klass != IN or (query.type in _META and query.type != Type.ANY) or query.type == Type.OPT:
            return self._refusal(query, Rcode.REFUSED)
        if query.type == Type.ANY:
            hint = record(ASKED, Type.HINFO, _ANY_TTL_S, _ANY_BODY)
            answer = Answer(answers=(hint,), authoritative=False)
            return render(query, answer, query.limit_bytes(tcp=False), recursion=self._forwarder is not None)
        return None

    def _refusal(self, query: Query, rcode: Rcode) -> bytes:
        return refusal(query, rcode, recursion=self._forwarder is not None)

    def _ask_others(self, query: Query, onward: Onward | None, send: Callable[[bytes], None], *, tcp: bool) -> None:
        forwarder = self._forwarder
        if forwarder is None:
            assert onward is not None  # the caller has refused the rest
            send(self._with_target(query, onward, (), Rcode.NOERROR, tcp=tcp))
            return
        if onward is None:
            kept = forwarder.kept(query)
            if kept is not None:
                self._counters.kept += 1
                self._counters.stale += kept.stale
                send(kept.reply(query, query.limit_bytes(tcp)))
                return
        if len(self._waiting) >= MAX_WAITING or forwarder.is_our_own(query):
            self._counters.refused += 1
            send(self._refusal(query, Rcode.REFUSED))
            return
        task = asyncio.create_task(self._answer_later(forwarder, query, onward, send, tcp=tcp))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _answer_later(
        self, forwarder: Forwarder, query: Query, onward: Onward | None, send: Callable[[bytes], None], *, tcp: bool
    ) -> None:
        try:
            if onward is None:
                reply = await self._forwarded(forwarder, query, tcp=tcp)
            else:
                reply = await self._followed(forwarder, query, onward, tcp=tcp)
        except Exception:  # the boundary of one question: the next one has to be answered
            log.exception("a question could not be asked of others")
            reply = self._refusal(query, Rcode.SERVFAIL)
        send(reply)

    async def _forwarded(self, forwarder: Forwarder, query: Query, *, tcp: bool) -> bytes:
        known = await forwarder.known(query)
        if known is None:
            self._counters.failed += 1
            return self._refusal(query, Rcode.SERVFAIL)
        self._counters.forwarded += not known.stale
        self._counters.stale += known.stale
        return known.reply(query, query.limit_bytes(tcp))

    async def _followed(self, forwarder: Forwarder, query: Query, onward: Onward, *, tcp: bool) -> bytes:
        from mesh.dns.rare import loose_answers  # dnspython is loaded when the first such name is asked for

        question = question_for(onward.target, query.type, query.edns)
        known = await forwarder.known(question)
        if known is None or not known.heard.is_useful:
            self._counters.failed += 1
            return self._with_target(query, onward, (), Rcode.SERVFAIL, tcp=tcp)
        self._counters.forwarded += 1
        rcode = Rcode(known.heard.rcode)
        return self._with_target(query, onward, loose_answers(known.reply(question, TCP_BYTES)), rcode, tcp=tcp)

    def _with_target(self, query: Query, onward: Onward, more: tuple[bytes, ...], rcode: Rcode, *, tcp: bool) -> bytes:
        answer = Answer(rcode, onward.found.answer.answers + more)
        return render(query, answer, query.limit_bytes(tcp), recursion=self._forwarder is not None)
