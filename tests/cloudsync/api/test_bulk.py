"""set-where: many twins at once, each for itself."""

import pytest

from tests.cloudsync.api.conftest import tank
from twin.errors import InvalidMessage, InvalidQuery, NotAllowed
from twin.model import Access, PropertySpec, ValueType
from twin.wire.cloud_api import AuditRequest

HALL = "tags.area = 'hall'"


async def _plant(cloud):
    narrow = {"valve": PropertySpec("valve", ValueType.INT, Access.READ_WRITE, minimum=0, maximum=10)}
    for number in range(6):
        labels = [("area", "hall" if number else "yard")]
        if number == 5:
            await cloud.define(tank(f"t{number}"), gateway="gw-1", labels=labels, properties=narrow)
        else:
            await cloud.define(tank(f"t{number}"), gateway=f"gw-{number % 2}", labels=labels)


async def test_all_twins_that_fit_are_set_and_those_that_refuse_say_why(cloud, client_of):
    await _plant(cloud)
    client = await client_of("ann")
    replies = [one async for one in client.set_where(HALL, {"valve": 50})]
    last = replies[-1]
    assert (last.matched, last.done, last.refused, last.finished) == (5, 4, 1, True)
    errors = [error for one in replies for error in one.errors]
    assert [(one.twin, one.error.code) for one in errors] == [("device/plant/t5", "invalid_value")]
    found = await client.query("SELECT name, desired.valve FROM twins")
    assert dict(found.rows) == {"t0": None, "t1": 50, "t2": 50, "t3": 50, "t4": 50, "t5": None}
    audit = (await (await client_of("root")).audit(AuditRequest())).entries
    assert {(one.account, one.action, one.subject) for one in audit} == {
        ("ann", "set-where", "gw-0"),
        ("ann", "set-where", "gw-1"),
    }


async def test_a_dry_run_counts_and_changes_nothing(cloud, client_of):
    await _plant(cloud)
    client = await client_of("ann")
    *_, last = [one async for one in client.set_where(HALL, {"valve": 50}, dry_run=True)]
    assert (last.matched, last.done, last.refused) == (5, 4, 1)
    assert (await client.query("SELECT name FROM twins WHERE desired.valve >= 0")).rows == []


@pytest.mark.parametrize(
    "where",
    ["1 = 1; DROP TABLE leaf", "tags.area = 'x' ORDER BY name", "tags.area = 'x' LIMIT 3", "nothing", "1=1) OR (1=1"],
)
async def test_what_is_no_condition_is_refused(cloud, client_of, where):
    await _plant(cloud)
    client = await client_of("ann")
    with pytest.raises(InvalidQuery):
        [one async for one in client.set_where(where, {"valve": 1})]
    assert (await client.query("SELECT name FROM twins WHERE desired.valve >= 0")).rows == []


async def test_a_bulk_set_of_nothing_and_one_of_a_viewer_are_refused(client_of):
    with pytest.raises(InvalidMessage, match="names no property"):
        [one async for one in (await client_of("ann")).set_where(HALL, {})]
    with pytest.raises(NotAllowed):
        [one async for one in (await client_of("vic")).set_where(HALL, {"valve": 1})]
