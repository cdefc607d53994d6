"""Reads: every point answered, and by the truth."""

from __future__ import annotations

import time
from typing import Any, Final

from mappers.sdk.convert import Converter, Scaling
from mappers.sdk.driver import Readings
from mappers.sdk.errors import DeviceTimeout, MapperError
from mappers.testkit.bench import Bench, alike
from mappers.testkit.promise import Promises, Want
from twin.model import PropertySpec, Reason
from twin.validate import Rule

ALL = Promises()

_NAMES: Final = ("A_b.C,d:e/f@g#h-1", "x" * 128, "0")
_TEXTS: Final = ("häll", "日本語", "🚢 ahoy", "a b", "")


@ALL()
async def it_reads_what_the_peer_has(bench: Bench) -> None:
    """Every point, first with one value, then with another."""
    driver = await bench.connected()
    for number in (0, 1):
        for wired in bench.points:
            wanted = await bench.put(wired, number)
            try:
                await bench.reads(driver, wired, wanted)
            except TimeoutError:
                readings = await bench.read(driver, wired)
                message = f"{wired.key} is read as {readings}, the peer has {wanted!r}"
                raise AssertionError(message) from None


@ALL()
async def it_reads_all_points_at_once(bench: Bench) -> None:
    """A plan of all points gives each its own value."""
    driver = await bench.connected()
    wanted = {wired.key: await bench.put(wired, number % 2) for number, wired in enumerate(bench.points)}
    for wired in bench.points:
        await bench.reads(driver, wired, wanted[wired.key])
    readings = await bench.read(driver)
    wrong = {key: readings.values.get(key) for key in wanted if not alike(readings.values.get(key), wanted[key])}
    assert not wrong, f"{wrong} instead of {wanted}"


@ALL()
async def every_point_is_answered_and_no_other(bench: Bench) -> None:
    """Each planned point has a value or a fault; nobody else has."""
    driver = await bench.connected()
    readings = await bench.read(driver)
    names = readings.values.keys() | readings.faults.keys()
    assert names == {one.key for one in bench.points}, f"answered are {sorted(names)}"
    assert readings.times_ms.keys() <= names


@ALL()
async def values_fit_their_types(bench: Bench) -> None:
    """What is read passes the SDK's check of the property's type, unscaled."""
    driver = await bench.connected()
    for wired in bench.points:
        wanted = await bench.put(wired, 1)
        await bench.reads(driver, wired, wanted)
        readings = await bench.read(driver, wired)
        rule = Rule(PropertySpec(wired.key, wired.type))
        sample = Converter({wired.key: (Scaling(wired.type), rule)}).sample(readings)
        assert not sample.marks, f"{wired.key}: {readings.values} is no {wired.type}: {sample.marks}"


@ALL()
async def names_mean_nothing_to_it(bench: Bench) -> None:
    """A property's name may be any; the address says where the value is."""
    driver = await bench.connected()
    wired = bench.points[0]
    await bench.reads(driver, wired, await bench.put(wired, 0))
    plan = driver.plan(bench.device, [bench.point(wired, name) for name in _NAMES])
    readings = await bench.ends(driver.read(plan), "read")
    assert readings.values.keys() == set(_NAMES), readings


@ALL(Want.TEXT)
async def texts_are_any_texts(bench: Bench) -> None:
    """Text comes through as it is, whatever the alphabet."""
    driver = await bench.connected()
    wired = next(one for one in bench.points if one.key == bench.adapter.text)
    for text in _TEXTS:
        await bench.peer.set(wired.key, text)
        await bench.reads(driver, wired, text)


@ALL()
async def a_huge_batch_is_read(bench: Bench) -> None:
    """Many points at once are read as well, in as many requests as that takes."""
    driver = await bench.connected()
    count = bench.adapter.batch
    wanted = {wired.key: await bench.put(wired, 0) for wired in bench.points}
    for wired in bench.points:
        await bench.reads(driver, wired, wanted[wired.key])
    names = {f"p{number}": bench.points[number % len(bench.points)] for number in range(count)}
    plan = driver.plan(bench.device, [bench.point(wired, name) for name, wired in names.items()])
    readings = await bench.ends(driver.read(plan), f"read of {count} points")
    assert len(readings.values) == count, f"{len(readings.values)} of {count} have values"
    assert all(alike(readings.values[name], wanted[wired.key]) for name, wired in names.items())


