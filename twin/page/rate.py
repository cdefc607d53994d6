"""How often a login may be tried: a few times at once, then slower and slower. Pure but for the clock it is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

FREE: Final = 5
"""Wrong logins of one address that cost no wait."""
FREE_OF_ALL: Final = 30
"""The same of all addresses together."""
LONGEST_S: Final = 60.0
FORGET_S: Final = 900.0
MAX_ADDRESSES: Final = 5000

_ALL: Final = ""


class _Failures(NamedTuple):
    times: int
    at_s: float


class Attempts:
    """Wrong logins of late."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._failures: dict[str, _Failures] = {}

    def wait_s(self, address: str) -> float:
        """How long this address has to wait before it may try again; 0: not at all."""
        return max(self._wait_s(address, FREE), self._wait_s(_ALL, FREE_OF_ALL))

    def failed(self, address: str) -> None:
        """A login was wrong."""
        now_s = self._monotonic_s()
        if address not in self._failures and len(self._failures) >= MAX_ADDRESSES:
            self._failures = {name: one for name, one in self._failures.items() if now_s - one.at_s < FORGET_S}
        for name in (address, _ALL):
            if name in self._failures or len(self._failures) < MAX_ADDRESSES or name == _ALL:
                self._failures[name] = _Failures(self._of(name).times + 1, now_s)

    def succeeded(self, address: str) -> None:
        """A login was right: what this address did before is forgiven."""
        self._failures.pop(address, None)

    def _wait_s(self, name: str, free: int) -> float:
        times, at_s = self._of(name)
        if times < free:
            return 0.0
        pause_s = min(2.0 ** min(times - free, 10), LONGEST_S)
        return max(0.0, at_s + pause_s - self._monotonic_s())

    def _of(self, name: str) -> _Failures:
        now_s = self._monotonic_s()
        found = self._failures.get(name, _Failures(0, now_s))
        return found if now_s - found.at_s < FORGET_S else _Failures(0, now_s)
