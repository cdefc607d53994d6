"""How a queue goes on after each try: what is delivered, what is set aside, how much is sent next. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from edgehub.push.target import Delivered, Later, Outcome


@dataclass(frozen=True, slots=True)
class Step:
    """After a try: so many of the batch are there, whether the next one is set aside, how many are sent at once."""

    taken: int
    aside: bool
    limit: int


def next_step(outcome: Outcome, size: int, limit: int, most: int) -> Step:
    """A batch that is refused is halved until one reading is left, which is set aside; what is taken doubles it again.

    So one reading that no target takes costs a few tries, and holds nothing up.
    """
    if isinstance(outcome, Delivered):
        return Step(size, aside=False, limit=min(limit * 2, most))
    taken = min(max(outcome.taken, 0), size)
    if isinstance(outcome, Later):
        return Step(taken, aside=False, limit=limit)
    left = size - taken
    if left <= 1:
        return Step(taken, aside=left == 1, limit=limit)
    return Step(taken, aside=False, limit=max(1, left // 2))


def wait_s(outcome: Later, drawn_s: float, most_s: float) -> float:
    """How long to wait before the next try: what was drawn, but not less than the target asked for, up to a limit."""
    return max(drawn_s, min(outcome.after_s, most_s))
