"""The cloud's hub: takes what gateways say, one transaction a message, and sends what follows once it is on disk.

    line ──> mailbox of the gateway ──> turn (transaction) ──commit──> line, followers

It knows nothing that is not in the store: any worker may take any message, and may die at any time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from cloudsync import documents, feed
from cloudsync.commands import send_commands, take_done
from cloudsync.history import take_history
from cloudsync.mailbox import Letter, Mailbox, Seen
from cloudsync.pacing import Pacing
from cloudsync.sessions import FENCED_RETRY_S, end, heard, is_fenced, is_repeated, outlived
from cloudsync.store import AuditEntry, CloudStore
from cloudsync.turn import Turn
from twin.clock import Clock
from twin.errors import StoreError
from twin.exchange import (
    FRAME_ROWS,
    Ack,
    Alive,
    Ask,
    CommandDone,
    Digests,
    DocumentDigests,
    Documents,
    Frame,
    Hello,
    HistoryFrame,
    Refusal,
    RefusedFor,
    SyncMessage,
    Twins,
)
from twin.metrics.model import Times
from twin.tick import clock_alarm

log = logging.getLogger(__name__)

MAX_TURNS: Final = 32
"""Transactions of one worker at once."""
REVOKED_RETRY_S: Final = 3600.0

_EARLY_POLL_S: Final = 0.02
_ASK_EVERY_S: Final = 1.0
_FENCED_AUDIT_S: Final = 60.0
_JOINED_S: Final = 1.0
"""How long the look-up of identities may be behind."""
_MAX_REMEMBERED: Final = 10_000


class Hub:
    """The rules of the exchange, bound to a store and a line. ``send`` and ``hint`` must not block or raise."""

    def __init__(
        self,
        store: CloudStore,
        *,
        send: Callable[[str, SyncMessage], None],
        hint: Callable[[str], None],
        known: Callable[[str], Awaitable[bool]],
        clock: Clock,
        nonce: Callable[[], str],
        pacing: Pacing,
        frame_rows: int = FRAME_ROWS,
    ) -> None:
        self._store = store
        self._send = send
        self._hint = hint
        self._known = known
        self._clock = clock
        self._nonce = nonce
        self._pacing = pacing
        self._frame_rows = frame_rows
        self._boxes: dict[str, Mailbox] = {}
        self._tasks: dict[asyncio.Task[None], None] = {}  # in their order, so that a simulation repeats
        self._turns = asyncio.Semaphore(MAX_TURNS)
        self.turn_times, self.commit_times = Times(), Times()
        self._alive: dict[str, str] = {}
        self._asked: dict[str, float] = {}
        self._fenced: dict[str, float] = {}
        self._failing = False
        self.dropped = 0
        """Messages that found a full mailbox, or came from nobody who is known."""

    async def drained(self) -> None:
        """Wait until all that has come was taken."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    async def close(self) -> None:
        """Give up what is under way; whatever is lost by it is sent again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def receive(self, gateway: str, message: SyncMessage | Seen) -> None:
        """Take one message of a gateway; plain and quick, the work is done by a task of the gateway's."""
        if isinstance(message, Alive):
            self._alive[gateway] = message.session
            return
        box = self._boxes.get(gateway)
        if box is None:
            box = self._boxes[gateway] = Mailbox()
            box.put(message)
            task = asyncio.get_running_loop().create_task(self._serve(gateway, box), name=f"gateway {gateway}")
            self._tasks[task] = None
            task.add_done_callback(self._tasks.pop)
        elif not box.put(message):
            self.dropped += 1

    @property
    def now_ms(self) -> int:
        """The time in milliseconds since 1970."""
        return self._clock.now_us() // 1000

    # -- for others in the cloud ---------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def change(self, gateway: str) -> AsyncIterator[Turn]:
        """Change what a gateway has: all of the block in one transaction, sent and told once it is on disk."""
        async with self._turn(gateway) as turn:
            yield turn
            await feed.pump(turn, frame_rows=self._frame_rows)

    async def repeat(self, gateway: str) -> None:
        """Send again what the gateway has not answered in time."""
        async with self._turn(gateway) as turn:
            await feed.repeat(turn, frame_rows=self._frame_rows)

    async def look(self, gateway: str) -> None:
        """End a session of an earlier start of the store, and ask for a new one."""
        async with self._turn(gateway):
            pass

    async def repeat_commands(self, gateway: str) -> None:
        """Send again the commands that have not ended."""
        async with self._turn(gateway) as turn:
            await send_commands(turn)

    async def renew_leases(self) -> None:
        """Write down which sessions were heard of, all in one go; the worker does so every other second."""
        alive, self._alive = self._alive, {}
        heard_of = {gateway: session for gateway, session in alive.items() if await self._known(gateway)}
        if heard_of:
            for gateway in await self._store.heard(heard_of, at=self._clock.now_us() // 1000):
                self._ask(gateway, heard_of[gateway])

    # -- one message ---------------------------------------------------------------------------------------------

    async def _serve(self, gateway: str, box: Mailbox) -> None:
        loop = asyncio.get_running_loop()
        try:
            while box:
                letter = box.take()
                try:
                    await self._take(gateway, letter, loop.time())
                except feed.Early:
                    if box.put_back(letter, loop.time()):
                        await asyncio.sleep(_EARLY_POLL_S)
                except StoreError as error:
                    log.log(
                        logging.DEBUG if self._failing else logging.WARNING, "a message of %s waits: %s", gateway, error
                    )
                    self._failing = True
                except Exception:  # a supervisor boundary: one bad message must not end the worker
                    log.exception("a %s of gateway %s failed", type(letter.message).__name__, gateway)
                else:
                    self._failing = False
        finally:
            del self._boxes[gateway]

    async def _take(self, gateway: str, letter: Letter, now_s: float) -> None:
        message = letter.message
        known = await self._known(gateway)
        if isinstance(message, Hello):
            if not known:  # it may have joined a moment ago
                await asyncio.sleep(_JOINED_S)
                known = await self._known(gateway)
            refusal = self._turned_away(message, known=known, now_s=now_s)
            if refusal is not None:
                self._send(gateway, refusal)
                return
        elif not known:
            self.dropped += 1
            return
        async with self._turn(gateway) as turn:
            if isinstance(message, Seen):
                turn.changed = turn.state.online is not message.online
                turn.state.online = message.online
            elif isinstance(message, Hello):
                await self._take_hello(turn, message, now_s)
            elif not turn.state.session or _session_of(message) != turn.state.session:
                self._ask(gateway, _session_of(message))
            else:
                heard(turn.state, turn.now_ms)
                await self._dispatch(turn, message, patient=not letter.until_s or now_s < letter.until_s)

    async def _dispatch(self, turn: Turn, message: SyncMessage, *, patient: bool) -> None:
        match message:
            case Frame():
                await feed.take_frame(turn, message, patient=patient)
            case Ack():
                await feed.take_ack(turn, message, frame_rows=self._frame_rows)
            case Digests():
                await feed.answer_digests(turn, message)
            case Twins():
                await feed.take_twins(turn, message, frame_rows=self._frame_rows)
            case DocumentDigests():
                await documents.take_digests(turn, message)
            case Documents():
                await documents.take_documents(turn, message)
            case HistoryFrame():
                await take_history(turn, message)
            case CommandDone():
                await take_done(turn, message)
            case _:
                log.debug("a %s goes the other way; dropped", type(message).__name__)

    async def _take_hello(self, turn: Turn, hello: Hello, now_s: float) -> None:
        state = turn.state
        if is_repeated(state, hello):
            feed.welcome(turn, hello.nonce)
            return
        if is_fenced(state, hello, turn.now_ms):
            turn.send(Refusal(hello.nonce, RefusedFor.FENCED, FENCED_RETRY_S))
            if _is_due(self._fenced, state.gateway, now_s, _FENCED_AUDIT_S):
                text = "a second gateway with this id asks for a session; it is kept out while the first is alive"
                log.warning("gateway %s: %s", state.gateway, text)
                await turn.tx.audit(AuditEntry(turn.now_ms, state.gateway, "hello", state.gateway, text, "fenced"))
            return
        await feed.take_hello(turn, hello, f"{hello.nonce}.{self._nonce()}", frame_rows=self._frame_rows)
        await send_commands(turn)
        if alarm := clock_alarm(f"gateway {state.gateway}'s", state.top, turn.now_us):
            log.warning("%s", alarm)

    def _turned_away(self, hello: Hello, *, known: bool, now_s: float) -> Refusal | None:
        if not known:
            return Refusal(hello.nonce, RefusedFor.REVOKED, REVOKED_RETRY_S)
        if not hello.standing.runs:
            log.warning("a Hello without a run is nobody's; dropped")
            return Refusal(hello.nonce, RefusedFor.FENCED, FENCED_RETRY_S)
        wait_s = self._pacing.retry_after_s(now_s)
        return Refusal(hello.nonce, RefusedFor.BUSY, wait_s) if wait_s else None

    def _ask(self, gateway: str, session: str) -> None:
        if _is_due(self._asked, gateway, asyncio.get_running_loop().time(), _ASK_EVERY_S):
            self._send(gateway, Ask(session, hello=True))

    @contextlib.asynccontextmanager
    async def _turn(self, gateway: str) -> AsyncIterator[Turn]:
        async with self._turns:
            began_s = self._clock.monotonic_s()
            async with self._store.transaction(gateway) as tx:
                turn = Turn(tx, now_us=self._clock.now_us())
                if outlived(turn.state):
                    self._ask(gateway, turn.state.session)
                    end(turn.state)
                yield turn
                ready_s = self._clock.monotonic_s()
            ended_s = self._clock.monotonic_s()
            self.turn_times.add(ended_s - began_s)
            self.commit_times.add(ended_s - ready_s)
            for message in turn.out:
                self._send(gateway, message)
            if turn.changed:
                self._hint(gateway)


def _session_of(message: SyncMessage) -> str:
    return "" if isinstance(message, Hello | Refusal) else message.session


def _is_due(last: dict[str, float], name: str, now_s: float, every_s: float) -> bool:
    """Whether it was long enough ago; a bounded memory, which may forget and say yes too soon."""
    if now_s - last.get(name, -every_s) < every_s:
        return False
    if len(last) >= _MAX_REMEMBERED:
        last.clear()
    last[name] = now_s
    return True
