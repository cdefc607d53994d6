"""One worker: link and store in, gateways served. ``python -m cloudsync.worker`` is this as a process.

et/1/sync/<gateway>/up ──(shared among workers)──> Hub ──> et/1/sync/<gateway>/down
                                                    └────> et/1/cloud/changed
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from cloudsync.hints import Hints
from cloudsync.hub import Hub
from cloudsync.leases import Leases
from cloudsync.mailbox import Seen
from cloudsync.pacing import Pacing
from cloudsync.store import CloudStore
from twin.clock import Clock
from twin.errors import InvalidMessage, InvalidName, LinkError, StoreCorrupt, StoreError, StoreTooNew
from twin.exchange import SyncMessage
from twin.link import Link, Message
from twin.link.backoff import Backoff
from twin.wire import codec, topics
from twin.wire.messages import MapperState
from twin.wire.sync import decode, encode

log = logging.getLogger(__name__)

TIDY_S: Final = 3600.0
DRAIN_S: Final = 1.5
_DAY_MS: Final = 86_400_000
_RETRY_BASE_S: Final = 0.5
_RETRY_CAP_S: Final = 5.0
_TOLD: Final = 1000


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How a worker treats gateways."""

    name: str
    """Unique among workers, over restarts too."""
    run: str
    """Drawn at the start of the whole cloud; all its workers name the same."""
    hello_rate_hz: float = 50.0
    hello_burst: int = 25
    max_retry_after_s: float = 60.0
    shared: bool = True
    """Whether the broker knows shared subscriptions; without them each worker takes all messages, so have one."""
    history_days: int = 400
    """Older periods of the history are dropped; 0: none."""
    audit_days: int = 400
    """Older lines of the audit log are dropped; 0: none."""


@contextlib.asynccontextmanager
async def serving(
    link: Link,
    store: CloudStore,
    options: WorkerOptions,
    *,
    known: Callable[[str], Awaitable[bool]],
    clock: Clock,
    nonce: Callable[[], str],
    rng: random.Random,
    line: Line | None = None,
) -> AsyncIterator[Hub]:
    """Open the store, as soon as it lets itself be opened, and serve all gateways while the block runs.

    Raises StoreTooNew and StoreCorrupt, for which waiting is no remedy.
    """
    await opened(store, options.run, rng)
    line = line or Line(link)
    hub = Hub(
        store,
        send=line.send,
        hint=Hints(link).changed,
        known=known,
        clock=clock,
        nonce=nonce,
        pacing=Pacing(rate_hz=options.hello_rate_hz, burst=options.hello_burst, max_wait_s=options.max_retry_after_s),
    )
    leases = Leases(hub, store, options.name, run=options.run, clock=clock, send=line.send)
    before = topics.SHARED if options.shared else ""
    stops = [
        await link.subscribe(f"{before}{topics.ALL_SYNC_UP}", lambda message: line.take(hub, message)),
        await link.subscribe(f"{before}{topics.ALL_SYNC_STATES}", lambda message: line.take_state(hub, message)),
    ]
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(leases.run(), name="leases")]
    for days, drop in ((options.history_days, store.drop_history), (options.audit_days, store.drop_audit)):
        if days:
            tasks.append(loop.create_task(_tidy(drop, clock, days), name="tidy"))
    try:
        yield hub
    finally:
        for stop in stops:
            stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                await hub.drained()
        await hub.close()
        with contextlib.suppress(StoreError):
            await leases.release()
        await store.close()


def sender(link: Link) -> Callable[[str, SyncMessage], None]:
    """The way down to gateways, for a hub that takes nothing from them."""
    return Line(link).send


class Line:
    """The link as the hub's line: bytes to messages and back; what cannot be sent is lost, as on any line."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._told: set[str] = set()
        self.messages: dict[tuple[str, str], int] = {}
        """How many went ``up`` or ``down``, by type."""
        self.dropped = 0

    def send(self, gateway: str, message: SyncMessage) -> None:
        try:
            self._link.publish(topics.sync_down(gateway), encode(message), qos=1)
            self._count("down", message)
        except LinkError as error:
            self.dropped += 1
            log.debug("a %s for gateway %s is lost: %s", type(message).__name__, gateway, error)

    def take(self, hub: Hub, message: Message) -> None:
        try:
            gateway = topics.parse_sync(message.topic)
            found = decode(message.payload, what=f"message of gateway {gateway}")
        except (InvalidMessage, InvalidName) as error:
            self._tell(message.topic, error)
        else:
            self._count("up", found)
            hub.receive(gateway, found)

    def take_state(self, hub: Hub, message: Message) -> None:
        try:
            gateway = topics.parse_sync(message.topic)
            state = codec.decode(MapperState, message.payload, what=f"state of gateway {gateway}")
        except (InvalidMessage, InvalidName) as error:
            self._tell(message.topic, error)
        else:
            hub.receive(gateway, Seen(state.online))

    def _count(self, direction: str, message: SyncMessage) -> None:
        key = direction, type(message).__name__
        self.messages[key] = self.messages.get(key, 0) + 1

    def _tell(self, topic: str, error: Exception) -> None:
        """Warn of the first of each topic, so that nobody can fill the log."""
        self.dropped += 1
        first = topic not in self._told and len(self._told) < _TOLD
        self._told.add(topic) if first else None
        log.log(logging.WARNING if first else logging.DEBUG, "dropped: %s", error)


async def opened(store: CloudStore, run: str, rng: random.Random) -> None:
    """Open the store, as soon as it lets itself be opened. Raises StoreTooNew and StoreCorrupt."""
    backoff = Backoff(_RETRY_BASE_S, _RETRY_CAP_S, rng)
    told = False
    while True:
        try:
            await store.open()
            await store.begin_run(run)
        except (StoreTooNew, StoreCorrupt):
            raise
        except StoreError as error:
            log.log(logging.DEBUG if told else logging.WARNING, "the store is not there yet: %s", error)
            told = True
            await store.close()
            await asyncio.sleep(backoff.next_s())
        else:
            return


class _Drop(Protocol):
    """Drops from the store what is older; how much."""

    async def __call__(self, *, before: int) -> int: ...


async def _tidy(drop: _Drop, clock: Clock, days: int) -> None:
    while True:
        try:
            dropped = await drop(before=clock.now_us() // 1000 - days * _DAY_MS)
        except StoreError as error:
            log.warning("what is older than %d days stays for now: %s", days, error)
        else:
            log.log(logging.INFO if dropped else logging.DEBUG, "dropped %d pieces older than %d days", dropped, days)
        await asyncio.sleep(TIDY_S)
