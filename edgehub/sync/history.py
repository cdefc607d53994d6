"""The history on its way to the cloud, behind live state: one piece under way, noted once the cloud has it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final, TypeVar

from twin.exchange import HistoryAck, HistoryFrame, SyncMessage
from twin.sqlite_drain import Piece, SqliteDrain

log = logging.getLogger(__name__)

EMPTY_S: Final = 2.0
"""When to look again after there was nothing to send."""
ANSWER_S: Final = 10.0
_T = TypeVar("_T")
_FOREVER: Final = float("inf")


class HistoryStream:
    """One gateway's. ``due_at_s`` is when ``step`` has something to do, in the loop's time."""

    def __init__(self, drain: SqliteDrain, executor: Executor) -> None:
        self._drain = drain
        self._executor = executor
        self._send: Callable[[SyncMessage], None] = lambda _: None
        self._from = ""
        self._piece: Piece | None = None
        self.due_at_s = _FOREVER

    def bind(self, send: Callable[[SyncMessage], None]) -> None:
        """Send by this from now on."""
        self._send = send

    def begin(self) -> None:
        """A session begins; the cloud says how far it has the history before anything is sent."""
        self._piece = None
        self.due_at_s = _FOREVER

    def end(self) -> None:
        """The session is over."""
        self.begin()

    async def step(self, session: str, now_s: float) -> None:
        """Send the next piece, or the same again if no answer came. Raises StoreError."""
        if now_s < self.due_at_s:
            return
        if self._piece is None:
            self._piece = await self._on_thread(self._drain.piece)
        if self._piece is None:
            self.due_at_s = now_s + EMPTY_S
            return
        self.due_at_s = now_s + ANSWER_S
        self._send(HistoryFrame(session, self._drain.log, self._from, self._piece.upto, self._piece.series))

    async def take_ack(self, ack: HistoryAck) -> None:
        """Note what the cloud has, and go on from there. Raises StoreError."""
        piece = self._piece
        if piece is not None and ack.log == self._drain.log and ack.upto == piece.upto:
            await self._on_thread(lambda: self._drain.sent(piece))
            self._from = ack.upto
        elif piece is None or ack.upto != self._from:
            self._from = await self._on_thread(lambda: self._drain.has_upto(ack.log, ack.upto))
        self._piece = None
        self.due_at_s = 0.0

    async def _on_thread(self, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)
