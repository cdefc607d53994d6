"""Ticks far from the clock are taken as they are, and remembered over a start."""

import pytest

from twin.document import Slot
from twin.exchange import Row
from twin.model import Section, Site

pytestmark = pytest.mark.fast

DAY_US = 24 * 3600 * 1_000_000


async def test_a_change_from_far_ahead_is_taken_as_it_is_and_later_ones_follow_it(tank, tank_spec, key, clock):
    ahead = clock.us + 3650 * DAY_US
    row = Row(key, "u1", Section.DESIRED, "valve", Site.CLOUD, Slot(7, ahead))
    await tank.engine.replica.merge([row]).stored()
    assert tank.engine.document(key).desired["valve"].cloud == Slot(7, ahead)
    assert tank.engine.replica.peer_last == ahead
    engine = await tank.reopen()
    assert engine.replica.peer_last == ahead
    await engine.set_desired(key, {"valve": 9}, by="cli").stored()
    leaf = engine.document(key).desired["valve"]
    assert leaf.edge.seen == ahead
    assert leaf.edge.tick < ahead  # its order comes from seen, not from a greater tick


async def test_ticks_rise_over_a_clock_that_steps_to_1970_and_back(tank, key, clock):
    ticks = []
    for us in (clock.us, 0, 5, clock.us + 3650 * DAY_US, 0, clock.us):
        clock.us = us
        await tank.engine.report(key, {"raw": len(ticks)}, {}, at=0, by="m").commit.stored()
        ticks.append(tank.engine.document(key).reported["raw"].tick)
        await tank.reopen()
    assert ticks == sorted(set(ticks))
