"""Lines that are slow, half-open, cut in mid-answer, or full of noise."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final

from mappers.sdk.errors import DeviceTimeout, MapperError, NotConnected
from mappers.testkit.bench import Bench, alike
from mappers.testkit.line import Ability
from mappers.testkit.promise import Promises

ALL = Promises()

_SHARE: Final = 0.2  # of the driver's time-out: slow, and yet in time
_TICK_S: Final = 0.01
_GAP_S: Final = 0.4  # longer without a turn, and a driver has held up the loop; a busy machine has shorter ones
_LATE: Final = 1.6  # times the driver's time-out
_NOISE_BYTES: Final = 200


@ALL(Ability.DELAY)
async def a_slow_peer_is_waited_for(bench: Bench) -> None:
    """Answers that come late and in time are values."""
    driver = await bench.connected()
    bench.line.delay(_SHARE * bench.adapter.timeout_s)
    wired = bench.points[0]
    for number in (0, 1):
        await bench.reads(driver, wired, await bench.put(wired, number))


@ALL(Ability.DELAY)
async def the_loop_goes_on_meanwhile(bench: Bench) -> None:
    """A driver that waits, and one that reads many points, lets others have their turn."""
    driver = await bench.connected()
    await bench.read(driver)
    loop = asyncio.get_running_loop()
    turns = [loop.time()]

    async def tick() -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            turns.append(loop.time())

    ticking = asyncio.create_task(tick())
    try:
        bench.line.delay(_SHARE * bench.adapter.timeout_s)
        await bench.read(driver)
        await asyncio.sleep(0)
        turns.append(loop.time())
    finally:
        ticking.cancel()
        await asyncio.wait({ticking})
    longest_s = max(after - before for before, after in pairwise(turns))
    assert longest_s < _GAP_S, f"the event loop was held up for {longest_s:.2f} s: block in a thread"


@ALL(Ability.THROTTLE)
async def an_answer_in_crumbs_is_an_answer(bench: Bench) -> None:
    """Bytes may come one by one."""
    driver = await bench.connected()
    wired = bench.points[0]
    wanted = await bench.put(wired, 1)
    await bench.reads(driver, wired, wanted)
    bench.line.throttle(2000)
    await bench.reads(driver, wired, wanted)


@ALL(Ability.DELAY)
async def a_late_answer_is_not_that_of_the_next_request(bench: Bench) -> None:
    """What comes after its time is thrown away: a value is of its own point, or there is none."""
    driver = await bench.connected()
    first, second = bench.points[:2]
    wanted = {first.key: await bench.put(first, 0), second.key: await bench.put(second, 1)}
    await bench.reads(driver, first, wanted[first.key])
    await bench.reads(driver, second, wanted[second.key])
    for _ in range(2):
        bench.line.delay(_LATE * bench.adapter.timeout_s)
        await _read_rightly(bench, driver, wanted)
        await bench.line.mend()
        for wired in (second, first):
            await _read_rightly(bench, driver, {wired.key: wanted[wired.key]})
    await asyncio.sleep(_LATE * bench.adapter.timeout_s)
    await _read_rightly(bench, driver, wanted)
    await bench.well_again(driver)


@ALL(Ability.FREEZE)
async def a_peer_that_says_nothing_ends_connect_in_time(bench: Bench) -> None:
    """A host that takes the connection and never answers is an error after the driver's own time-out."""
    driver = bench.driver()
    bench.line.freeze()

    async def connect_and_read() -> None:
        await driver.connect()
        await driver.read(bench.plan(driver))

    await bench.fails(connect_and_read(), "connect to a silent peer", MapperError)
    await bench.ends(driver.close(), "close")
    await bench.line.mend()
    await bench.well_again(driver)


