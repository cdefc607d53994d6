"""The cloud's end of the change feed: what ``twin.feed`` is in memory, as turns on a gateway's state in SQL.

Any worker takes any message; what it must know of the session is in the gateway's row, under the row's lock.

              ┌ Hello ──> session, fork check ──> Welcome, then frames; or digests, if this store was restored
    message ──┼ Frame ──> rows and cursor ──────> Ack
              ├ Ack ────> position ─────────────> the next frames
              └ Digests, Twins ──> twins that differ, whole
"""

from __future__ import annotations

import logging
from typing import Final

from cloudsync.sessions import begin, meet, rewind, standing_of
from cloudsync.turn import Turn
from twin.exchange import FRAME_ROWS, Ack, Digests, Frame, Hello, HistoryAck, Place, Row, Twins, Welcome, portion
from twin.feed import WINDOW, to_restamp
from twin.model import Site, TwinKey
from twin.replica import Restamp

log = logging.getLogger(__name__)

PAGE_TWINS: Final = 500
"""Twins of one page of digests, and of one answer."""

_TWINS_READ: Final = 25


class Early(Exception):
    """The frame begins beyond the cursor: those before it may be under way, to another worker perhaps."""


async def take_hello(turn: Turn, hello: Hello, session: str, *, frame_rows: int = FRAME_ROWS) -> None:
    """Begin a session: welcome the gateway and send what it lacks, or first mend this store."""
    state = turn.state
    first = begin(state, hello, session, turn.now_ms)
    welcome(turn, hello.nonce)
    if first is None:
        await pump(turn, frame_rows=frame_rows)
        return
    top = hello.standing.top
    log.warning("the store is older than what gateway %s has of it; it is being mended", state.gateway)
    await turn.merge((), again=[Restamp(row, top) for row in await turn.tx.own_rows(first, top)])
    await send_digests(turn)


def welcome(turn: Turn, nonce: str) -> None:
    """Tell the session that stands, and how far the gateway's history is."""
    state = turn.state
    turn.send(Welcome(nonce, state.session, standing_of(state)))
    turn.send(HistoryAck(state.session, state.history_log, state.history_upto))


# -- sending -----------------------------------------------------------------------------------------------------


async def pump(turn: Turn, *, frame_rows: int = FRAME_ROWS) -> None:
    """Send own rows beyond the position, as far as the window allows; whoever changes a gateway's twins does."""
    state = turn.state
    if not state.session or state.forked:
        return
    while len(state.sent) < WINDOW:
        rows = portion(await turn.tx.rows_after(Site.CLOUD, state.position, frame_rows))
        if not rows and state.introduced:
            return
        upto = rows[-1].slot.tick if rows else state.position
        turn.send(Frame(state.session, state.position, upto, tuple(rows)))
        state.introduced = True
        state.position = upto
        state.sent = (*state.sent, upto)


async def repeat(turn: Turn, *, frame_rows: int = FRAME_ROWS) -> None:
    """Send again what was not acknowledged in time; the holder of the gateway's lease does."""
    state = turn.state
    if not state.session:
        return
    if state.forked:
        await send_digests(turn)
    else:
        rewind(state, state.acked)
        await pump(turn, frame_rows=frame_rows)


async def take_ack(turn: Turn, ack: Ack, *, frame_rows: int = FRAME_ROWS) -> None:
    """Go on behind what the gateway has on disk."""
    state = turn.state
    if ack.again:
        rewind(state, ack.cursor)
    else:
        state.acked = max(state.acked, ack.cursor)
        state.sent = tuple(upto for upto in state.sent if upto > ack.cursor)
    await pump(turn, frame_rows=frame_rows)


# -- receiving ---------------------------------------------------------------------------------------------------


async def take_frame(turn: Turn, frame: Frame, *, patient: bool) -> None:
    """Join a frame's rows and move the cursor. Raises Early if it is ``patient`` and others must come before."""
    state = turn.state
    if frame.from_ > state.cursor:
        if patient:
            raise Early
        turn.send(Ack(state.session, state.cursor, again=True))
        return
    assert state.peer is not None
    rows = [row for row in frame.rows if row.site is Site.EDGE and row.slot.tick > state.cursor]
    await turn.define_undocumented(rows, newest=True)
    await turn.merge(rows)
    state.cursor = max(state.cursor, frame.upto)
    meet(state, state.peer.runs)
    turn.send(Ack(state.session, state.cursor))


# -- digests -----------------------------------------------------------------------------------------------------


async def send_digests(turn: Turn) -> None:
    """Ask for what this store, restored, lacks of the next page of twins."""
    state = turn.state
    found = await turn.tx.digests(after=state.compared, upto=None, limit=PAGE_TWINS + 1, waiting=True)
    page = found[:PAGE_TWINS]
    upto = _place(page[-1]) if len(found) > PAGE_TWINS else None
    turn.send(Digests(state.session, tuple(page), recovering=True, after=state.compared, upto=upto))


async def answer_digests(turn: Turn, message: Digests) -> None:
    """Send the twins that differ, as many as one message may hold, and say which are wanted in return."""
    upto = message.upto
    mine = await turn.tx.digests(after=message.after, upto=upto, limit=PAGE_TWINS + 1, waiting=message.recovering)
    if len(mine) > PAGE_TWINS:
        mine = mine[:PAGE_TWINS]
        upto = _place(mine[-1])
    own = {(key, uid): found for key, uid, found in mine}
    theirs = {(key, uid): found for key, uid, found in message.digests if _within((key, uid), message.after, upto)}
    differing = [place for place in sorted({*own, *theirs}) if own.get(place) != theirs.get(place)]
    rows: list[Row] = []
    told = 0
    while told < len(differing) and len(portion(rows)) == len(rows):
        rows += await turn.tx.rows(differing[told : told + _TWINS_READ])
        told += _TWINS_READ
    if told < len(differing):
        differing = differing[:told]
        upto = differing[-1]
    turn.send(Twins(message.session, tuple(rows), answer=True, differing=frozenset(differing), upto=upto))


async def take_twins(turn: Turn, message: Twins, *, frame_rows: int = FRAME_ROWS) -> None:
    """Join whole twins, and send back what the answerer wants."""
    state = turn.state
    await turn.define_undocumented(message.rows, newest=False)
    await turn.merge(message.rows)
    if not message.answer:
        return
    mine = await turn.tx.rows(sorted(message.differing)) if message.differing else []
    if not state.forked:
        if mine:
            turn.send(Twins(message.session, tuple(mine)))
        return
    if _has_passed(state.compared, message.upto):
        return  # an answer that came twice
    assert state.peer is not None
    await turn.merge((), again=to_restamp(mine, message.rows, Site.CLOUD, state.peer.top))
    if message.upto is None:
        state.forked = False
        await pump(turn, frame_rows=frame_rows)
    else:
        state.compared = message.upto
        await send_digests(turn)


def _has_passed(compared: Place | None, upto: Place | None) -> bool:
    return compared is not None and upto is not None and upto <= compared


def _within(place: Place, after: Place | None, upto: Place | None) -> bool:
    return (after is None or place > after) and (upto is None or place <= upto)


def _place(found: tuple[TwinKey, str, bytes]) -> Place:
    return found[0], found[1]
