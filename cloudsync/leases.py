"""Anyone sends, the lease holder repeats: one worker looks after each gateway's down stream and sends again in time.

What this worker remembers of a gateway is only when it last saw progress; if it dies another takes the lease and starts
to watch anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cloudsync.duty import rounds
from cloudsync.hub import Hub
from cloudsync.sessions import outlived
from cloudsync.store import CloudStore, GatewayState
from twin.clock import Clock
from twin.exchange import Alive, SyncMessage

ROUND_S: Final = 1.0
ALIVE_S: Final = 2.0
LEASE_S: Final = 10.0
REPEAT_S: Final = 2.0
"""What was not answered for so long is sent again, later ones after twice as long each, up to ``MAX_REPEAT_S``."""
MAX_REPEAT_S: Final = 30.0
COMMANDS_S: Final = 5.0
AWAY_MS: Final = 30_000
"""To a gateway that was silent for so long nothing is sent; it says Hello when it is back."""
MAX_LEASES: Final = 20_000


@dataclass(slots=True)
class _Watch:
    """What this worker saw of one gateway last."""

    progress: tuple[object, ...]
    since_s: float
    tries: int = 0
    commands_at_s: float = 0.0
    alive_at_s: float = 0.0


class Leases:
    """The down streams that this worker looks after."""

    def __init__(
        self,
        hub: Hub,
        store: CloudStore,
        worker: str,
        *,
        run: str,
        clock: Clock,
        send: Callable[[str, SyncMessage], None],
    ) -> None:
        self._hub = hub
        self._store = store
        self._worker = worker
        self._run = run
        self._clock = clock
        self._send = send
        self._watched: dict[str, _Watch] = {}

    async def run(self) -> None:
        """Look at all of them every second, for ever."""
        await rounds("leases", self.round, every_s=ROUND_S)

    async def round(self) -> None:
        """Renew the leases, say that we are alive, and repeat what is due."""
        await self._hub.renew_leases()
        now_ms = self._clock.now_us() // 1000
        held = await self._store.claim(self._worker, now=now_ms, until=now_ms + int(LEASE_S * 1000), limit=MAX_LEASES)
        self._watched = {gateway: watch for gateway, watch in self._watched.items() if gateway in set(held)}
        for state in await self._store.gateways(held) if held else ():
            if state.session and (outlived(state) or self._run not in {run.id for run in state.runs}):
                await self._hub.look(state.gateway)
            elif state.session and abs(now_ms - state.heard_at) < AWAY_MS:
                await self._look_after(state)

    async def release(self) -> None:
        """Let others take the down streams at once."""
        now_ms = self._clock.now_us() // 1000
        await self._store.claim(self._worker, now=now_ms, until=now_ms, limit=0)

    async def _look_after(self, state: GatewayState) -> None:
        now_s = asyncio.get_running_loop().time()
        progress = (state.session, state.acked, state.position, state.compared, state.forked)
        watch = self._watched.get(state.gateway)
        if watch is None or watch.progress != progress:
            last = watch
            watch = self._watched[state.gateway] = _Watch(progress, now_s)
            if last is not None:
                watch.commands_at_s, watch.alive_at_s = last.commands_at_s, last.alive_at_s
        if now_s - watch.alive_at_s >= ALIVE_S:
            watch.alive_at_s = now_s
            self._send(state.gateway, Alive(state.session))
        wait_s = min(MAX_REPEAT_S, REPEAT_S * 2**watch.tries)
        if (state.sent or state.forked or not state.introduced) and now_s - watch.since_s >= wait_s:
            watch.since_s, watch.tries = now_s, min(watch.tries + 1, 5)
            await self._hub.repeat(state.gateway)
        if state.waiting and now_s - watch.commands_at_s >= COMMANDS_S:
            watch.commands_at_s = now_s
            await self._hub.repeat_commands(state.gateway)
