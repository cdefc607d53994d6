"""What a rollout does next: a function of what was written down, what gateways say, and the time.

planned ──its wave's turn──> ordered ──the gateway says──> healthy
                                │   │                  └─> lost
                                │   └─ nothing in time ──> late
                                └─ rollout ended, not begun ──> withdrawn
wave n + 1 has its turn when all of wave n that can answer are healthy for a while
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from cloudsync.store.rollouts import Outcome, Phase, Place, Rollout
from twin.errors import Refused
from twin.release import ReleaseReport, ReleaseState

AFTER_MS: Final = 60_000
"""How long a rollout that is over is looked after: a worker that was held up may have written one more order."""
_NAMED: Final = 3
_UNTOUCHABLE: Final = frozenset({ReleaseState.INSTALLING, ReleaseState.TRYING})


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of one gateway now. ``order``: of the release that its twin desires; empty: there is none."""

    online: bool
    order: str = ""
    report: ReleaseReport | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """What comes next: first ``rollout`` is written down, then the twins of these gateways are changed."""

    rollout: Rollout
    order: tuple[str, ...] = ()
    """Gateways that are to have the release desired."""
    withdraw: tuple[str, ...] = ()
    """Gateways that are to have it desired no longer."""

    @property
    def looked_after(self) -> bool:
        """Whether there will be another step."""
        return not (self.rollout.phase.over and self.rollout.ended_at)


def wave_ends(total: int, canary: int, percents: Sequence[int]) -> dict[str, int]:
    """How many gateways have the release after each wave, by the wave's name; the last has all."""
    ends: dict[str, int] = {}
    reached = 0
    named = [("canary", canary), *((f"{one} %", math.ceil(total * one / 100)) for one in percents), ("100 %", total)]
    for name, end in named:
        if reached < min(end, total):
            reached = ends[name] = min(end, total)
    return ends


def assigned(gateways: Mapping[str, bool], ends: Mapping[str, int], seed: str) -> tuple[Place, ...]:
    """Which gateway is in which wave. ``gateways``: whether each is online; those that are come first.

    Beyond that they are mixed by ``seed``, so that it is not the same ones who are first each time.
    """
    mixed = sorted(gateways, key=lambda name: (not gateways[name], hashlib.sha256(f"{seed}/{name}".encode()).digest()))
    places: list[Place] = []
    for wave, end in enumerate(ends.values()):
        places += (Place(name, wave) for name in mixed[len(places) : end])
    return tuple(places)


def advance(rollout: Rollout, seen: Mapping[str, Seen], now: int, *, listening: int = 0) -> Step:
    """The next step. ``listening``: since when somebody has looked without a gap; nobody is late by an earlier time.

    Gateways that are not in ``seen`` are gone: nobody waits for them.
    """
    places = tuple(_judged(rollout, one, seen.get(one.gateway), now, listening) for one in rollout.places)
    rollout = replace(rollout, places=places)
    if rollout.phase is Phase.RUNNING:
        rollout = _moved(rollout, seen, now)
    order: list[str] = []
    withdraw: list[str] = []
    for one in rollout.places:
        at = seen.get(one.gateway)
        if at is None:
            continue
        ours = at.order == rollout.id
        if rollout.phase is Phase.RUNNING and one.outcome is Outcome.ORDERED and not ours:
            order.append(one.gateway)
        elif rollout.phase in (Phase.STOPPED, Phase.ABORTED) and ours and _may_withdraw(rollout, one, at):
            withdraw.append(one.gateway)
    if rollout.phase.over and not rollout.ended_at and not withdraw and _settled_for_good(rollout, seen, now):
        rollout = replace(rollout, ended_at=now)
    return Step(rollout, tuple(order), tuple(withdraw))


def turned(rollout: Rollout, phase: Phase) -> Rollout:
    """The rollout paused, running again, or aborted. Raises Refused for one that is over."""
    if rollout.phase.over:
        message = f"rollout {rollout.id} is {rollout.phase} already"
        raise Refused(message, remedy="Start another one with `edgetwin cloud rollout start`.")
    return replace(rollout, phase=phase)


def failures(rollout: Rollout) -> list[Place]:
    """The gateways that count against it."""
    return [one for one in rollout.places if one.outcome.failed]


def current_wave(rollout: Rollout) -> int:
    """The last wave that has begun; -1: none."""
    return max((one.wave for one in rollout.places if one.outcome is not Outcome.PLANNED), default=-1)


# -- one gateway -------------------------------------------------------------------------------------------------


