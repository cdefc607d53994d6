"""One transaction on one gateway, and what it gives rise to: messages to send and followers to tell once it is on disk.

All rules of the exchange are functions of a turn. They send by ``turn.send``, which keeps the message until the commit.
"""

from __future__ import annotations

from collections.abc import Iterable

from cloudsync.store import GatewayState, GatewayTransaction
from twin.alarm import DESIRABLE
from twin.exchange import Row, SyncMessage
from twin.model import Kind, Site, TwinKey, TwinSpec
from twin.release import RELEASE, RELEASE_SPEC
from twin.replica import Restamp
from twin.tick import Ticker

_MADE_BY_THE_EDGE = frozenset({Kind.MAPPER, Kind.GATEWAY, Kind.ROUTE, Kind.ALARM, Kind.PUSH})
"""Kinds of twins that have no document of their own in the cloud, which learns of them by their rows."""

_DESIRABLE = {Kind.GATEWAY: {RELEASE: RELEASE_SPEC}, Kind.ALARM: DESIRABLE}
"""What may be desired of twins of those kinds."""


class Turn:
    """What happens to one gateway in one transaction."""

    def __init__(self, tx: GatewayTransaction, *, now_us: int) -> None:
        self.tx = tx
        self.now_us = now_us
        self.out: list[SyncMessage] = []
        """What goes to the gateway after the commit, in this order."""
        self.changed = False
        """Whether followers have to look."""

    @property
    def state(self) -> GatewayState:
        """Where the cloud stands with the gateway."""
        return self.tx.state

    @property
    def now_ms(self) -> int:
        """The time of the turn in milliseconds since 1970."""
        return self.now_us // 1000

    def send(self, message: SyncMessage) -> None:
        """Send to the gateway, once the turn is on disk."""
        self.out.append(message)

    def take_tick(self) -> int:
        """One tick of the cloud for this gateway."""
        ticker = Ticker(self.state.tick)
        self.state.tick = ticker.take(self.now_us)
        return self.state.tick

    def skip_ticks(self, beyond: int) -> None:
        """Give no tick any more that is not greater than this one."""
        self.state.tick = max(self.state.tick, beyond)

    async def merge(self, rows: Iterable[Row], *, again: Iterable[Restamp] = ()) -> None:
        """Join rows of either site; ``again`` are own rows to be written anew under new ticks."""
        joined = list(rows)
        state = self.state
        for row in joined:
            if row.site is Site.CLOUD:
                state.tick = max(state.tick, row.slot.tick)
            else:
                state.top = max(state.top, row.slot.tick)
        for row, above in sorted(again, key=lambda one: one.row.slot.tick):
            self.skip_ticks(above)
            joined.append(row._replace(slot=row.slot._replace(tick=self.take_tick())))
        if joined and await self.tx.join(joined):
            self.changed = True

    async def define_undocumented(self, rows: Iterable[Row], *, newest: bool) -> None:
        """Make the twins of kinds without documents, of which rows come; a ``newest`` row says which life it is."""
        for key, uid in dict.fromkeys((row.key, row.uid) for row in rows if row.key.kind in _MADE_BY_THE_EDGE):
            known = await self.tx.document(key)
            properties = _DESIRABLE.get(key.kind, {})
            same = known is not None and known.spec.uid == uid
            if known is None or (newest and not same) or (same and known.spec.properties != properties):
                await self.define(TwinSpec(key, uid, gateway=self.state.gateway, properties=properties))

    async def define(self, *specs: TwinSpec) -> None:
        """Make twins of this gateway, or give them new specs. Raises Refused; none was made then."""
        if specs:
            await self.tx.define(*specs)
            self.changed = True

    async def remove(self, key: TwinKey) -> None:
        """Delete a twin with all its leaves."""
        await self.tx.remove(key)
        self.changed = True
