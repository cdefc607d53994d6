"""A store that the disk has damaged is mended by its peer, over the same feed and digests as any other difference."""

import sqlite3

import pytest

from tests.twin.feed.world import TANK, World
from twin.model import Section, Site

EDGE, CLOUD = Site.EDGE, Site.CLOUD


@pytest.fixture
def world():
    made = World(digests=True)
    for name in ("a", "b"):
        made.edit(EDGE, name)
        made.edit(CLOUD, name)
    made.report()
    made.resync()
    yield made
    made.close()


def damage(world, statement):
    """Change rows of the edge's file behind its back, and start it again."""
    edge = world.sides[EDGE]
    edge.store.close()
    db = sqlite3.connect(edge.path)
    assert db.execute(statement).rowcount > 0
    db.commit()
    db.close()
    edge.start()
    return edge


@pytest.mark.parametrize("site", [0, 1])
def test_damaged_desired_values_are_left_out_named_and_come_back_from_the_peer(world, site):
    before = world.sides[EDGE].slots()
    edge = damage(world, f"UPDATE leaf SET value = value + 1 WHERE section = 1 AND property = 'a' AND site = {site}")
    assert edge.store.lost == [f"desired a of {TANK}"]
    assert len(edge.slots()) == len(before) - 1
    assert edge.slots() == edge.on_disk()
    world.resync()
    assert edge.slots() == before


def test_a_damaged_reported_value_comes_back_from_the_peer(world):
    edge = damage(world, "UPDATE leaf SET value = value + 1 WHERE section = 0")
    assert edge.store.lost == [f"reported r of {TANK}"]
    assert (Section.REPORTED, "r", EDGE) not in edge.slots()
    world.resync()
    assert (Section.REPORTED, "r", EDGE) in edge.slots()


def test_a_damaged_tick_does_not_lower_the_ticks(world):
    edge = world.sides[EDGE]
    newest = max(slot.tick for place, slot in edge.slots().items() if place[2] is EDGE)
    edge.clock.us = 0
    edge = damage(world, "UPDATE meta SET value = 5 WHERE key = 'tick'")
    assert edge.store.lost == ["the last tick or the version of the tables (both are found by other means)"]
    assert edge.engine._ticker.last >= newest
    world.edit(EDGE, "c")
    world.resync()
    assert edge.slots()[Section.DESIRED, "c", EDGE].tick > newest


@pytest.mark.parametrize("statement", ["UPDATE feed SET cursor = cursor * 2", "UPDATE run SET first = first * 2"])
def test_damaged_notes_of_the_exchange_make_it_begin_anew(world, statement):
    for name in ("a", "c"):
        world.edit(CLOUD, name)
    edge = damage(world, statement)
    assert edge.store.lost != []
    world.resync()


def test_a_start_without_damage_loses_nothing_and_says_nothing(world):
    edge = damage(world, "UPDATE leaf SET value = value")
    assert edge.store.lost == []
