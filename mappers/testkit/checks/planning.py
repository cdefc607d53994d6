"""Plans: pure, and good for as long as their settings."""

from __future__ import annotations

import asyncio

from mappers.sdk.driver import Point, PointConfig
from mappers.testkit.bench import Bench, alike
from mappers.testkit.line import Ability
from mappers.testkit.promise import Promises, Want

ALL = Promises()


@ALL()
async def planning_does_no_io(bench: Bench) -> None:
    """A plan is made before there is a connection, and opens none."""
    driver = bench.driver()
    before = set(asyncio.all_tasks())
    bench.plan(driver)
    assert set(asyncio.all_tasks()) == before, "plan starts a task"
    if Ability.COUNT in bench.line.abilities:
        await asyncio.sleep(0.02)
        assert bench.line.standing == 0, "plan opens a connection"


@ALL()
async def planning_changes_nothing_it_was_given(bench: Bench) -> None:
    """Points and device are as they were after planning."""
    driver = bench.driver()
    points = [bench.point(one) for one in bench.points]
    kept = list(points)
    before = [(one.name, one.type, one.address.model_dump()) for one in points]
    driver.plan(bench.device, points)
    assert points == kept
    assert [(one.name, one.type, one.address.model_dump()) for one in points] == before


@ALL()
async def a_plan_of_nothing_reads_nothing(bench: Bench) -> None:
    """A device without points is no error."""
    driver = await bench.connected()
    readings = await bench.ends(driver.read(driver.plan(bench.device, [])), "read of nothing")
    assert not readings.values
    assert not readings.faults


@ALL()
async def plans_do_not_mix(bench: Bench) -> None:
    """Plans of different points, read in turn, each give their own."""
    driver = await bench.connected()
    first, second = bench.points[:2]
    plans = [bench.plan(driver, first), bench.plan(driver, second), bench.plan(driver, first, second)]
    wanted = {first.key: await bench.put(first, 0), second.key: await bench.put(second, 1)}
    await bench.reads(driver, first, wanted[first.key])
    await bench.reads(driver, second, wanted[second.key])
    for _ in range(2):
        for plan, names in zip(plans, ({first.key}, {second.key}, {first.key, second.key}), strict=True):
            readings = await bench.ends(driver.read(plan), "read")
            assert readings.values.keys() | readings.faults.keys() == names
            assert all(alike(readings.values[name], wanted[name]) for name in names), readings


@ALL()
async def two_names_for_one_point_are_both_read(bench: Bench) -> None:
    """The same address under two names is two points."""
    driver = await bench.connected()
    wired = bench.points[0]
    wanted = await bench.put(wired, 1)
    await bench.reads(driver, wired, wanted)
    plan = driver.plan(bench.device, [bench.point(wired, "one"), bench.point(wired, "other")])
    readings = await bench.ends(driver.read(plan), "read")
    assert readings.values.keys() == {"one", "other"}, readings


@ALL()
async def a_plan_outlives_a_reconnect(bench: Bench) -> None:
    """A plan made once is read after each connect."""
    driver = bench.driver()
    wired = bench.points[0]
    plan = bench.plan(driver, wired)
    for number in (0, 1):
        await bench.ends(driver.connect(), "connect")
        wanted = await bench.put(wired, number)
        await bench.reads(driver, wired, wanted)
        readings = await bench.ends(driver.read(plan), "read")
        assert alike(readings.values.get(wired.key), wanted), readings
        await bench.ends(driver.close(), "close")


@ALL(Want.MISSING)
async def a_point_that_cannot_be_is_planned_all_the_same(bench: Bench) -> None:
    """What the device has not is found out by reading, not by planning."""
    wired = bench.points[0]
    missing = bench.adapter.missing
    assert missing is not None
    points: list[Point[PointConfig]] = [bench.point(wired), bench.at("missing", wired.type, missing)]
    bench.driver().plan(bench.device, points)
