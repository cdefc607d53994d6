"""What all connections of the HTTP plane share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Protocol

from mesh.planes.http.fields import Lines
from mesh.planes.http.origin import Heads
from mesh.planes.http.pool import Pools
from mesh.planes.http.stale import StaleAnswers

if TYPE_CHECKING:
    from mesh.planes.dialer import Dialer
    from mesh.planes.http.client import ClientConnection
    from mesh.planes.http.exchange_state import ExchangeState
    from mesh.planes.http.rules import Front


class HttpWatcher(Protocol):
    """Is told of requests, for metrics."""

    def answered(self, exchange: ExchangeState, *, abandoned: bool) -> None:
        """One is over; ``abandoned``: its client did not get a whole answer."""

    def refused(self, front: Front, status: int) -> None:
        """What a client sent was no request."""


class Unwatched:
    """Nobody looks."""

    def refused(self, front: Front, status: int) -> None:
        """Forget it."""

    def answered(self, exchange: ExchangeState, *, abandoned: bool) -> None:
        """Forget it."""


@dataclass(frozen=True, slots=True)
class Times:
    """How long what is waited for, where a rule does not say."""

    head_s: float = 10.0
    """A client, for the rest of a head that it began."""
    idle_s: float = 75.0
    """A client, for its next request."""
    body_s: float = 30.0
    """A client, for more of a body."""
    answer_s: float = 60.0
    """An endpoint, for the head of its answer."""
    still_s: float = 300.0
    """Anything to move in a body or a tunnel."""
    unheard_s: float = 0.2
    """An endpoint's machine, for saying that it got our request; after that another is asked, if it may be."""
    left_s: float = 5.0
    """A client that sends no more and has not got its whole answer: most have left, few listen still."""
    linger_s: float = 1.0
    """A client that sends what nobody reads, before it is cut off."""
    tick_s: float = 0.02
    """How exactly all that is kept of requests."""
    sweep_s: float = 1.0
    """The same of clients, and of connections that are idle."""


@dataclass(slots=True, eq=False)
class Shared:
    """Everything that is one for all connections of a process."""

    pools: Pools
    now: Callable[[], float]
    rng: Random
    times: Times = Times()
    watcher: HttpWatcher = field(default_factory=lambda: Unwatched())
    dialer: Dialer | None = None
    offline: Callable[[], bool] = lambda: False
    stale: StaleAnswers = field(default_factory=StaleAnswers)
    lines: Lines = field(default_factory=Lines)
    heads: Heads = field(init=False)
    clients: set[ClientConnection] = field(default_factory=set)
    under_way: set[ExchangeState] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    copies: int = 0
    """Mirrored requests under way."""
    closing: bool = False
    ticking: bool = False
    start_ticking: Callable[[], None] = lambda: None
    id_prefix: bytes = b""
    ids: Iterator[int] = field(default_factory=count)
    outbox: list[tuple[asyncio.WriteTransport, bytes]] = field(default_factory=list)
    _last_left: asyncio.Event | None = None

    def __post_init__(self) -> None:
        self.heads = Heads(self.lines)
        self.id_prefix = b"%016x" % self.rng.getrandbits(64)

    def send(self, transport: asyncio.WriteTransport, wire: bytes) -> None:
        """Write once all that has just arrived was read.

        A write wakes its reader, which takes the processor from us in the middle of our work: all at the end, they
        let half as many requests more through. All writes come here, and `flush` before a transport is closed.
        """
        if not self.outbox:
            asyncio.get_running_loop().call_soon(self.flush)
        self.outbox.append((transport, wire))

    def flush(self) -> None:
        """Write it now."""
        outbox = self.outbox
        if outbox:
            self.outbox = []
            for transport, wire in outbox:
                if not transport.is_closing():
                    transport.write(wire)

    def left(self, client: ClientConnection) -> None:
        """A client is gone."""
        self.clients.discard(client)
        if self._last_left is not None and not self.clients:
            self._last_left.set()

    async def emptied(self) -> None:
        """Wait until no client is left."""
        self._last_left = asyncio.Event()
        if self.clients:
            await self._last_left.wait()
