"""When something is sent again: how much of that there may be at once, and how long to wait before."""

from __future__ import annotations

from random import Random
from typing import Final

from mesh.model.policies import Policy

MOST: Final = 10
"""The wait never grows over so many times its base (Envoy's rule)."""


def backoff_s(base_ms: int, attempt: int, rng: Random) -> float:
    """How long to wait before repetition number ``attempt`` (from 1): full jitter up to a bound that doubles."""
    return rng.random() * base_ms / 1000 * min((1 << min(attempt, MOST)) - 1, MOST)


class Retries:
    """The repetitions of a service that are under way, bounded so that they cannot feed an outage.

    At most the largest of the budget's percentage of the requests under way, its ``min_concurrency``, and the
    connection pool's ``max_retries``.
    """

    __slots__ = ("active", "refused")

    def __init__(self) -> None:
        self.active = 0
        self.refused = 0

    def take(self, policy: Policy, requests: int) -> bool:
        """Begin one if there is room; ``requests`` are under way. Each that began is given back."""
        budget = policy.retry_budget
        most = max(budget.min_concurrency, policy.pool.max_retries, requests * budget.percent / 100)
        if self.active + 1 > most:
            self.refused += 1
            return False
        self.active += 1
        return True

    def give_back(self) -> None:
        """It has ended."""
        self.active -= 1