@ALL()
async def earlier_readings_stay_as_they_were(bench: Bench) -> None:
    """A driver lets go of what it gave: the next read changes nothing in it."""
    driver = await bench.connected()
    wired = bench.points[0]
    plan = bench.plan(driver, wired)
    first = await bench.put(wired, 0)
    await bench.reads(driver, wired, first)
    kept = await bench.ends(driver.read(plan), "read")
    await bench.reads(driver, wired, await bench.put(wired, 1))
    await bench.ends(driver.read(plan), "read")
    assert alike(kept.values.get(wired.key), first), "an earlier result was changed by a later read"


@ALL(Want.MISSING)
async def a_fault_stays_with_its_point(bench: Bench) -> None:
    """A point that the device has not is a fault of that point; its neighbours are read."""
    driver = await bench.connected()
    readings = await _with_missing(bench, driver)
    assert "missing" not in readings.values or "missing" in readings.faults, "a point that is not there has a value"
    for wired in bench.points:
        assert wired.key in readings.values, f"{wired.key} is not read beside one that is missing: {readings.faults}"


@ALL(Want.MISSING)
async def faults_have_words(bench: Bench) -> None:
    """A fault says why, with a reason and a text that names the point or its place."""
    driver = await bench.connected()
    fault = (await _with_missing(bench, driver)).faults["missing"]
    assert fault.reason is not Reason.NONE
    assert fault.text, "a fault without a text"


@ALL(Want.MISSING)
async def a_fault_is_found_each_time(bench: Bench) -> None:
    """The second read of a missing point is as the first, and the connection stands."""
    driver = await bench.connected()
    for _ in range(3):
        assert "missing" in (await _with_missing(bench, driver)).faults
    await bench.well(driver)


@ALL(Want.ABSENT)
async def a_silent_device_is_a_time_out(bench: Bench) -> None:
    """A device that is not there, on a connection that stands, is a DeviceTimeout: the others are served on."""
    driver = await bench.connected()
    await bench.fails(driver.read(_absent(bench, driver)), "read of a silent device", DeviceTimeout)


@ALL(Want.ABSENT)
async def a_silent_device_leaves_the_others_alone(bench: Bench) -> None:
    """After a silent device the others are read without a reconnect, and right."""
    driver = await bench.connected()
    await bench.well(driver)
    for _ in range(2):
        await bench.fails(driver.read(_absent(bench, driver)), "read of a silent device", DeviceTimeout)
        await bench.well(driver)


@ALL()
async def times_are_of_this_age(bench: Bench) -> None:
    """If the device says when it had a value, that is in milliseconds since 1970."""
    driver = await bench.connected()
    for wired in bench.points:
        await bench.reads(driver, wired, await bench.put(wired, 0))
    readings = await bench.read(driver)
    now_ms = time.time() * 1000
    strange = {name: one for name, one in readings.times_ms.items() if abs(one - now_ms) > 86_400_000}
    assert not strange, f"source times that are not of today: {strange}"


@ALL()
async def reading_before_connect_is_not_connected(bench: Bench) -> None:
    """Nothing is opened behind the runner's back."""
    driver = bench.driver()
    await bench.fails(driver.read(bench.plan(driver)), "a read before connect", *bench.gone)


@ALL()
async def reading_after_close_is_not_connected(bench: Bench) -> None:
    """A closed driver reads nothing, not even what it remembers."""
    driver = await bench.connected()
    await bench.read(driver)
    await bench.ends(driver.close(), "close")
    await bench.fails(driver.read(bench.plan(driver)), "a read after close", *bench.gone)


async def _with_missing(bench: Bench, driver: Any) -> Readings:
    missing = bench.adapter.missing
    assert missing is not None
    points = [bench.point(one) for one in bench.points]
    points.insert(1, bench.at("missing", bench.points[0].type, missing))
    plan = driver.plan(bench.device, points)
    try:
        readings: Readings = await bench.ends(driver.read(plan), "read with a missing point")
    except MapperError as error:
        message = f"one missing point fails the whole read: {error}"
        raise AssertionError(message) from error
    return readings


def _absent(bench: Bench, driver: Any) -> object:
    absent = bench.adapter.absent
    assert absent is not None
    device = bench.mapper.device.model_validate(dict(absent))
    return driver.plan(device, [bench.point(one) for one in bench.points])
