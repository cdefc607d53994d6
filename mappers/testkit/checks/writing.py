"""Writes: they reach the device, or are raised."""

from __future__ import annotations

import asyncio
import math
from typing import Final

from mappers.sdk.errors import MapperError, WriteRefused
from mappers.testkit.bench import Bench, alike
from mappers.testkit.line import Ability
from mappers.testkit.promise import Promises, Want
from twin.model import Value, ValueType

ALL = Promises()

_ARRIVES_S: Final = 0.5
_NUMBERS: Final = (ValueType.INT, ValueType.FLOAT, ValueType.DOUBLE)


@ALL(Want.WRITABLE)
async def a_write_reaches_the_device(bench: Bench) -> None:
    """The peer itself has what was written."""
    driver = await bench.connected()
    for wired in bench.points:
        for value in wired.values if wired.writable else ():
            await bench.write(driver, wired, value)
            await _has(bench, wired.key, value)


@ALL(Want.WRITABLE)
async def what_was_written_is_read_back(bench: Bench) -> None:
    """A read after a write gives what the device has then."""
    driver = await bench.connected()
    wired = bench.writable
    for value in (*wired.values, wired.values[0]):
        await bench.write(driver, wired, value)
        await bench.reads(driver, wired, value)


@ALL(Want.WRITABLE)
async def what_is_read_is_the_device_and_not_what_was_written(bench: Bench) -> None:
    """A value that the device changes after the write is read as it is."""
    driver = await bench.connected()
    wired = bench.writable
    await bench.write(driver, wired, wired.values[0])
    await bench.reads(driver, wired, wired.values[0])
    changed = await bench.put(wired, 1)
    await bench.reads(driver, wired, changed)


@ALL(Want.WRITABLE)
async def the_last_of_many_writes_stands(bench: Bench) -> None:
    """Writes are made in their order."""
    driver = await bench.connected()
    wired = bench.writable
    for number in range(7):
        await bench.write(driver, wired, wired.values[number % 2])
    await _has(bench, wired.key, wired.values[0])


@ALL(Want.WRITABLE)
async def a_write_touches_nothing_else(bench: Bench) -> None:
    """The other points have after a write what they had before."""
    driver = await bench.connected()
    wired = bench.writable
    others = [one for one in bench.points if one is not wired]
    before = {one.key: await bench.put(one, 1) for one in others}
    for one in others:
        await bench.reads(driver, one, before[one.key])
    await bench.write(driver, wired, wired.values[1])
    for one in others:
        await bench.reads(driver, one, before[one.key])


@ALL(Want.LOCKED)
async def a_read_only_point_refuses_a_write(bench: Bench) -> None:
    """What cannot be written is WriteRefused, and the connection stands."""
    driver = await bench.connected()
    locked = bench.adapter.locked
    assert locked is not None
    wired = bench.points[0]
    point = bench.at("locked", wired.type, locked)
    await bench.read(driver)
    write = driver.write(bench.device, point, wired.values[0])
    await bench.fails(write, "a write of a read-only point", WriteRefused)
    await bench.well(driver)


@ALL(Want.LOCKED)
async def a_refused_write_says_what_and_why(bench: Bench) -> None:
    """The error names the property."""
    driver = await bench.connected()
    locked = bench.adapter.locked
    assert locked is not None
    wired = bench.points[0]
    point = bench.at("LockedOne", wired.type, locked)
    write = driver.write(bench.device, point, wired.values[0])
    error = await bench.fails(write, "a write of a read-only point", WriteRefused)
    assert "LockedOne" in error.message, f"the property is not named: {error.message}"


@ALL(Want.WRITABLE)
async def a_value_of_another_type_is_refused(bench: Bench) -> None:
    """A text for a number, or a number for a text, is WriteRefused; the device is as it was."""
    driver = await bench.connected()
    wired = next((one for one in bench.points if one.writable and one.type in _NUMBERS), bench.writable)
    await bench.write(driver, wired, wired.values[0])
    wrong: Value = "no number" if wired.type in _NUMBERS or wired.type is ValueType.BOOLEAN else {"no": "text"}
    write = driver.write(bench.device, bench.point(wired), wrong)
    await bench.fails(write, f"a write of {wrong!r} to a {wired.type}", WriteRefused)
    await _has(bench, wired.key, wired.values[0])
    await bench.well(driver)


@ALL(Want.WRITABLE)
async def odd_values_are_written_or_refused(bench: Bench) -> None:
    """Numbers without end, and ones that no device has room for, are an answer and not a crash."""
    driver = await bench.connected()
    wired = next((one for one in bench.points if one.writable and one.type in _NUMBERS), bench.writable)
    odd: tuple[Value, ...] = (math.nan, math.inf, -math.inf, 10**30, -(10**30), None, [], {}, "\ud800", "\x00")
    for value in odd:
        try:
            await bench.write(driver, wired, value)
        except WriteRefused:
            continue
        except MapperError as error:
            message = f"{value!r} ends in {type(error).__name__}, not in WriteRefused: {error}"
            raise AssertionError(message) from error
        except AssertionError:
            raise
        except Exception as error:
            message = f"{value!r} ends in {type(error).__name__}, which is no MapperError: {error}"
            raise AssertionError(message) from error
    await bench.write(driver, wired, wired.values[1])
    await bench.reads(driver, wired, wired.values[1])


@ALL(Want.WRITABLE)
async def writing_before_connect_is_not_connected(bench: Bench) -> None:
    """Nothing is opened behind the runner's back."""
    driver = bench.driver()
    wired = bench.writable
    write = driver.write(bench.device, bench.point(wired), wired.values[0])
    await bench.fails(write, "a write before connect", *bench.gone)


@ALL(Ability.FREEZE, Want.WRITABLE)
async def a_write_that_nobody_answers_is_raised(bench: Bench) -> None:
    """A write is done when the device says so, not when it was sent."""
    driver = await bench.connected()
    await bench.read(driver)
    wired = bench.writable
    bench.line.freeze()
    write = driver.write(bench.device, bench.point(wired), wired.values[0])
    await bench.fails(write, "a write that nobody answers", MapperError)
    await bench.line.mend()
    await bench.well_again(driver)


async def _has(bench: Bench, key: str, wanted: Value) -> None:
    """Wait a moment for it: a protocol without answers to writes has the runner's read-back for proof."""
    deadline_s = asyncio.get_running_loop().time() + _ARRIVES_S
    found = await bench.peer.get(key)
    while not alike(found, wanted) and asyncio.get_running_loop().time() < deadline_s:
        await asyncio.sleep(0.005)
        found = await bench.peer.get(key)
    assert alike(found, wanted), f"{wanted!r} was written to {key}, the peer has {found!r}"
