"""The nftables plane: the kernel itself sends each new connection to its endpoint, and then has it to itself.

    program ──> fronts (book.py, shares.py) ──> pieces (rules.py) ──> one transaction (ruleset.py) ──> kernel (hand.py)
    retarget ─┘ an endpoint was ejected, or is back                       └──> dead connections are cut (conntrack.py)

What was said to the kernel stays in force when this process ends, so that a restart is not felt; `mesh flush` takes it
away.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final

from mesh.anyip import Network, add_route
from mesh.errors import PlaneError
from mesh.model.programme import ProgrammeDelta
from mesh.model.services import PortKey
from mesh.planes import Traffic
from mesh.planes.nft.book import NOTHING, Book, Step
from mesh.planes.nft.doctor import remove_table, table_is_there
from mesh.planes.nft.hand import Hand
from mesh.planes.nft.meter import Meter
from mesh.planes.nft.rules import Piece, links_of
from mesh.planes.nft.ruleset import change, whole
from mesh.planes.nft.shares import Cut
from mesh.upstream import Upstreams

log = logging.getLogger(__name__)

WATCH_S: Final = 1.0
SETTLE_S: Final = 30.0
"""How long what an earlier life left may stand while there is nothing to put in its place."""
COUNT_S: Final = 5.0
_MOST_OF_THE_TIME: Final = 0.02
"""Share of one core that reading counters may take; with many connections they are read more seldom."""
_LONGEST_BACK_OFF_S: Final = 60.0
_LOCK: Final = "\0edgetwin-mesh-nftables"
"""An abstract socket, which is one of its network namespace: two that write one table would undo each other's work."""
_LOCK_WAIT_S: Final = 3.0


