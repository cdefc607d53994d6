"""The threads that talk to the kernel, and what is known of the table's state.

A change takes milliseconds, reading all counters many: a loop that carries connections must wait for neither, and a
change not for what is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, ParamSpec, TypeVar

from mesh.anyip import Network, links
from mesh.errors import PlaneError
from mesh.planes.nft.conntrack import Conntrack, Flow, counts_bytes
from mesh.planes.nft.doors import COUNTED, Carried, Doors, key_bytes
from mesh.planes.nft.kernel import Client, Kernel, Standing
from mesh.planes.nft.library import Nft
from mesh.planes.nft.rules import BY_ADDRESS, BY_NODE_PORT, CLIENTS, DOORS, LINKS, PORT_DOORS, Piece
from mesh.planes.nft.ruleset import chains_of, frame
from mesh.planes.nft.shares import Cut

P = ParamSpec("P")
T = TypeVar("T")

_SETS: Final = (
    tuple(name for one in (BY_ADDRESS, BY_NODE_PORT, DOORS, PORT_DOORS, LINKS) for name in one.values()) + COUNTED
)


@dataclass(frozen=True, slots=True)
class Tools:
    """What the thread works with."""

    nft: Nft
    kernel: Kernel
    conntrack: Conntrack


class Hand:
    """Does things in a thread, one after the other, and reads counters in another."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="nftables")
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="nftables-counters")
        self._tools: Tools | None = None
        self._generation: int | None = None
        """The kernel's number after our last transaction; None: somebody else may have changed something."""

    async def open(self) -> None:
        """Get ready, and have the table there, whatever it holds. Raises PlaneError if this machine cannot."""
        try:
            self._tools = await self._do(_open)
            await self.run(frame())
        except OSError as error:
            await self.close()
            msg = f"the kernel gives no access to nftables: {error.strerror}"
            raise PlaneError(msg, remedy="Run as root or with CAP_NET_ADMIN, or let userspace carry it") from error
        except PlaneError:
            await self.close()
            raise

    async def close(self) -> None:
        """Give the kernel back what was taken of it; the table stays."""
        tools, self._tools = self._tools, None
        if tools is not None:
            await self._do(_close, tools)
        self._thread.shutdown(wait=False)
        self._reading.shutdown(wait=False)

    async def run(self, text: str, *, whole: bool = False) -> None:
        """One transaction; ``whole`` says that it leaves nothing of what was. Raises PlaneError if nothing was done."""
        await self._do(self._run, text, whole=whole)

    async def differs(self, pieces: Iterable[Piece]) -> str:
        """What in the kernel is not as it should be; empty: all is. Costs next to nothing if nobody else was there."""
        return await self._do(self._differs, list(pieces))

    async def clients(self) -> list[Client]:
        """Which clients stay with which endpoints. Raises OSError."""
        return await self._do(lambda: list(self._at_hand().kernel.clients(CLIENTS)))

    async def links(self) -> set[Network]:
        """The networks of this machine's own links. Raises OSError."""
        return await self._do(links)

    async def cut(self, cuts: Iterable[Cut], doors: Doors) -> int:
        """End connections to these that came in by our doors; how many those were."""
        return await self._do(self._cut, list(cuts), doors)

    async def cut_strays(self, doors: Doors) -> int:
        """End connections by our doors to what is no endpoint any more; how many those were."""
        return await self._do(self._cut_strays, doors)

    async def opened(self) -> Mapping[tuple[str, bytes], int]:
        """How many connections there were, by set and key."""
        return await self._read(_counts)

    async def carried(self, doors: Doors) -> Mapping[int, Carried]:
        """Packets and bytes of the connections by our doors, by the kernel's number for each."""
        return await self._read(_carried, doors)

    # -- in the thread ---------------------------------------------------------------------------------------------

    def _run(self, text: str, *, whole: bool) -> None:
        tools = self._at_hand()
        try:
            before = tools.kernel.generation()
            tools.nft.run(text)
            after = tools.kernel.generation()
        except OSError as error:
            msg = f"the kernel does not answer about nftables: {error.strerror}"
            raise PlaneError(msg) from error
        alone = (whole or self._generation == before) and after == before + 1
        self._generation = after if alone else None

    def _differs(self, pieces: list[Piece]) -> str:
        kernel = self._at_hand().kernel
        now = kernel.generation()
        if now == self._generation:
            return ""
        wrong = difference(kernel.standing(_SETS), pieces)
        if not wrong:
            self._generation = now
        return wrong

    def _cut(self, cuts: list[Cut], doors: Doors) -> int:
        def is_ours(flow: Flow) -> bool:
            return doors.spots(flow.transport, flow.address, flow.port) is not None

        conntrack = self._at_hand().conntrack
        return sum(conntrack.cut(one.transport, one.to, is_ours) for one in cuts)

    def _cut_strays(self, doors: Doors) -> int:
        def is_stray(flow: Flow) -> bool:
            spots = doors.spots(flow.transport, flow.address, flow.port)
            return spots is not None and flow.to not in spots

        return self._at_hand().conntrack.cut_all(is_stray)

    def _at_hand(self) -> Tools:
        if self._tools is None:
            msg = "the nftables plane is not open"
            raise PlaneError(msg)
        return self._tools

    async def _do(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: work(*args, **kwargs))

    async def _read(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reading, lambda: work(*args, **kwargs))


def difference(standing: Standing, pieces: Iterable[Piece]) -> str:
    """What of these pieces is not there, or there besides them; empty: nothing. Pure."""
    pieces = list(pieces)
    chains = chains_of(pieces)
    if not standing.chains:
        return "the table is gone"
    for name in sorted({*chains, *standing.chains}):
        there, wanted = standing.chains.get(name), chains.get(name)
        if there != wanted:
            return f"the chain {name} has {_rules(there)} instead of {_rules(wanted)}"
    wanted_elements: dict[str, dict[bytes, str]] = {name: {} for name in _SETS}
    for piece in pieces:
        for one in piece.elements:
            wanted_elements[one.set][key_bytes(one.key)] = one.verdict.removeprefix("goto ")
    for name, wanted_ones in wanted_elements.items():
        if standing.elements.get(name) != wanted_ones:
            return f"{name} does not hold what it should"
    return ""


def _rules(count: int | None) -> str:
    return "no place here" if count is None else f"{count} rule{'' if count == 1 else 's'}"


def _open() -> Tools:
    kernel = Kernel()
    try:
        kernel.generation()
        return Tools(Nft().open(), kernel, Conntrack())
    except BaseException:
        kernel.close()
        raise


def _close(tools: Tools) -> None:
    tools.nft.close()
    tools.kernel.close()
    tools.conntrack.close()


def _counts() -> Mapping[tuple[str, bytes], int]:
    kernel = Kernel()
    try:
        return {(name, key): count for name in COUNTED for key, count in kernel.counts(name)}
    finally:
        kernel.close()


def _carried(doors: Doors) -> Mapping[int, Carried]:
    found: dict[int, Carried] = {}
    if not counts_bytes():
        return found
    conntrack = Conntrack()
    try:
        for version in (4, 6):
            for flow in conntrack.flows(version):
                spots = doors.spots(flow.transport, flow.address, flow.port)
                if spots and (spot := spots.get(flow.to)):
                    found[flow.id] = Carried(spot, flow.packets, flow.bytes_in, flow.bytes_out)
    finally:
        conntrack.close()
    return found
