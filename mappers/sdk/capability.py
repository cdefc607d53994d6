"""What a driver may offer beside the five methods of ``Driver``: telling values by itself, finding devices, giving way.

A driver has a capability when it has its method; the SDK asks with isinstance. Its Mapper says the same for lists.

    runner ── subscribe ──> driver       once per connection and poll class
    runner <── tell ─────── driver       each value that the device sends
    runner <── alive ────── driver       nothing new, and the device is there
    runner <── lost ─────── driver       the connection is gone
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, runtime_checkable

from mappers.sdk.driver import Capability, Readings
from mappers.sdk.errors import NotConnected
from twin.model import Access, Value, ValueType

P = TypeVar("P", contravariant=True)
S = TypeVar("S", contravariant=True)


class Listener(Protocol):
    """Takes what a subscription brings. Every method is plain and quick, and may be called at any time."""

    def tell(self, readings: Readings) -> None:
        """Take readings of some of the planned points; the others are as they were. The driver lets go of them."""
        ...

    def alive(self) -> None:
        """Note that nothing has changed."""
        ...

    def lost(self, error: NotConnected) -> None:
        """Note that the connection is gone; the runner closes the driver and connects anew."""
        ...


@dataclass(frozen=True, slots=True)
class Subscribed:
    """What a device agreed to. Without a word for ``alive_s`` its values are stale.

    ``refused`` are the points that are to be polled instead.
    """

    alive_s: float
    refused: frozenset[str] = frozenset()


@runtime_checkable
class Subscribing(Protocol[P]):
    """A driver whose devices send their values by themselves."""

    async def subscribe(self, plan: P, cycle_ms: int, listener: Listener) -> Subscribed:
        """Have these points told, their present values first, then changes seen every ``cycle_ms``.

        Ends with the connection. Raises NotConnected, DeviceTimeout, or another MapperError to have all points polled.
        """
        ...

    async def unsubscribe(self, plan: P) -> None:
        """End one subscription. Raises NotConnected."""
        ...


@dataclass(frozen=True, slots=True)
class FoundPoint:
    """Something that can be read, as a property and its visitor."""

    name: str
    type: ValueType
    access: Access
    visitor: Mapping[str, Value]
    unit: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class FoundDevice:
    """A device as a scan met it: a name to begin with, its address, and what it has."""

    name: str
    address: Mapping[str, Value]
    points: tuple[FoundPoint, ...] = ()
    description: str = ""
    identity: Mapping[str, str] = field(default_factory=dict)
    """What it says of itself: vendor, product, revision."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a scan is: so many of so many places looked at (0: not known), and where it is now."""

    done: int
    of: int
    place: str = ""


@runtime_checkable
class Discovering(Protocol[S]):
    """A driver that can look for devices on its connection. S is the protocol's ScanConfig, named by its Mapper."""

    def discover(self, wanted: S, tell: Callable[[Progress], None]) -> AsyncGenerator[FoundDevice, None]:
        """Look for devices, after ``connect``; each is given as it is found, and how far the scan is told.

        May take minutes and end early: the generator is closed. Raises NotConnected.
        """
        ...


@runtime_checkable
class GivingWay(Protocol):
    """A driver whose ``read`` makes several requests, between any two of which something else may be asked."""

    def give_way(self, turn: Callable[[], Awaitable[None]]) -> None:
        """Await ``turn`` between two requests of a read from now on: what is more urgent is called from in there.

        Those are calls of the same driver, one at a time; their NotConnected passes through ``read``.
        """
        ...


def capabilities(driver: object) -> frozenset[Capability]:
    """What a driver offers; for a class, what its instances will."""
    offered = set()
    if hasattr(driver, "subscribe") and hasattr(driver, "unsubscribe"):
        offered.add(Capability.SUBSCRIBE)
    if hasattr(driver, "discover"):
        offered.add(Capability.DISCOVER)
    return frozenset(offered)
