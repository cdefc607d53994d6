"""What a push is to whoever writes one: a type with a model of its settings, and a target that takes batches.

    class FileTarget:
        async def send(self, batch):
            ...
            return DELIVERED

    PUSH = PushType(FileConfig, opened)        # entry point of the group edgetwin.pushes

All else is done for it: buffer, order, tries, time-outs, what is refused, health.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

from pydantic import BaseModel

from twin.outbound import QueuedReading

Reading: TypeAlias = QueuedReading
"""One reading: tick, namespace, device, property, unit, route, at (milliseconds), value, quality, reason."""
C = TypeVar("C", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Delivered:
    """The target has the whole batch, for good."""


@dataclass(frozen=True, slots=True)
class Later:
    """It could not take it now, and is asked again, after ``after_s`` or later. The first ``taken`` are there."""

    why: str
    after_s: float = 0.0
    taken: int = 0


@dataclass(frozen=True, slots=True)
class Refused:
    """It will never take what comes after the first ``taken``: those are sent one by one, and set aside if need be."""

    why: str
    taken: int = 0


Outcome: TypeAlias = Delivered | Later | Refused
DELIVERED: Final = Delivered()


class Broken(Exception):  # told to the user as it is
    """A target that cannot be opened as things are: a secret that is not there, a library that is not installed."""


class Target(Protocol):
    """Takes batches of one push, never two at once."""

    async def send(self, batch: Sequence[Reading]) -> Outcome:
        """Deliver a batch, in its order. What it raises is tried again; it is cancelled when it takes too long."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Whose readings they are, and how long one step may take."""

    gateway: str
    push: str
    timeout_s: float


@dataclass(frozen=True, slots=True)
class PushType(Generic[C]):
    """A type of push. ``open`` is left and entered anew after each try that failed; it may raise Broken."""

    config: type[C]
    open: Callable[[C, Place], AbstractAsyncContextManager[Target]]
