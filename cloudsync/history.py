"""The gateway's history, taken piece by piece: readings and the place reached in its log, in one transaction."""

from __future__ import annotations

from cloudsync.turn import Turn
from twin.exchange import HistoryAck, HistoryFrame


async def take_history(turn: Turn, frame: HistoryFrame) -> None:
    """Keep a piece of history that follows on what is here; any other is answered with the place where that ends."""
    state = turn.state
    another_log = frame.log != state.history_log
    if frame.from_ == ("" if another_log else state.history_upto):
        await turn.tx.add_history(frame.series)
        state.history_log, state.history_upto = frame.log, frame.upto
    elif another_log:
        turn.send(HistoryAck(state.session, frame.log, ""))
        return
    turn.send(HistoryAck(state.session, state.history_log, state.history_upto))
