"""A measured figure: what it is, what it should reach, and the one line that it prints."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figure:
    """One number. ``at_most`` says that lower is better; a ``reach`` of 0 that is no most asks for nothing."""

    name: str
    value: float
    unit: str
    says: str
    reach: float = 0
    at_most: bool = False

    @property
    def asked(self) -> str:
        """What it should reach; ``-`` if nothing is asked of it."""
        if self.at_most:
            return f"<= {plain(self.reach)}"
        return plain(self.reach) if self.reach else "-"

    @property
    def verdict(self) -> str:
        """Whether it reaches what it should; ``-`` if nothing is asked of it."""
        if self.asked == "-":
            return "-"
        good = self.value <= self.reach if self.at_most else self.value >= self.reach
        return "ok" if good else "short"

    @property
    def line(self) -> str:
        """What is printed, for people and programs."""
        return f"{self.name} value={plain(self.value)} unit={self.unit} reach={plain(self.reach)} {self.verdict}"


@dataclass(frozen=True, slots=True)
class Scale:
    """How much a run may take: a folder of its own on the real disk, and whether more than a minute is fine."""

    folder: Path
    long: bool


@dataclass(frozen=True, slots=True)
class Bench:
    """A run that gives figures, the headline last. ``long``: the long run differs and is worth its time."""

    name: str
    measure: Callable[[Scale], Coroutine[None, None, list[Figure]]]
    long: bool = False


def plain(number: float) -> str:
    """Write a number with three digits that matter, never as a power of ten."""
    if number == int(number) or abs(number) >= 100:
        return str(round(number))
    return f"{number:.3f}" if abs(number) < 1 else f"{number:.2f}"