class Nftables:
    """Carries frontends in the kernel: a DataPlane. Needs root or CAP_NET_ADMIN.

    ``monotonic`` is the clock of the upstreams. ``networks`` are made local, or nobody reaches service addresses
    (anyip.py). ``on_mended`` is told what somebody else had broken, when it stands again.
    """

    def __init__(
        self,
        upstreams: Upstreams,
        monotonic: Callable[[], float],
        networks: Iterable[Network] = (),
        on_mended: Callable[[str], None] | None = None,
        watch_s: float = WATCH_S,
        count_s: float = COUNT_S,
        settle_s: float = SETTLE_S,
    ) -> None:
        self._monotonic = monotonic
        self._networks = tuple(one for one in networks if not one.is_loopback)
        self._on_mended = on_mended
        self._watch_s = watch_s
        self._count_s = count_s
        self._settle_s = settle_s
        self._hand = Hand()
        self._lock: socket.socket | None = None
        self._busy = asyncio.Lock()
        self._nudged = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._book = Book(upstreams)
        self._settled = False
        """Whether the table is known to hold what we said, and nothing of an earlier life."""
        self._meter = Meter()
        self._troubled = False
        self._back_off_s = 0.0
        self._mend_at_s = 0.0
        self._settle_at_s = 0.0

    async def open(self) -> None:
        """Have the table there, with nothing in it as yet. Raises PlaneError if this machine cannot."""
        self._lock = await _only_one()
        try:
            for network in self._networks:
                add_route(network)
            await self._hand.open()
        except BaseException:
            self._lock.close()
            raise
        self._settle_at_s = self._monotonic() + self._settle_s
        self._tasks = [
            asyncio.create_task(self._watch(), name="nftables"),
            asyncio.create_task(self._count(), name="nftables-counters"),
        ]

    async def program(self, delta: ProgrammeDelta) -> Mapping[PortKey, str]:
        """Carry out a change, all of it in one transaction. Returns what it could not do, by frontend."""
        async with self._busy:
            step = self._book.step_of(delta, self._monotonic())
            if not self._settled and not step.fronts:
                return step.problems  # what an earlier life left goes on until it is known what to put in its place
            problems = await self._take(step)
            await self._cut(self._book.done_elsewhere(delta, self._monotonic()))
            return problems

    def retarget(self, key: PortKey) -> None:
        """Other endpoints of a port are in use than before; the rules follow at once."""
        del key  # all are looked at, which takes less than to be sure which it is
        self._nudged.set()

    def traffic(self) -> Iterable[Traffic]:
        """What endpoints have carried, as it was read last."""
        return self._meter.traffic()

    async def close(self) -> None:
        """Let go of the kernel. What it carries, and what it has been told, goes on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        async with self._busy:
            await self._hand.close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    # -- changes ---------------------------------------------------------------------------------------------------

    async def _take(self, step: Step) -> Mapping[PortKey, str]:
        """Bring frontends to what they are to become; what could not be done."""
        pieces = step.pieces
        with suppress(OSError):  # then those that were known last are as good as any
            pieces[None] = links_of(await self._hand.links())
        failed = await self._tell(pieces)
        await self._cut(self._book.done(step, failed))
        if not self._settled:
            self._settled = True
            await self._ended(self._hand.cut_strays(self._book.doors))
        return {**step.problems, **failed}

    async def _tell(self, pieces: Mapping[PortKey | None, Piece]) -> Mapping[PortKey, str]:
        """Have the kernel hold these pieces. Returns which it did not take, and why."""
        book = self._book
        try:
            if not self._settled:
                await self._make_anew(book.with_pieces(pieces))
            elif text := change((book.pieces.get(key, NOTHING), piece) for key, piece in pieces.items()):
                await self._hand.run(text)
        except PlaneError as error:
            log.warning("the table is built anew: %s", error)
            return await self._tell_each(pieces)
        book.holds(pieces)
        return {}

    async def _make_anew(self, pieces: Iterable[Piece]) -> None:
        """Have the kernel hold these and nothing else. Clients stay with their endpoints, as far as those are there."""
        pieces, clients = list(pieces), []
        with suppress(OSError):  # then they choose anew
            clients = await self._hand.clients()
        try:
            await self._hand.run(whole(pieces, clients), whole=True)
        except PlaneError:
            if not clients:
                raise
            await self._hand.run(whole(pieces), whole=True)

    async def _tell_each(self, pieces: Mapping[PortKey | None, Piece]) -> Mapping[PortKey, str]:
        """The same after a refusal: the table may be other than we think, or one piece be wrong."""
        book = self._book
        with suppress(PlaneError):
            await self._make_anew(book.with_pieces(pieces))
            book.holds(pieces)
            return {}
        problems: dict[PortKey, str] = {}
        try:
            await self._make_anew(book.pieces.values())
        except PlaneError as error:
            return dict.fromkeys(filter(None, pieces), str(error))
        for key, piece in pieces.items():
            try:
                if text := change([(book.pieces.get(key, NOTHING), piece)]):
                    await self._hand.run(text)
            except PlaneError as error:
                if key is None:
                    log.warning("the networks of the links could not be said: %s", error)
                else:
                    problems[key] = f"{key}: {error}"
            else:
                book.holds({key: piece})
        return problems

    async def _cut(self, cuts: set[Cut]) -> None:
        if cuts:
            await self._ended(self._hand.cut(sorted(cuts), self._book.doors))

    async def _ended(self, cutting: Awaitable[int]) -> None:
        try:
            ended = await cutting
        except OSError as error:
            log.warning("connections to endpoints that are gone could not be cut: %s", error)
        else:
            log.debug("%d connections to endpoints that are gone were cut", ended)

    # -- the watch -------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Follow the upstreams, and see to it that the table stands; to the end of the plane."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._watch_s):
                    await self._nudged.wait()
            self._nudged.clear()
            try:
                async with self._busy:
                    if self._settled or self._monotonic() >= self._settle_at_s:
                        await self._take(self._book.step_of_upstreams(self._monotonic()))
                    await self._mend()
            except (OSError, PlaneError) as error:
                log.log(logging.DEBUG if self._troubled else logging.WARNING, "nftables cannot be watched: %s", error)
                self._troubled = True
            else:
                self._troubled = False

    async def _mend(self) -> None:
        """Put back what somebody else took away, less and less often if they go on."""
        now_s = self._monotonic()
        if not self._settled or now_s < self._mend_at_s:
            return
        wrong = await self._hand.differs(self._book.pieces.values())
        if wrong:
            await self._make_anew(self._book.pieces.values())
        if added := [str(one) for one in self._networks if add_route(one)]:
            wrong = wrong or f"the route of {', '.join(added)} is gone"
        if not wrong:
            self._back_off_s = 0.0
            self._mend_at_s = 0.0
            return
        self._back_off_s = min(max(self._watch_s, self._back_off_s * 2), _LONGEST_BACK_OFF_S)
        self._mend_at_s = now_s + self._back_off_s
        text = f"another program changed what the mesh had set up ({wrong}); it is put back"
        log.warning("%s", text)
        if self._on_mended is not None:
            self._on_mended(text)

    async def _count(self) -> None:
        """Read the counters, now and then; to the end of the plane."""
        pause_s = self._count_s
        while True:
            await asyncio.sleep(pause_s)
            began_s = self._monotonic()
            owners = self._book.counted
            try:
                if self._settled:
                    self._meter.opened(await self._hand.opened(), owners)
                    self._meter.carried(await self._hand.carried(self._book.doors))
            except OSError as error:
                log.debug("counters cannot be read: %s", error)  # somebody has just taken the table away
            self._meter.keep(owners.values())
            took_s = self._monotonic() - began_s
            pause_s = max(self._count_s, took_s / _MOST_OF_THE_TIME)


async def remove_leftover() -> bool:
    """Take away the table of an earlier life, if no mesh is alive that wants it; whether there was one.

    For a mesh that carries nothing by nftables: what the kernel was told before would come before its own listeners.
    Raises PlaneError if the kernel refuses.
    """
    if not table_is_there():
        return False
    try:
        lock = await _only_one()
    except PlaneError:
        return False
    try:
        await asyncio.to_thread(remove_table)
    finally:
        lock.close()
    return True


async def _only_one() -> socket.socket:
    """Hold the lock of this network namespace. Raises PlaneError if another mesh has it, and keeps it."""
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        async with asyncio.timeout(_LOCK_WAIT_S):
            while True:
                try:
                    lock.bind(_LOCK)
                except OSError:
                    await asyncio.sleep(0.05)  # the one before us may be about to end
                else:
                    return lock
    except TimeoutError:
        lock.close()
        msg = "another mesh carries services with nftables on this machine"
        raise PlaneError(msg, remedy="End it, or let userspace carry the services of this one") from None
    except BaseException:
        lock.close()
        raise
