"""Which desired values of one device are to be written now: latest wins, refused ones wait. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from random import Random
from typing import Final

from twin.link.backoff import Backoff
from twin.model import Access, PropertySpec, Value
from twin.validate import Rule
from twin.wire.messages import Delta, DesiredValue

_FIRST_RETRY_S: Final = 1.0
_LONGEST_RETRY_S: Final = 60.0
_FLOAT32: Final = 1e-6  # a value that went through a 32-bit float comes back this much off


@dataclass(slots=True)
class Wish:
    """One desired value on its way to the device."""

    name: str
    value: Value
    tick: int
    due_at: float
    refused: bool = False
    confirm_at: float = inf
    """When it is to be read back, after it was written."""


class Writeback:
    """The delta of one device as a list of things to write.

    An entry that stays in the delta keeps its place in the backoff; one with a new value or tick starts afresh; one
    that left the delta is never written. A pulse is made once for each tick, and always ended.
    """

    def __init__(self, rng: Random, pulses: frozenset[str] = frozenset()) -> None:
        self._rng = rng
        self._pulses = pulses
        self._wishes: dict[str, Wish] = {}
        self._backoffs: dict[str, Backoff] = {}
        self._pulsed: dict[str, int] = {}
        self._ends: dict[str, float] = {}

    def __bool__(self) -> bool:
        return bool(self._wishes or self._ends)

    def follow(self, delta: Delta, now_s: float) -> list[str]:
        """Take a new delta in place of the last; returns the refused properties that it no longer holds as they were.

        Those are good again until they are refused anew.
        """
        before = self._wishes
        self._wishes = {name: self._wish(name, desired, now_s) for name, desired in delta.desired.items()}
        kept = {name for name, wish in self._wishes.items() if before.get(name) is wish}
        for name in self._backoffs.keys() - kept:
            del self._backoffs[name]
        return [name for name, wish in before.items() if wish.refused and name not in kept]

    def due(self, now_s: float) -> list[Wish]:
        """What is to be written now."""
        return [wish for wish in self._wishes.values() if wish.due_at <= now_s and wish.name not in self._ends]

    def due_confirms(self, now_s: float) -> list[Wish]:
        """What was written and is to be read back now."""
        return [wish for wish in self._wishes.values() if wish.confirm_at <= now_s]

    def due_ends(self, now_s: float) -> list[str]:
        """Properties whose pulse is to end now."""
        return [name for name, at in self._ends.items() if at <= now_s]

    def next_at(self, ready: Callable[[str], bool] = lambda name: True) -> float:  # noqa: ARG005  all are
        """When the next wish of a property that is ready is due, or a read back, or the end of a pulse."""
        times = [
            min(wish.due_at, wish.confirm_at)
            for wish in self._wishes.values()
            if wish.name not in self._ends and ready(wish.name)
        ]
        return min(*times, *self._ends.values(), inf, inf)

    def refused(self) -> list[str]:
        """Properties whose desired value the device does not take."""
        return [name for name, wish in self._wishes.items() if wish.refused]

    def stands(self, wish: Wish) -> bool:
        """Whether the wish is still the newest of its property."""
        return self._wishes.get(wish.name) is wish

    def wrote(self, wish: Wish) -> None:
        """Note that the device has it; the next delta that still asks for it makes it due again."""
        wish.due_at = wish.confirm_at = inf
        wish.refused = False
        self._backoffs.pop(wish.name, None)

    def sent(self, wish: Wish, confirm_at: float) -> None:
        """Note that it was written and is to be read back later."""
        wish.due_at, wish.confirm_at = inf, confirm_at

    def pulse(self, wish: Wish, end_at: float) -> None:
        """Note that a pulse has begun."""
        self._pulsed[wish.name] = wish.tick
        self._ends[wish.name] = end_at
        self.wrote(wish)

    def ended(self, name: str) -> None:
        """Note that a pulse has ended."""
        self._ends.pop(name, None)

    def forget_sent(self, now_s: float) -> None:
        """Have written again what was not read back yet: the device may have lost it."""
        for wish in self._wishes.values():
            if wish.confirm_at < inf:
                wish.due_at, wish.confirm_at = now_s, inf

    def refuse(self, wish: Wish, now_s: float, *, for_good: bool = False) -> None:
        """Note that the device does not take it; it is tried again after 1 to 60 s, or never if that is for good."""
        wish.refused = True
        wish.confirm_at = inf
        backoff = self._backoffs.setdefault(wish.name, Backoff(2 * _FIRST_RETRY_S, _LONGEST_RETRY_S, self._rng))
        wish.due_at = inf if for_good else now_s + max(_FIRST_RETRY_S, backoff.next_s())

    def _wish(self, name: str, desired: DesiredValue, now_s: float) -> Wish:
        old = self._wishes.get(name)
        if old is not None and old.tick == desired.tick and old.value == desired.value:
            if not old.refused and old.confirm_at == inf and name not in self._pulses:
                old.due_at = now_s  # still asked for after it was written: the device may have lost it
            return old
        is_done = name in self._pulses and self._pulsed.get(name) == desired.tick
        return Wish(name, desired.value, desired.tick, inf if is_done else now_s)


def objection(spec: PropertySpec, rule: Rule, value: Value) -> str:
    """Why a desired value is not even tried; empty if it may be written."""
    if spec.access is not Access.READ_WRITE:
        return f"{spec.name} is read-only"
    return rule.violation(value)


def overdue(wish: Wish, expires_s: float, now_us: int) -> str:
    """Why a desired value came too late to be written; empty if it may be. A tick is at least the time it was made."""
    age_s = (now_us - wish.tick) / 1e6
    return f"it is {age_s:.0f} s old and expires after {expires_s:g} s" if age_s > expires_s else ""


def agrees(desired: Value, read: Value, tolerance: float, step: float) -> bool:
    """Whether the device holds the desired value, as far as its resolution (step) lets it."""
    if isinstance(desired, bool) or isinstance(read, bool):
        return desired is read
    if isinstance(desired, int | float) and isinstance(read, int | float):
        rounding = 0.0 if isinstance(desired, int) and isinstance(read, int) else _FLOAT32 * abs(desired)
        return abs(desired - read) <= max(tolerance, step / 2, rounding)
    return desired == read