def _judged(rollout: Rollout, place: Place, seen: Seen | None, now: int, listening: int) -> Place:
    """The place with what its gateway says now."""
    if seen is None or place.outcome is Outcome.PLANNED:
        return place
    said = _said(rollout, seen)
    ours = seen.order == rollout.id
    place = replace(place, written=place.written or ours, began=place.began or said is not None)
    if said is not None and said.state.lost:
        return _became(place, Outcome.LOST, now, said.reason or said.state.value)
    if said is not None and said.state is ReleaseState.HEALTHY and said.version == rollout.release.version:
        return _became(place, Outcome.HEALTHY, now)
    if place.outcome not in (Outcome.ORDERED, Outcome.LATE):
        return place
    if not ours and place.written:
        over = rollout.phase in (Phase.STOPPED, Phase.ABORTED)
        return _became(place, Outcome.WITHDRAWN if over else Outcome.OVERTAKEN, now)
    if not ours and rollout.phase.over:
        return _became(place, Outcome.WITHDRAWN, now)
    if place.outcome is Outcome.LATE:
        return place
    if not seen.online and not place.began:
        return replace(place, at=0)  # its time begins when it comes
    if not place.at:
        return replace(place, at=now)
    if now - max(place.at, listening) > rollout.limit_ms:
        return _became(place, Outcome.LATE, now, f"not healthy after {rollout.limit_ms // 1000} s")
    return place


def _became(place: Place, outcome: Outcome, now: int, reason: str = "") -> Place:
    if place.outcome is outcome:
        return place
    return replace(place, outcome=outcome, at=now, reason=reason)


def _said(rollout: Rollout, seen: Seen) -> ReleaseReport | None:
    """What the gateway says of this rollout's order; what it says of others does not count."""
    return seen.report if seen.report is not None and seen.report.order == rollout.id else None


def _may_withdraw(rollout: Rollout, place: Place, seen: Seen) -> bool:
    """Whether the gateway has not begun to install it; what is installed proves itself or rolls back."""
    said = _said(rollout, seen)
    return place.outcome is not Outcome.HEALTHY and (said is None or said.state not in _UNTOUCHABLE)


def _settled_for_good(rollout: Rollout, seen: Mapping[str, Seen], now: int) -> bool:
    there = [one for one in rollout.places if one.gateway in seen]
    quiet_ms = now - max([rollout.made_at, *(one.at for one in rollout.places)])
    return quiet_ms >= AFTER_MS and not any(one.outcome is Outcome.ORDERED for one in there)


# -- all of them -------------------------------------------------------------------------------------------------


def _moved(rollout: Rollout, seen: Mapping[str, Seen], now: int) -> Rollout:
    """The rollout with its next wave, or its end, where it is time for it."""
    failed = failures(rollout)
    if len(failed) >= rollout.stop_on:
        return _stopped(rollout, f"{len(failed)} failed: {_reasons(failed)}")
    wave = current_wave(rollout)
    if wave < 0:
        return _ordered(rollout, 0, seen, now)
    begun = [one for one in rollout.places if one.wave <= wave and one.gateway in seen]
    if any(_waited_for(rollout, one, seen[one.gateway], now) for one in begun):
        return rollout
    latest = [one for one in begun if one.wave == wave and one.outcome is not Outcome.OVERTAKEN]
    if latest and not any(one.outcome is Outcome.HEALTHY for one in latest):
        if all(one.outcome.failed for one in latest):
            return _stopped(rollout, f"nobody of wave {rollout.waves[wave]} is healthy: {_reasons(latest)}")
        return rollout  # they are all away
    if wave + 1 < len(rollout.waves):
        return _ordered(rollout, wave + 1, seen, now)
    if any(one.outcome is Outcome.ORDERED for one in begun):
        return rollout  # some are away, and are waited for
    return replace(rollout, phase=Phase.DONE)


def _waited_for(rollout: Rollout, place: Place, seen: Seen, now: int) -> bool:
    if place.outcome is Outcome.HEALTHY:
        return now - place.at < rollout.soak_ms
    return place.outcome is Outcome.ORDERED and (seen.online or place.began)


def _ordered(rollout: Rollout, wave: int, seen: Mapping[str, Seen], now: int) -> Rollout:
    online = {name for name, one in seen.items() if one.online}
    return _with(
        rollout,
        {
            one.gateway: replace(one, outcome=Outcome.ORDERED, at=now if one.gateway in online else 0)
            for one in rollout.places
            if one.wave == wave
        },
    )


def _with(rollout: Rollout, changed: Mapping[str, Place]) -> Rollout:
    return replace(rollout, places=tuple(changed.get(one.gateway, one) for one in rollout.places))


def _stopped(rollout: Rollout, why: str) -> Rollout:
    return replace(rollout, phase=Phase.STOPPED, why=why)


def _reasons(failed: Collection[Place]) -> str:
    return "; ".join(_named(failed))


def _named(failed: Collection[Place]) -> Iterator[str]:
    for one in list(failed)[:_NAMED]:
        yield f"{one.gateway}: {one.reason}"
    if len(failed) > _NAMED:
        yield f"and {len(failed) - _NAMED} more"