@ALL(Ability.FREEZE)
async def a_half_open_line_ends_a_read_in_time(bench: Bench) -> None:
    """A connection that stands and carries nothing is an error, each time, and over when the line is."""
    driver = await bench.connected()
    await bench.read(driver)
    bench.line.freeze()
    for _ in range(2):
        await bench.fails(driver.read(bench.plan(driver)), "a read over a half-open line", DeviceTimeout, *bench.gone)
    await bench.line.mend()
    await bench.well_again(driver)


@ALL(Ability.CUT_WITHIN)
async def a_cut_within_an_answer_is_noticed(bench: Bench) -> None:
    """Half an answer is no value, and the next connection begins anew."""
    driver = await bench.connected()
    wired = bench.points[0]
    wanted = await bench.put(wired, 1)
    await bench.reads(driver, wired, wanted)
    for count in (1, 2, 4):
        bench.line.cut_within(count)
        await _read_rightly(bench, driver, {wired.key: wanted})
        await bench.line.mend()
        await bench.well_again(driver)
        await bench.reads(driver, wired, await bench.put(wired, 1))


@ALL(Ability.GARBAGE)
async def garbage_is_no_value(bench: Bench) -> None:
    """Noise on the line ends in errors of ours or in the right values, never in wrong ones."""
    driver = await bench.connected()
    wired = bench.points[0]
    wanted = await bench.put(wired, 1)
    await bench.reads(driver, wired, wanted)
    noise = random.Random(7)
    for _ in range(4):
        bench.line.garbage(noise.randbytes(_NOISE_BYTES))
        await asyncio.sleep(_TICK_S)
        await _read_rightly(bench, driver, {wired.key: wanted})
    await bench.well_again(driver)


@ALL(Ability.GARBAGE, Ability.FREEZE)
async def garbage_in_place_of_an_answer_is_no_value(bench: Bench) -> None:
    """The same while a request waits."""
    driver = await bench.connected()
    wired = bench.points[0]
    wanted = await bench.put(wired, 1)
    await bench.reads(driver, wired, wanted)
    bench.line.freeze()
    reading = asyncio.ensure_future(_read_rightly(bench, driver, {wired.key: wanted}))
    await asyncio.sleep(_TICK_S)
    bench.line.garbage(random.Random(8).randbytes(_NOISE_BYTES))
    await reading
    await bench.line.mend()
    await bench.well_again(driver)


@ALL(Ability.GARBAGE, Ability.FREEZE)
async def garbage_in_place_of_a_greeting_is_an_error(bench: Bench) -> None:
    """The same while it connects."""
    driver = bench.driver()
    bench.line.freeze()

    async def connect_and_read() -> None:
        await driver.connect()
        await driver.read(bench.plan(driver))

    connecting = asyncio.ensure_future(connect_and_read())
    await asyncio.sleep(0.05)
    bench.line.garbage(random.Random(9).randbytes(_NOISE_BYTES))
    await bench.fails(connecting, "connect to a peer that talks nonsense", MapperError)
    await bench.ends(driver.close(), "close")
    await bench.line.mend()
    await bench.well_again(driver)


async def _read_rightly(bench: Bench, driver: Any, wanted: Mapping[str, object]) -> None:
    """Read in time: right values, faults, or a MapperError; after that error, as the runner does, connect anew."""
    points = [bench.point(one) for one in bench.points if one.key in wanted]
    plan = driver.plan(bench.device, points)
    try:
        readings = await bench.ends(driver.read(plan), "read")
    except MapperError as error:
        if isinstance(error, NotConnected):
            await bench.ends(driver.close(), "close")
            await _connect_anew(bench, driver)
        return
    wrong = {name: one for name, one in readings.values.items() if not alike(one, wanted[name])}
    good = wrong.keys() - readings.faults.keys()
    assert not good, f"{ {name: wrong[name] for name in good} } is read, the peer has {wanted}"


async def _connect_anew(bench: Bench, driver: Any) -> None:
    try:
        await bench.ends(driver.connect(), "connect")
    except MapperError:
        await bench.ends(driver.close(), "close")
