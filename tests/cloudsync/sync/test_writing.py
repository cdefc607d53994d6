"""Desired values written in the cloud: the same rules as at the edge, and ticks that only rise."""

import pytest

from cloudsync.writing import check, set_desired, update
from tests.cloudsync.sync.rig import TANK, desired, frame
from twin.document import DELETED
from twin.errors import InvalidValue, UnknownProperty, UnknownTwin, VersionMismatch
from twin.model import Kind, Section, Site, TwinKey

pytestmark = pytest.mark.fast


def test_a_value_stands_in_the_clouds_slot_with_a_new_version(cloud):
    before = cloud.document().version
    version, _ = cloud.change(lambda turn: set_desired(turn, TANK, {"valve": 40}, by="ann"))
    document = cloud.document()
    slot = document.desired["valve"].cloud
    assert (slot.value, slot.by, slot.at) == (40, "ann", slot.tick // 1000)
    assert document.version == version == before + 1
    assert cloud.state().tick == slot.tick


def test_seen_is_the_tick_of_the_edges_slot(cloud):
    session = cloud.session()
    cloud.say(frame(session, 0, desired(77, 5)))
    cloud.change(lambda turn: set_desired(turn, TANK, {"valve": 40}, by="ann"))
    assert cloud.slots()[Section.DESIRED, "valve", Site.CLOUD].seen == 77


def test_ticks_rise_when_the_clock_steps_back(cloud):
    cloud.change(lambda turn: set_desired(turn, TANK, {"valve": 1}, by="ann"))
    first = cloud.state().tick
    cloud.clock.offset_us = -3_600_000_000
    cloud.change(lambda turn: set_desired(turn, TANK, {"valve": 2}, by="ann"))
    assert cloud.state().tick == first + 1


@pytest.mark.parametrize(
    ("key", "values", "unset", "error"),
    [
        (TANK, {"level": 1}, (), InvalidValue),
        (TANK, {"nothing": 1}, (), UnknownProperty),
        (TANK, {"valve": float("inf")}, (), InvalidValue),
        (TANK, {}, ("valve",), InvalidValue),
        (TwinKey(Kind.DEVICE, "plant", "none"), {"valve": 1}, (), UnknownTwin),
    ],
)
def test_what_breaks_a_rule_is_refused_as_a_whole(cloud, key, values, unset, error):
    before = cloud.document()
    with pytest.raises(error):
        cloud.change(lambda turn: set_desired(turn, key, {"valve": 1, **values}, unset=unset, by="ann"))
    assert cloud.document() == before


def test_a_version_that_is_not_the_current_one_is_refused(cloud):
    version = cloud.document().version
    with pytest.raises(VersionMismatch, match=f"at version {version}, not 99"):
        cloud.change(lambda turn: set_desired(turn, TANK, {"valve": 1}, by="ann", version=99))
    cloud.change(lambda turn: set_desired(turn, TANK, {"valve": 1}, by="ann", version=version))


def test_a_delete_is_a_tombstone_in_the_clouds_slot(cloud):
    cloud.change(lambda turn: set_desired(turn, TANK, {"valve": 1}, by="ann"))
    cloud.change(lambda turn: update(turn, TANK, {"valve": DELETED}, by="ann"))
    assert cloud.slots()[Section.DESIRED, "valve", Site.CLOUD].value is DELETED
    check(cloud.document(), {"valve": 2})


def test_nothing_written_is_no_new_version(cloud):
    version, _ = cloud.change(lambda turn: set_desired(turn, TANK, {}, by="ann"))
    assert version == cloud.document().version == 1
