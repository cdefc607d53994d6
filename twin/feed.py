"""The change feed between two sites: sessions, frames, acks, digests, and what a restored store needs.

A site sends only its own slots, in tick order, from the position that the peer's cursor names; a cursor moves only with
the rows it stands for, in one transaction, and is acknowledged after the commit. Whatever is lost is asked for again.

A fork: the peer holds ticks of ours that a run of ours, unknown to the peer, gave (or will give) again. It happens when
our store was restored from a backup, or wiped. Then, before we send a row, (1) own rows of the unknown runs go above
the peer's greatest tick, (2) the peer sends every twin that differs, our own former slots included, (3) own rows that
the peer lacks go above as well. The peer learns of our runs with the first frame, so a fork cut short begins anew.

One owner, one event loop: the caller awaits each call before the next.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from twin.errors import StoreError
from twin.exchange import Ack, Digests, Frame, Hello, Message, Row, Run, Standing, Twins, Welcome, digest
from twin.model import Section, Site, TwinKey
from twin.replica import Replica, Restamp

log = logging.getLogger(__name__)

FRAME_ROWS: Final = 500
WINDOW: Final = 4
"""Frames on their way at most."""


class Feed:
    """One site's end of the exchange with its peer."""

    def __init__(
        self,
        replica: Replica,
        *,
        send: Callable[[Message], None],
        nonce: Callable[[], str],
        frame_rows: int = FRAME_ROWS,
    ) -> None:
        self._replica = replica
        self._send = send
        self._nonce = nonce
        self._frame_rows = frame_rows
        self._asked = ""
        self._session = ""
        self._peer: Standing | None = None
        self._runs: tuple[Run, ...] = ()
        self._cursor = 0
        self._forked = False
        self._position = self._acked = 0
        self._sent: list[int] = []  # the end of each frame on its way
        self._introduced = False

    async def open(self) -> None:
        """Draw the run of this start. Raises StoreError; nothing may be sent before it is on disk."""
        await self._replica.begin_run(self._nonce()).stored()

    @property
    def caught_up(self) -> bool:
        """Whether the peer has acknowledged all that was sent in this session, and it has been told of our runs."""
        return self._introduced and not self._sent

    async def connect(self) -> None:
        """Ask for a session; the edge does, at each reconnect and when an answer does not come."""
        self._session = ""
        self._asked = self._nonce()
        self._send(Hello(self._asked, await self._standing()))

    async def retry(self) -> None:
        """Send again what was not acknowledged in time."""
        if self._session and self._forked:
            self._send_digests()
        elif self._session:
            self._rewind(self._acked)
            await self._pump()

    def compare(self) -> None:
        """Have the peer send the twins that differ; a safety net for what the feed may have missed."""
        if self._session:
            self._send_digests()

    async def receive(self, message: Message) -> None:
        """Take one message of the peer. A StoreError loses the message, as the line might; it is asked for again."""
        try:
            await self._take(message)
        except StoreError as error:
            log.warning("a message of the %s is left for later: %s", self._replica.site.peer, error)

    # -- sessions ------------------------------------------------------------------------------------------------

    async def _take(self, message: Message) -> None:
        if isinstance(message, Hello):
            if self._replica.site is Site.CLOUD:
                session = f"{message.nonce}.{self._nonce()}"
                standing = await self._standing()
                self._send(Welcome(message.nonce, session, standing))
                await self._begin(session, message.standing, standing)
        elif isinstance(message, Welcome):
            if self._asked and message.nonce == self._asked:
                self._asked = ""
                await self._begin(message.session, message.standing, await self._standing())
        elif not self._session or message.session != self._session:
            log.debug("dropped a %s of another session", type(message).__name__)
        elif isinstance(message, Frame):
            await self._take_frame(message)
        elif isinstance(message, Ack):
            await self._take_ack(message)
        elif isinstance(message, Digests):
            self._answer_digests(message)
        else:
            await self._take_twins(message)

    async def _standing(self) -> Standing:
        state = await self._replica.feed_state()
        site, peer = self._replica.site, self._replica.site.peer
        met = frozenset(run.id for run in state.runs[peer])
        return Standing(state.runs[site], met, state.cursors[peer], max(state.tops[peer], state.cursors[peer]))

    async def _begin(self, session: str, peer: Standing, own: Standing) -> None:
        self._session, self._peer, self._cursor, self._runs = session, peer, own.cursor, own.runs
        self._rewind(peer.cursor)
        self._replica.skip_ticks(peer.top)
        first = _first_unmet(own.runs, peer.met)
        self._forked = first is not None and first <= peer.top
        if self._forked:
            assert first is not None
            log.warning(
                "this site's state is older than what the %s has of it; it is being mended", self._replica.site.peer
            )
            again = [Restamp(row, peer.top) for row in self._replica.own_rows() if first <= row.slot.tick <= peer.top]
            await self._replica.merge((), again=again).stored()
            self._send_digests()
        else:
            await self._pump()

    # -- sending -------------------------------------------------------------------------------------------------

    async def changed(self) -> None:
        """Send what has come onto the disk since; for the watcher of the engine."""
        if self._session and not self._forked:
            await self._pump()

    def _rewind(self, position: int) -> None:
        self._position = self._acked = position
        self._introduced = False
        self._sent.clear()

    async def _pump(self) -> None:
        while len(self._sent) < WINDOW:
            session, position = self._session, self._position
            rows = await self._replica.changes(position, self._frame_rows)
            if not rows and self._introduced:
                return
            upto = rows[-1].slot.tick if rows else position
            self._send(Frame(session, position, upto, tuple(rows)))
            self._introduced = True
            self._position = upto
            self._sent.append(upto)

    async def _take_ack(self, ack: Ack) -> None:
        if ack.again:
            self._rewind(ack.cursor)
        else:
            self._acked = max(self._acked, ack.cursor)
            self._sent = [upto for upto in self._sent if upto > ack.cursor]
        if not self._forked:
            await self._pump()

    # -- receiving -----------------------------------------------------------------------------------------------

    async def _take_frame(self, frame: Frame) -> None:
        assert self._peer is not None
        if frame.from_ > self._cursor:
            self._send(Ack(self._session, self._cursor, again=True))
            return
        peer = self._replica.site.peer
        rows = [row for row in frame.rows if row.site is peer and row.slot.tick > self._cursor]
        cursor = max(self._cursor, frame.upto)
        await self._replica.merge(rows, cursor=cursor, met=self._peer.runs).stored()
        self._cursor = cursor
        self._send(Ack(frame.session, cursor))

    # -- digests -------------------------------------------------------------------------------------------------

    def _send_digests(self) -> None:
        places = self._replica.places(waiting=self._forked)
        found = ((place, rows) for place in places if (rows := self._replica.rows(*place)))
        digests = tuple((*place, digest(rows)) for place, rows in found)
        self._send(Digests(self._session, digests, recovering=self._forked))

    def _answer_digests(self, message: Digests) -> None:
        theirs = {(key, uid): one for key, uid, one in message.digests}
        rows: list[Row] = []
        differing = set()
        for place in sorted({*self._replica.places(waiting=message.recovering), *theirs}):
            mine = self._replica.rows(*place)
            if (digest(mine) if mine else None) != theirs.get(place):
                rows += mine
                differing.add(place)
        self._send(Twins(message.session, tuple(rows), answer=True, differing=frozenset(differing)))

    async def _take_twins(self, message: Twins) -> None:
        await self._replica.merge(message.rows).stored()
        if not message.answer:
            return
        mine = [row for place in sorted(message.differing) for row in self._replica.rows(*place)]
        if self._forked:
            assert self._peer is not None
            known = {_place(row): row.slot.tick for row in message.rows}
            lacking = [
                row for row in mine if row.site is self._replica.site and row.slot.tick > known.get(_place(row), 0)
            ]
            above = self._peer.top
            again = [Restamp(row, above) for row in lacking if row.slot.tick <= above]
            await self._replica.merge((), again=again).stored()
            self._forked = False
            await self._pump()
        elif mine:
            self._send(Twins(message.session, tuple(mine)))


def _first_unmet(runs: tuple[Run, ...], met: frozenset[str]) -> int | None:
    return min((run.first for run in runs if run.id not in met), default=None)


def _place(row: Row) -> tuple[TwinKey, str, Section, str, Site]:
    return row[:5]
