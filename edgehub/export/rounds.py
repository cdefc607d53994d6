"""What became of each round of an export, and what of that is news. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgehub.push.target import Delivered, Outcome


@dataclass(frozen=True, slots=True)
class Round:
    """Points that were sent, endpoints that gave none and why, what the collector said."""

    at_ms: int
    points: int
    silent: tuple[tuple[str, str], ...]
    outcome: Outcome

    @property
    def whole(self) -> bool:
        """Whether all endpoints were read, and the collector has all of it."""
        return isinstance(self.outcome, Delivered) and not self.silent


@dataclass(frozen=True, slots=True)
class News:
    """Something that fails, with the reason; or that goes, without one."""

    url: str
    why: str


class Told:
    """Of each endpoint and of the collector only what is other than before: a failure once, and its end once."""

    def __init__(self, sources: Sequence[str], target: str) -> None:
        self._sources = sources
        self._target = target
        self._failing: dict[str, bool] = {}

    def news(self, done: Round) -> list[News]:
        """What is to be said after a round."""
        silent = dict(done.silent)
        now = [News(url, silent.get(url, "")) for url in self._sources]
        now.append(News(self._target, "" if isinstance(done.outcome, Delivered) else done.outcome.why))
        found = [one for one in now if self._failing.get(one.url) is not bool(one.why)]
        self._failing.update({one.url: bool(one.why) for one in now})
        return found
