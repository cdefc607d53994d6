"""What lies between a driver and its peer, and how it may fail."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import StrEnum
from types import TracebackType
from typing import ClassVar, Self


class Ability(StrEnum):
    """A fault that a line can make. A check that needs one which the line has not is exempt for a reason, or fails."""

    REFUSE = "refuse"  # nobody is there
    CUT = "cut"  # the connection is gone, and both ends see it
    FREEZE = "freeze"  # half-open: it stands, and nothing comes through
    DELAY = "delay"  # answers come late
    THROTTLE = "throttle"  # answers come byte by byte
    CUT_WITHIN = "cut-within"  # the connection is gone in the middle of an answer
    GARBAGE = "garbage"  # bytes that nobody sent
    COUNT = "count"  # how many connections stand is known


class Line(ABC):
    """A line as it should be until it is told otherwise; ``mend`` makes it so again."""

    abilities: ClassVar[frozenset[Ability]] = frozenset()
    place: str = ""
    """How an error should name it: host and port, or a path."""

    @property
    def standing(self) -> int:
        """Connections that stand."""
        raise NotImplementedError

    @abstractmethod
    async def open(self) -> None:
        """Connect both ends."""

    @abstractmethod
    async def close(self) -> None:
        """Take it away."""

    @abstractmethod
    async def mend(self) -> None:
        """Be as it should; connections that were cut stay so."""

    async def refuse(self) -> None:
        """Cut, and let nobody in."""
        raise NotImplementedError

    async def cut(self) -> None:
        """Cut what stands; new connections are let in."""
        raise NotImplementedError

    def freeze(self) -> None:
        """Lose every byte from now on, and keep connections standing; new ones, too."""
        raise NotImplementedError

    def delay(self, seconds: float) -> None:
        """Hold back each answer for so long."""
        raise NotImplementedError

    def throttle(self, bytes_per_s: float) -> None:
        """Let answers through byte by byte."""
        raise NotImplementedError

    def cut_within(self, count: int) -> None:
        """Cut once so many bytes of the next answer have come through."""
        raise NotImplementedError

    def garbage(self, noise: bytes) -> None:
        """Send bytes to the driver that the peer never sent."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        """Open."""
        await self.open()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()
