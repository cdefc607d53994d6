"""What is said in a session with the cloud: each message taken, and what is due when nothing happens."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from edgehub.sync.commands import Commands
from edgehub.sync.documents import DocumentExchange, LocalDocuments
from edgehub.sync.down import Down
from edgehub.sync.history import HistoryStream
from edgehub.sync.progress import Progress
from edgehub.sync.states import Stand, SyncState, Timing
from edgehub.sync.up import Up
from twin.clock import Clock
from twin.engine import TwinEngine
from twin.errors import StoreError
from twin.exchange import (
    Ack,
    Alive,
    Ask,
    Command,
    CommandDone,
    Digests,
    DocumentDigests,
    Documents,
    Frame,
    Hello,
    HistoryAck,
    HistoryFrame,
    Refusal,
    RefusedFor,
    SyncMessage,
    Twins,
    Welcome,
)
from twin.feed import Feed
from twin.link.backoff import Backoff

log = logging.getLogger(__name__)

_FOREVER: Final = float("inf")
_FENCED: Final = (
    "another gateway with the name {} is connected to the cloud; this one stays away, and sends nothing, until that one"
    " is gone: give one of the two another name"
)
_REVOKED: Final = (
    "the cloud does not know this gateway, or no longer; ask for a token there and run `edgetwin join TOKEN` here"
)
_TURN_MESSAGES: Final = 32
"""Messages that are taken before timers are looked at again."""


@dataclass(frozen=True, slots=True)
class Parting:
    """Why a connection is given up, and how long to stay away."""

    why: str
    wait_s: float = 0.0


class Dialogue:
    """One gateway's, over whatever link is bound. ``parting`` is set when the connection is to be given up."""

    def __init__(
        self,
        engine: TwinEngine,
        local: LocalDocuments,
        history: HistoryStream,
        stand: Stand,
        *,
        gateway: str,
        clock: Clock,
        rng: random.Random,
        nonce: Callable[[], str],
        timing: Timing,
        wake: Callable[[], None],
    ) -> None:
        self.stand = stand
        self._gateway = gateway
        self._clock = clock
        self._rng = rng
        self._timing = timing
        self._wake = wake
        self.up = Up(gateway)
        self.down = Down(wake)
        self.feed = Feed(engine.replica, send=self.up.send, nonce=nonce)
        self.progress = Progress(engine, self.feed)
        self.documents = DocumentExchange(local, self.up.send)
        self._commands = Commands(engine, clock, gateway)
        self._history = history
        history.bind(self.up.send)
        self._backoff = Backoff(timing.retry_base_s, timing.retry_cap_s, rng)
        self._opened = False
        self._dirty = False
        self.parting: Parting | None = None
        self._tries = 0  # of what waits for an answer now: hellos, or sendings
        self._hello_at_s = self._retry_at_s = self._compare_at_s = _FOREVER
        self._frame_at_s = _FOREVER  # when a frame of the cloud came last; _FOREVER: none in this session
        self._compared = False
        self._began_ms = 0
        self.last_resync_ms = 0
        self.resyncs = 0
        """How often both sides came to be equal since the start."""
        self.last_resync_s = 0.0

    async def ready(self) -> bool:
        """Whether this start of the store has a name on disk; without it nothing may be sent."""
        if not self._opened:
            try:
                self._commands.load()
                self.progress.load()
                await self.feed.open()
                self._opened = True
            except StoreError as error:
                self.stand.tell_failure(error)
        return self._opened

    def on_commit(self) -> None:
        """Something is on disk that the cloud may lack; plain and quick."""
        self._dirty = True
        self._wake()

    async def begin(self) -> None:
        """The link is up."""
        self._tries = 0
        self.up.tell_state(online=True)
        await self.hello()

    def end(self) -> None:
        """The session is over; what of it still comes is dropped."""
        self.feed.disconnect()
        self.documents.end()
        self._history.end()
        self.down.forget()

    async def turn(self, *, up: bool) -> None:
        """Take what has come, and do what is due. Raises StoreError; what was not taken is asked for again."""
        for _ in range(_TURN_MESSAGES):
            if not self.down or self.parting is not None:
                break
            await self._take(self.down.take())
        if not up or self.parting is not None:
            return
        now_s = _now_s()
        if self.stand.state is SyncState.CONNECTING:
            if now_s >= self._hello_at_s:
                await self.hello()
            return
        if self._dirty:
            self._dirty = False
            await self.feed.changed()
        if now_s - self.down.heard_at_s >= self._timing.silence_s:
            log.warning("the cloud has said nothing for %.0f s; asking for a session anew", self._timing.silence_s)
            self._tries = 0
            await self.hello()
            return
        await self._repeat(now_s)
        await self._compare(now_s)
        if self.stand.state is SyncState.LIVE and self.feed.caught_up:
            await self._history.step(self.feed.session, now_s)
        if now_s - self.up.said_at_s >= self._timing.alive_s:
            self.up.send(Alive(self.feed.session))
        if self.feed.caught_up and not self._dirty:
            self.progress.caught_up()

    async def hello(self) -> None:
        """Ask for a session; after several without an answer the connection counts as half open."""
        self.end()
        self.stand.enter(SyncState.CONNECTING, self.stand.why if self._tries else "")
        if self._tries >= self._timing.hello_tries:
            self.parting = Parting("the cloud does not answer", self._backoff.next_s())
            return
        self._tries += 1
        self._hello_at_s = _now_s() + self._timing.hello_s
        try:
            await self.feed.connect()
        except StoreError as error:
            self.stand.tell_failure(error)

    async def _take(self, message: SyncMessage) -> None:  # noqa: C901  one line a message
        match message:
            case Welcome():
                await self._begin(message)
            case Refusal():
                self._take_refusal(message)
            case Ask():
                await self._take_ask(message)
            case Hello() | DocumentDigests() | HistoryFrame() | CommandDone():
                log.debug("a %s goes the other way; dropped", type(message).__name__)
            case _ if not self.feed.session or message.session != self.feed.session:
                log.debug("dropped a %s of another session", type(message).__name__)
            case Documents():
                await self.documents.take(message, _now_s())
            case HistoryAck():
                await self._history.take_ack(message)
            case Command():
                done = await self._commands.take(message)
                if done is not None:
                    self.up.send(done)
            case Frame() | Ack() | Digests() | Twins():
                if isinstance(message, Frame):
                    self._frame_at_s = _now_s()
                elif not isinstance(message, Digests):
                    self._answered()
                await self.feed.receive(message)
            case Alive():
                pass

    async def _begin(self, welcome: Welcome) -> None:
        if welcome.nonce != self.feed.asked:
            return
        await self.feed.receive(welcome)
        if not self.feed.session:
            return  # the store does not say where it stands; the hello is said again
        self.stand.enter(SyncState.RESYNC)
        self.stand.alarm = ""
        self._backoff.reset()
        self._frame_at_s, self._compared = _FOREVER, False
        self._began_ms = self._clock.now_us() // 1000
        self._answered()
        self.documents.begin(welcome.session, _now_s())
        self._history.begin()

    def _take_refusal(self, refusal: Refusal) -> None:
        if not self.feed.asked or refusal.nonce != self.feed.asked:
            return
        self.feed.disconnect()
        self._tries = 0
        wait_s = refusal.retry_after_s
        if refusal.why is RefusedFor.BUSY:
            self._hello_at_s = _now_s() + wait_s + self._rng.uniform(0.0, min(1.0, wait_s))
            self.stand.enter(SyncState.CONNECTING, f"the cloud is busy and asked to come again in {wait_s:.1f} s")
            return
        wait_s += self._rng.uniform(0.0, wait_s)
        fenced = refusal.why is RefusedFor.FENCED
        self.stand.alarm = _FENCED.format(self._gateway) if fenced else _REVOKED
        log.error("%s", self.stand.alarm)  # the text says all
        self.parting = Parting(f"{self.stand.alarm.partition(';')[0]}; again in {wait_s:.0f} s", wait_s)

    async def _take_ask(self, ask: Ask) -> None:
        if ask.session and ask.session != self.feed.session:
            return
        if ask.hello and self.stand.state in (SyncState.RESYNC, SyncState.LIVE):
            self._tries = 0
            await self.hello()
        elif ask.documents:
            self.documents.compare(_now_s(), whole=True)

    # -- what is due ---------------------------------------------------------------------------------------------

    async def _repeat(self, now_s: float) -> None:
        """Send again what was not answered in time."""
        if self.feed.caught_up and not self.feed.comparing:
            self._answered()
        elif now_s >= self._retry_at_s:
            self._tries += 1
            self._retry_at_s = now_s + min(self._timing.ack_s * 2**self._tries, self._timing.ack_cap_s)
            log.debug("no answer of the cloud; sending again, the %d. time", self._tries)
            await self.feed.retry()
        if now_s >= self.documents.due_at_s:
            self.documents.compare(now_s)

    async def _compare(self, now_s: float) -> None:
        """Compare all twins once both sides have sent what they have, and every few hours."""
        equal = self.feed.caught_up and not self.feed.comparing
        if self.stand.state is SyncState.RESYNC and equal:
            if not self._compared and now_s - self._frame_at_s >= self._timing.quiet_s:
                self._compared = True
                self._compare_at_s = now_s + self._timing.digests_every_s * self._rng.uniform(0.9, 1.1)
                self.feed.compare()
                self._answered()
            elif self._compared and self.documents.agreed:
                self.last_resync_ms = self._clock.now_us() // 1000
                self.last_resync_s = (self.last_resync_ms - self._began_ms) / 1000
                self.resyncs += 1
                self.stand.enter(SyncState.LIVE)
        elif self.stand.state is SyncState.LIVE and equal and now_s >= self._compare_at_s:
            self._compare_at_s = now_s + self._timing.digests_every_s * self._rng.uniform(0.9, 1.1)
            self.feed.compare()
            self.documents.compare(now_s)
            self._answered()

    def _answered(self) -> None:
        self._tries = 0
        self._retry_at_s = _now_s() + self._timing.ack_s

    def next_at_s(self) -> float:
        """When something is due, if nothing happens before."""
        if self.stand.state is SyncState.CONNECTING:
            return self._hello_at_s
        times = [
            self.up.said_at_s + self._timing.alive_s,
            self.down.heard_at_s + self._timing.silence_s,
            self.documents.due_at_s,
        ]
        if not self.feed.caught_up or self.feed.comparing:
            times.append(self._retry_at_s)
        elif self.stand.state is SyncState.LIVE:
            times += [self._compare_at_s, self._history.due_at_s]
        elif not self._compared:
            times.append(self._frame_at_s + self._timing.quiet_s)
        return min(times)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
