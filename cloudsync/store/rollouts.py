"""Bundles that the cloud serves, and rollouts of them: what is written down of each, and nothing else.

A rollout is written whole, by whoever read it last: ``revision`` says which change it was read at.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from twin.release import Release


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that was added. Its file is with the web server."""

    sha256: str
    size_bytes: int
    version: str
    compatible: str = ""
    """What it is for, as it says itself; empty: it does not."""
    name: str = ""
    """Of the file that it was."""
    added_at: int = 0


class Phase(StrEnum):
    """Where a rollout is."""

    RUNNING = "running"
    PAUSED = "paused"  # no further gateway is ordered to have it
    STOPPED = "stopped"  # too many failed
    ABORTED = "aborted"  # a person ended it
    DONE = "done"

    @property
    def over(self) -> bool:
        """Whether no gateway is ordered to have it any more, ever."""
        return self not in (Phase.RUNNING, Phase.PAUSED)


class Outcome(StrEnum):
    """What became of one gateway of a rollout."""

    PLANNED = "planned"  # its wave has not begun
    ORDERED = "ordered"
    HEALTHY = "healthy"
    LOST = "lost"  # rolled back, refused or failed, as it says itself
    LATE = "late"  # it could, and has not said how it went
    WITHDRAWN = "withdrawn"  # the order was taken back before it began
    OVERTAKEN = "overtaken"  # somebody ordered something else

    @property
    def failed(self) -> bool:
        """Whether it counts against the rollout."""
        return self in (Outcome.LOST, Outcome.LATE)


@dataclass(frozen=True, slots=True)
class Place:
    """One gateway in a rollout. Times are milliseconds since 1970, of the cloud's clock."""

    gateway: str
    wave: int
    outcome: Outcome = Outcome.PLANNED
    at: int = 0
    """Since when ``outcome`` holds; of ORDERED, since when the gateway can act on it, 0 while it is away."""
    written: bool = False
    """Whether the order was seen in its twin."""
    began: bool = False
    """Whether it has said anything of the order."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Rollout:
    """One release on its way to many gateways, wave by wave."""

    id: str
    release: Release
    """Its ``order`` is the rollout's id."""
    places: tuple[Place, ...]
    waves: tuple[str, ...]
    """What each wave is called."""
    stop_on: int
    """As many failures end it."""
    limit_ms: int
    """How long a gateway may take."""
    soak_ms: int
    """How long a gateway has to be healthy before the next wave."""
    made_at: int
    phase: Phase = Phase.RUNNING
    why: str = ""
    ended_at: int = 0
    revision: int = 0
    """0: it was never written."""


class RolloutStore(Protocol):
    """Bundles and rollouts. Every method raises StoreError when it fails."""

    async def bundles(self) -> list[Bundle]:
        """All, the newest first."""
        ...

    async def put_bundle(self, bundle: Bundle) -> None:
        """Write one down, or again."""
        ...

    async def drop_bundle(self, sha256: str) -> None:
        """Forget one; nothing happens if there is none."""
        ...

    async def rollouts(self, *, looked_after: bool = False) -> list[Rollout]:
        """All, the newest first; or those that somebody has still to look after."""
        ...

    async def put(self, rollout: Rollout, *, looked_after: bool) -> bool:
        """Write one down; False, and nothing is written, if another has changed it since it was read."""
        ...
