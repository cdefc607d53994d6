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
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from twin.errors import StoreError
from twin.exchange import (
    FRAME_BYTES,
    FRAME_ROWS,
    Ack,
    Digests,
    Frame,
    Hello,
    Message,
    Place,
    Row,
    Run,
    Standing,
    Twins,
    Welcome,
    digest,
    portion,
    size_of,
)
from twin.model import Site
from twin.replica import Replica, Restamp

log = logging.getLogger(__name__)

WINDOW: Final = 4
"""Frames on their way at most."""
PAGE_TWINS: Final = 500
"""Twins of one page of digests; one page is on its way, and only while nothing else has to be sent."""


class Feed:
    """One site's end of the exchange with its peer."""

    def __init__(
        self,
        replica: Replica,
        *,
        send: Callable[[Message], None],
        nonce: Callable[[], str],
        frame_rows: int = FRAME_ROWS,
        frame_bytes: int = FRAME_BYTES,
        page_twins: int = PAGE_TWINS,
    ) -> None:
        self._replica = replica
        self._send = send
        self._nonce = nonce
        self._frame_rows = frame_rows
        self._frame_bytes = frame_bytes
        self._page_twins = page_twins
        self.asked = ""
        """The nonce of a Hello that was not answered yet."""
        self.session = ""
        """The session that stands; empty while there is none."""
        self._peer: Standing | None = None
        self._runs: tuple[Run, ...] = ()
        self._cursor = 0
        self._forked = False
        self._unmended = False  # as it is on disk: a mending goes on after a restart, or in a backup of that time
        self._position = self._acked = 0
        self._sent: list[int] = []  # the end of each frame on its way
        self._introduced = False
        self._places: list[Place] = []  # those that are being compared, in order
        self._page: tuple[Place | None, Place | None] | None = None  # the one that was not answered yet
        self._page_due = False

    async def open(self) -> None:
        """Draw the run of this start. Raises StoreError; nothing may be sent before it is on disk."""
        await self._replica.begin_run(self._nonce()).stored()
        self._unmended = await self._replica.is_mending()

    @property
    def caught_up(self) -> bool:
        """Whether the peer has acknowledged all that was sent in this session, and it has been told of our runs."""
        return self._introduced and not self._sent

    @property
    def comparing(self) -> bool:
        """Whether digests are being compared right now; a feed that mends itself does until it is mended."""
        return self._page is not None

    @property
    def acked(self) -> int:
        """How far the peer has our rows on disk, as it said in this session."""
        return self._acked

    async def connect(self) -> None:
        """Ask for a session; the edge does, at each reconnect and when an answer does not come."""
        self.disconnect()
        self.asked = self._nonce()
        self._send(Hello(self.asked, await self._standing()))

    def disconnect(self) -> None:
        """Forget the session; what of it still comes is dropped."""
        self.session = self.asked = ""
        self._page = None

    async def retry(self) -> None:
        """Send again what was not acknowledged in time."""
        if self.session and not self._forked and not self.caught_up:
            self._rewind(self._acked)
            await self._pump()
        elif self.session and self._page is not None:
            self._send_page(self._page[0])
        elif self.session and self._forked:  # the store failed when the mending was to begin
            await self._mend()

    def compare(self) -> None:
        """Have the peer send the twins that differ; a safety net for what the feed may have missed.

        It goes page by page, behind what else there is to send.
        """
        if self.session and self._page is None:
            self._places = self._replica.places(waiting=self._forked)
            self._send_page(None)

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
            if self.asked and message.nonce == self.asked:
                own = await self._standing()
                self.asked = ""
                await self._begin(message.session, message.standing, own)
        elif not self.session or message.session != self.session:
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
        self.session, self._peer, self._cursor, self._runs = session, peer, own.cursor, own.runs
        self._rewind(peer.cursor)
        self._page = None
        self._replica.skip_ticks(peer.top)
        first = _first_unmet(own.runs, peer.met)
        self._forked = self._unmended or (first is not None and first <= peer.top)
        if self._forked:
            log.warning(
                "this site's state is older than what the %s has of it; it is being mended", self._replica.site.peer
            )
            await self._mend()
        else:
            await self._pump()

    async def _mend(self) -> None:
        """Write own rows of unknown runs again above what the peer has, and ask for what differs."""
        assert self._peer is not None
        first, top = _first_unmet(self._runs, self._peer.met) or self._peer.top + 1, self._peer.top
        again = [Restamp(row, top) for row in self._replica.own_rows() if first <= row.slot.tick <= top]
        await self._replica.merge((), again=again, mending=True).stored()
        self._unmended = True
        self.compare()

    # -- sending -------------------------------------------------------------------------------------------------

    async def changed(self) -> None:
        """Send what has come onto the disk since; for the watcher of the engine."""
        if self.session and not self._forked:
            await self._pump()

    def _rewind(self, position: int) -> None:
        self._position = self._acked = position
        self._introduced = False
        self._sent.clear()

    async def _pump(self) -> None:
        while len(self._sent) < WINDOW:
            session, position = self.session, self._position
            rows = portion(await self._replica.changes(position, self._frame_rows), max_bytes=self._frame_bytes)
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
            self._send_due_page()

    # -- receiving -----------------------------------------------------------------------------------------------

    async def _take_frame(self, frame: Frame) -> None:
        assert self._peer is not None
        if frame.from_ > self._cursor:
            self._send(Ack(self.session, self._cursor, again=True))
            return
        peer = self._replica.site.peer
        rows = [row for row in frame.rows if row.site is peer and row.slot.tick > self._cursor]
        cursor = max(self._cursor, frame.upto)
        await self._replica.merge(rows, cursor=cursor, met=self._peer.runs).stored()
        self._cursor = cursor
        self._send(Ack(frame.session, cursor))

    # -- digests -------------------------------------------------------------------------------------------------

    def _send_page(self, after: Place | None) -> None:
        start = bisect_right(self._places, after) if after is not None else 0
        page = self._places[start : start + self._page_twins]
        upto = page[-1] if start + len(page) < len(self._places) else None
        found = ((place, rows) for place in page if (rows := self._replica.rows(*place)))
        digests = tuple((*place, digest(rows)) for place, rows in found)
        self._page, self._page_due = (after, upto), False
        self._send(Digests(self.session, digests, self._forked, after, upto))

    def _send_due_page(self) -> None:
        """Go on with the next page, if one waited for the rows to be sent."""
        if self._page is not None and self._page_due and self.caught_up:
            self._send_page(self._page[0])

    def _answer_digests(self, message: Digests) -> None:
        theirs = {(key, uid): one for key, uid, one in message.digests}
        mine = self._replica.places(waiting=message.recovering)
        first = bisect_right(mine, message.after) if message.after is not None else 0
        end = bisect_right(mine, message.upto) if message.upto is not None else len(mine)
        rows: list[Row] = []
        differing: set[Place] = set()
        upto, last, left_bytes = message.upto, message.after, self._frame_bytes
        for place in sorted({*mine[first:end], *theirs}):
            own = self._replica.rows(*place)
            if (digest(own) if own else None) != theirs.get(place):
                left_bytes -= sum(map(size_of, own))
                if left_bytes < 0 and rows:
                    upto = last
                    break
                rows += own
                differing.add(place)
            last = place
        self._send(Twins(message.session, tuple(rows), answer=True, differing=frozenset(differing), upto=upto))

    async def _take_twins(self, message: Twins) -> None:
        await self._replica.merge(message.rows).stored()
        if not message.answer:
            return
        mine = [row for place in sorted(message.differing) for row in self._replica.rows(*place)]
        if not self._forked:
            for part in _portions(mine, self._frame_bytes):
                self._send(Twins(self.session, tuple(part)))
            self._turn_page(message.upto)
        elif self._answers_page(message.upto):
            assert self._peer is not None
            again = to_restamp(mine, message.rows, self._replica.site, self._peer.top)
            ends = message.upto is None
            await self._replica.merge((), again=again, mending=False if ends else None).stored()
            self._turn_page(message.upto)
            if ends:
                self._forked = self._unmended = False
                await self._pump()

    def _answers_page(self, upto: Place | None) -> bool:
        """Whether an answer up to there is one to the page that is on its way, and not to one before."""
        if self._page is None:
            return False
        after, end = self._page
        if upto is None or end is None:
            return end is None and (upto is None or after is None or upto > after)
        return upto <= end and (after is None or upto > after)

    def _turn_page(self, upto: Place | None) -> None:
        if not self._answers_page(upto):
            return
        if upto is None:
            self._page = None
        elif self._forked or self.caught_up:
            self._send_page(upto)
        else:
            self._page, self._page_due = (upto, None), True


def to_restamp(mine: Iterable[Row], answer: Iterable[Row], site: Site, top: int) -> list[Restamp]:
    """Own rows that go above ``top`` in a site that mends itself, once it has joined the peer's answer.

    Those that the peer lacks and would pass over; and those whose ``seen`` the join may have raised: a backup from
    before it has the same tick with another ``seen``, and only a tick beyond it tells the two apart.
    """
    known = {row[:5]: row.slot for row in answer}
    found: list[Restamp] = []
    for row in mine:
        theirs = known.get(row[:5])
        raised = theirs is not None and row.slot.seen == theirs.seen > 0
        newer = theirs is None or row.slot.tick > theirs.tick
        if row.site is site and newer and (raised or row.slot.tick <= top):
            found.append(Restamp(row, top))
    return found


def _portions(rows: Iterable[Row], max_bytes: int) -> Iterator[list[Row]]:
    rest = list(rows)
    while rest:
        part = portion(rest, max_bytes=max_bytes)
        yield part
        rest = rest[len(part) :]


def _first_unmet(runs: tuple[Run, ...], met: frozenset[str]) -> int | None:
    return min((run.first for run in runs if run.id not in met), default=None)
