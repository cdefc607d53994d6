"""A corrupt file of twins is set aside, and what its last good copy lacks comes back from the other site."""

import pytest

from edgehub.state import StateFolder
from edgehub.state_store import open_state
from tests.twin.feed.world import World
from twin.model import Site

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
