"""A rollout as text and as JSON. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from cloudsync.rollout.plan import current_wave, failures
from cloudsync.store.rollouts import Outcome, Rollout


def as_body(rollout: Rollout) -> dict[str, Any]:
    """One JSON object."""
    release = rollout.release
    return {
        "id": rollout.id,
        "version": release.version,
        "sha256": release.sha256,
        "phase": rollout.phase.value,
        "why": rollout.why,
        "wave": current_wave(rollout) + 1,
        "waves": list(rollout.waves),
        "stop_on": rollout.stop_on,
        "failed": len(failures(rollout)),
        "made_at": rollout.made_at,
        "gateways": [
            {"gateway": one.gateway, "wave": one.wave + 1, "outcome": one.outcome.value, "reason": one.reason}
            for one in rollout.places
        ],
    }


def lines(rollout: Rollout) -> Iterator[str]:
    """For people: how far it is, wave by wave, and who failed."""
    yield f"rollout   {rollout.id}: {rollout.release.version}"
    yield f"phase     {rollout.phase}" + (f": {rollout.why}" if rollout.why else "")
    done = sum(one.outcome is Outcome.HEALTHY for one in rollout.places)
    yield f"healthy   {done} of {len(rollout.places)}; {len(failures(rollout))} failed, {rollout.stop_on} stop it"
    for number, wave in enumerate(rollout.waves):
        counted = Counter(one.outcome.value for one in rollout.places if one.wave == number)
        yield f"wave {number + 1}    {wave}: " + ", ".join(f"{count} {what}" for what, count in sorted(counted.items()))
    for one in failures(rollout):
        yield f"FAILED    {one.gateway}: {one.reason}"
    for one in rollout.places:
        if one.outcome is Outcome.ORDERED:
            yield f"waits     {one.gateway}" + ("" if one.at else ", which is away")
