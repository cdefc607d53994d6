"""Acknowledged edits that are missing after all that may happen to gateways, workers and the line."""

from __future__ import annotations

import asyncio
from typing import Final

from tests.bench.figure import Figure, Scale
from tests.sim.world import World

_SEEDS: Final = range(9_000, 9_008)
_STEPS: Final = 1_500


async def lost(_scale: Scale) -> list[Figure]:
    """Runs of the simulation, one after the other, on a thread: each has a loop of its own."""
    edits, missing = 0, 0
    for seed in _SEEDS:
        found, is_lost = await asyncio.to_thread(_run, seed)
        edits += found
        missing += is_lost
    says = (
        f"acknowledged edits that nobody overruled and that are not there at the end: {len(_SEEDS)} runs of the"
        f" simulation, {_STEPS} steps each, real session, engine and hub; the fault tests over real processes"
        " fail at one"
    )
    return [
        Figure("sync.lost.tried", edits, "edits", "values with an acknowledged edit, same runs"),
        Figure("sync.lost", missing, "edits", says, at_most=True),
    ]


def _run(seed: int) -> tuple[int, bool]:
    world = World(seed, sql=seed % 2 == 0)
    try:
        world.run(_STEPS)
    except AssertionError as error:
        if "is lost" not in str(error):
            raise
        return len(world.acknowledged), True
    return len(world.acknowledged), False
