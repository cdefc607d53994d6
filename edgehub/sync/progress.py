"""What the cloud does not have yet: counted in the store, remembered over restarts. For people; it decides nothing."""

from __future__ import annotations

import contextlib
from typing import Final

from edgehub.sync.states import Unsent
from twin.engine import TwinEngine
from twin.errors import StoreError
from twin.feed import Feed

OWNER: Final = "sync"
_ACKED: Final = "acked"


class Progress:
    """Of one gateway's feed."""

    def __init__(self, engine: TwinEngine, feed: Feed) -> None:
        self._engine = engine
        self._feed = feed
        self._acked = 0
        self._saved = 0
        self._behind_since_ms = 0
        self.unsent = Unsent()

    @property
    def acked(self) -> int:
        """How far the cloud has it all."""
        return self._acked

    def load(self) -> None:
        """Remember how far the cloud had it all. Raises StoreError."""
        self._acked = self._saved = int(self._engine.notes(OWNER).get(_ACKED, "0"))

    def lag_ms(self, now_ms: int) -> int:
        """How long ago the cloud last had all that was here."""
        return max(0, now_ms - self._behind_since_ms) if self._behind_since_ms else 0

    async def count(self) -> None:
        """Count what the cloud lacks. Raises StoreError."""
        if self._feed.session:
            self._acked = self._feed.acked
        self.unsent = Unsent(*await self._engine.replica.unsent(self._acked))
        self._note()

    def caught_up(self) -> None:
        """The cloud has acknowledged all that was sent, and nothing is new."""
        self._acked = self._feed.acked
        self.unsent = Unsent()
        self._note()

    async def save(self) -> None:
        """Keep how far the cloud has it all, so that after a restart without a line it is known what is unsent."""
        if self._acked != self._saved:
            with contextlib.suppress(StoreError):
                await self._engine.note(OWNER, _ACKED, str(self._acked)).stored()
                self._saved = self._acked

    def _note(self) -> None:
        if not self.unsent.leaves:
            self._behind_since_ms = 0
        elif not self._behind_since_ms:
            self._behind_since_ms = max(1, self.unsent.oldest // 1000)
