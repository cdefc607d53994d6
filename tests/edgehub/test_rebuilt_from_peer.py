"""A corrupt file of twins is set aside, and what its last good copy lacks comes back from the other site."""

import sqlite3

import pytest

from edgehub.state import StateFolder
from edgehub.state_store import open_state
from tests.twin.feed.world import World
from twin.checksum import row_sum
from twin.errors import StoreTooNew
from twin.model import Site
from twin.sqlite_check import schema_sum
from twin.sqlite_schema import PUT_META, _migrations

EDGE, CLOUD = Site.EDGE, Site.CLOUD


@pytest.fixture
def world():
    made = World(digests=True)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("harm", "copied"),
    [("middle", True), ("middle", False), ("cut short", True), ("cut short", False), ("emptied", True)],
)
def test_a_corrupt_file_is_rebuilt_from_its_copy_and_from_its_peer(world, tmp_path, harm, copied):
    folder = StateFolder(tmp_path / "state")
    folder.make()
    world.edit(EDGE, "a")
    world.report()
    world.resync()
    edge = world.sides[EDGE]
    if copied:
        edge.store.copy_to(folder.database_copy)
    wanted = {"a": world.edit(EDGE, "a"), "b": world.edit(EDGE, "b")}  # on the peer, not in the copy
    world.report()
    world.resync()
    world.edit(CLOUD, "c")
    before = edge.slots()

    content = edge.backup()
    if harm == "middle":
        content = content[:100] + b"\xa5" * (len(content) - 200) + content[-100:]
    else:
        content = content[: len(content) // 2 if harm == "cut short" else 0]
    folder.database.write_bytes(content)
    opened = open_state(folder)
    opened.store.close()
    assert "set aside as state.db.corrupt-1" in opened.alarms[0]
    assert ("its last good copy took its place" in opened.alarms[0]) is copied

    edge.clock.us = 0
    world.restore(EDGE, folder.database.read_bytes())
    assert edge.slots() != before
    world.resync()
    assert {name: world.stands(name) for name in wanted} == wanted
    assert world.stands("c") is not None
    assert edge.slots().keys() > before.keys()


def as_earlier_release(content, path):
    """A state.db as the release before the last migration wrote it: without the tables of pushes."""
    path.write_bytes(content)
    with sqlite3.connect(path) as db:
        made = db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB 'outbound*'").fetchall()
        for (table,) in made:
            db.execute(f"DROP TABLE {table}")
        number = len(_migrations()) - 1
        db.execute(f"PRAGMA user_version = {number}")
        db.execute(PUT_META, ("schema", number, row_sum("schema", number)))
        tables = schema_sum(db)
        db.execute(PUT_META, ("tables", tables, row_sum("tables", tables)))
    db.close()


def test_a_release_that_comes_back_after_a_later_one_has_its_twins_and_the_rest_from_its_peer(world, tmp_path):
    folder = StateFolder(tmp_path / "state")
    folder.make()
    world.edit(EDGE, "a")
    world.report()
    world.resync()
    as_earlier_release(world.sides[EDGE].backup(), folder.database)
    earlier = dump(folder.database)
    later = open_state(folder)
    later.store.close()
    assert later.alarms == ()
    assert dump(folder.database_before) == earlier != dump(folder.database)

    wanted = {"a": world.edit(EDGE, "a"), "b": world.edit(EDGE, "b")}  # while the later one ran
    world.resync()
    with sqlite3.connect(folder.database) as db:  # the way back: to this release, from one that is later still
        db.execute("PRAGMA user_version = 99")
        db.execute(PUT_META, ("schema", 99, row_sum("schema", 99)))
    db.close()
    opened = open_state(folder)
    opened.store.close()
    assert "set aside as state.db.later-1" in opened.alarms[0]
    assert "desired values written since then are lost" in opened.alarms[0]
    assert dump(folder.database_before) == earlier  # it was of an earlier release, so it is kept again

    world.sides[EDGE].clock.us = 0
    world.restore(EDGE, folder.database.read_bytes())
    world.resync()
    assert {name: world.stands(name) for name in wanted} == wanted


def test_without_what_it_had_a_release_refuses_the_file_of_a_later_one(world, tmp_path):
    folder = StateFolder(tmp_path / "state")
    folder.make()
    folder.database.write_bytes(world.sides[EDGE].backup())
    with sqlite3.connect(folder.database) as db:
        db.execute("PRAGMA user_version = 99")
        db.execute(PUT_META, ("schema", 99, row_sum("schema", 99)))
    db.close()
    with pytest.raises(StoreTooNew):
        open_state(folder)
    assert not list(folder.path.glob("state.db.later*"))


def dump(path):
    with sqlite3.connect(path) as db:
        said = list(db.iterdump())
    db.close()
    return said
