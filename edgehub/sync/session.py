"""The connection with the cloud that lasts for the gateway's life, as a state machine; ``states`` draws it.

One task owns it. Everything that happens (a message, a commit, the link, a timer) wakes that task, which does what is
due and sleeps until the next thing is. The gateway never waits for it: what it has not sent stands in the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from edgehub.sync.dialogue import Dialogue, Parting
from edgehub.sync.documents import LocalDocuments
from edgehub.sync.history import HistoryStream
from edgehub.sync.states import Stand, SyncState, Timing
from twin.clock import Clock
from twin.engine import TwinEngine
from twin.errors import StoreError
from twin.exchange import DocumentRef
from twin.link import Link, LinkState
from twin.wire import topics

log = logging.getLogger(__name__)

_FOREVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class CloudPlace:
    """Where the cloud is; ``open`` makes a link to it. Another ``identity`` means another place, or other keys."""

    name: str
    identity: object
    open: Callable[[], Link]


class CloudSession:
    """Speaks with the cloud until cancelled. ``find`` names the cloud, None while there is none."""

    def __init__(
        self,
        engine: TwinEngine,
        find: Callable[[], CloudPlace | None],
        local: LocalDocuments,
        history: HistoryStream,
        *,
        gateway: str,
        clock: Clock,
        rng: random.Random,
        nonce: Callable[[], str],
        timing: Timing,
        on_state: Callable[[], None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._find = find
        self._gateway = gateway
        self._timing = timing
        self._wake = asyncio.Event()
        self._look_at_s = _FOREVER
        self.stand = Stand(clock, on_state)
        self.dialogue = Dialogue(
            engine,
            local,
            history,
            self.stand,
            gateway=gateway,
            clock=clock,
            rng=rng,
            nonce=nonce,
            timing=timing,
            wake=self._wake.set,
        )
        self.cloud = ""
        """Where the cloud is."""

    @property
    def state(self) -> SyncState:
        """The state right now."""
        return self.stand.state

    def documents_changed(self, refs: Sequence[DocumentRef]) -> None:
        """Documents were changed here; plain and quick."""
        self.dialogue.documents.changed(refs, _now_s())
        self._wake.set()

    async def run(self) -> None:
        """Find the cloud, speak with it, part, and begin anew; for ever."""
        stop = self._engine.watch_commits(self.dialogue.on_commit)
        try:
            while True:
                place = self._find()
                if place is None:
                    self.stand.enter(SyncState.OFF)
                    await asyncio.sleep(self._timing.look_s)
                elif not await self.dialogue.ready():
                    self.stand.enter(SyncState.OFFLINE, self.stand.why)
                    await asyncio.sleep(self._timing.look_s)
                else:
                    self.cloud = place.name
                    await self._stay_away(await self._talk(place), place)
        finally:
            stop()

    async def _talk(self, place: CloudPlace) -> Parting:
        """Speak over one link, which may break and mend, until there is a reason to give it up."""
        link, dialogue = place.open(), self.dialogue
        dialogue.up.bind(link)
        stops = [
            await link.subscribe(topics.sync_down(self._gateway), dialogue.down.on_message),
            link.on_state(lambda _: self._wake.set()),
        ]
        dialogue.parting = None
        leaving = True
        try:
            async with link:
                try:
                    parting = await self._converse(link, place)
                    leaving = False
                    return parting
                finally:
                    if leaving:  # the gateway stops; one that is fenced must not speak for the other
                        dialogue.up.tell_state(online=False)
        finally:
            for stop in stops:
                stop()
            dialogue.up.bind(None)
            dialogue.end()
            await dialogue.progress.save()

    async def _converse(self, link: Link, place: CloudPlace) -> Parting:
        self._look_at_s = _now_s()
        up = False
        self.stand.enter(SyncState.OFFLINE, self.stand.why or f"no connection to {place.name}")
        while True:
            self._wake.clear()
            if link.state is not LinkState.UP:
                if up:
                    self.stand.enter(SyncState.OFFLINE, f"the connection to {place.name} was lost")
                    self.dialogue.end()
                up = False
            elif not up:
                up = True
                await self.dialogue.begin()
            try:
                await self.dialogue.turn(up=up)
            except StoreError as error:
                self.stand.tell_failure(error)
            if self.dialogue.parting is not None:
                return self.dialogue.parting
            if _now_s() >= self._look_at_s:
                self._look_at_s = _now_s() + self._timing.look_s
                if self._is_another(place):
                    return Parting("the cloud, or the keys for it, are other ones now")
                await self._count()
            if not self.dialogue.down:
                await self._sleep(min(self._look_at_s, self.dialogue.next_at_s() if up else _FOREVER))

    async def _sleep(self, until_s: float) -> None:
        if until_s <= _now_s():
            await asyncio.sleep(0)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until_s):
                await self._wake.wait()

    async def _stay_away(self, parting: Parting, place: CloudPlace) -> None:
        """Wait as long as was said, or until the cloud is another one."""
        self.stand.enter(SyncState.OFFLINE, parting.why)
        until_s = _now_s() + parting.wait_s
        while (left_s := until_s - _now_s()) > 0 and not self._is_another(place):
            await asyncio.sleep(min(left_s, self._timing.look_s))
            await self._count()

    async def _count(self) -> None:
        try:
            await self.dialogue.progress.count()
        except StoreError as error:
            self.stand.tell_failure(error)
        else:
            self.stand.store_works()

    def _is_another(self, place: CloudPlace) -> bool:
        now = self._find()
        return now is None or now.identity != place.identity


def _now_s() -> float:
    return asyncio.get_running_loop().time()
