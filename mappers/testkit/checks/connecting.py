"""Opening and closing, in every order."""

from __future__ import annotations

import asyncio
from typing import Any

from mappers.sdk.errors import MapperError
from mappers.testkit.bench import CLOSE_S, Bench
from mappers.testkit.line import Ability
from mappers.testkit.promise import Promises, Want

ALL = Promises()

_SLACK_S = 0.5  # for a busy machine
_TIMES = 8


@ALL()
async def it_connects_and_reads(bench: Bench) -> None:
    """The simplest thing works."""
    await bench.well(await bench.connected())


@ALL(Ability.REFUSE)
async def nobody_there_is_said_in_time(bench: Bench) -> None:
    """Without a peer, connect or the first read raises what the mapper calls gone, and nothing else."""
    driver = bench.driver()
    await bench.line.refuse()
    await bench.fails(_connect_and_read(bench, driver), "connect to nobody", *bench.gone)


@ALL(Ability.REFUSE)
async def errors_name_the_place(bench: Bench) -> None:
    """The error says where it looked in vain, so that people find the cable."""
    driver = bench.driver()
    await bench.line.refuse()
    error = await bench.fails(_connect_and_read(bench, driver), "connect to nobody", MapperError)
    place = bench.line.place
    assert place in str(error), f"{place!r} is not in {error!s}"


@ALL(Ability.REFUSE)
async def nobody_there_again_and_again_leaves_nothing(bench: Bench) -> None:
    """The runner tries for weeks: a try that fails leaves nothing open."""
    driver = bench.driver()
    await bench.line.refuse()
    for _ in range(_TIMES):
        await bench.fails(_connect_and_read(bench, driver), "connect to nobody", *bench.gone)
    await bench.line.mend()
    await bench.well_again(driver)


@ALL(Ability.COUNT)
async def connecting_twice_leaves_one_connection(bench: Bench) -> None:
    """A second connect lets go of the first."""
    driver = await bench.connected()
    await bench.read(driver)
    standing = bench.line.standing
    for _ in range(3):
        await bench.ends(driver.connect(), "connect")
    await bench.well(driver)
    await asyncio.sleep(0.05)
    assert bench.line.standing <= standing, f"{bench.line.standing} connections stand after four connects"


@ALL()
async def closing_twice_is_fine(bench: Bench) -> None:
    """Close may be called at any time."""
    driver = await bench.connected()
    await bench.read(driver)
    for _ in range(2):
        await bench.ends(driver.close(), "close")


@ALL()
async def closing_what_was_never_open_is_fine(bench: Bench) -> None:
    """Close before connect does nothing."""
    driver = bench.driver()
    await bench.ends(driver.close(), "close")
    await bench.ends(driver.connect(), "connect")
    await bench.well(driver)


@ALL()
async def it_opens_again_after_close(bench: Bench) -> None:
    """A driver lives longer than its connection."""
    driver = bench.driver()
    for _ in range(2):
        await bench.ends(driver.connect(), "connect")
        await bench.well(driver)
        await bench.ends(driver.close(), "close")


@ALL()
async def many_reconnects_leave_nothing(bench: Bench) -> None:
    """Each connection is let go of as a whole."""
    driver = bench.driver()
    for _ in range(_TIMES):
        await bench.ends(driver.connect(), "connect")
        await bench.read(driver, bench.points[0])
        await bench.ends(driver.close(), "close")


@ALL()
async def two_drivers_stand_side_by_side(bench: Bench) -> None:
    """Two connections to one peer do not disturb each other, and one outlives the other."""
    first, second = await bench.connected(), await bench.connected()
    await bench.well(first)
    await bench.well(second)
    await bench.ends(first.close(), "close")
    await bench.well(second)


@ALL(Ability.CUT)
async def it_comes_back_after_a_cut(bench: Bench) -> None:
    """A connection that was cut is noticed in time, and a new one is as good as the first."""
    driver = await bench.connected()
    await bench.well(driver)
    await bench.line.cut()
    await _until_lost(bench, driver)
    await bench.well_again(driver)


@ALL(Ability.REFUSE)
async def it_comes_back_after_its_peer_was_away(bench: Bench) -> None:
    """A peer that was switched off and on again is read again."""
    driver = await bench.connected()
    await bench.well(driver)
    await bench.line.refuse()
    await _until_lost(bench, driver)
    for _ in range(2):
        await bench.ends(driver.close(), "close")
        await bench.fails(_connect_and_read(bench, driver), "connect to nobody", *bench.gone)
    await bench.line.mend()
    await bench.well_again(driver)


@ALL(Ability.REFUSE, Want.WRITABLE)
async def a_write_to_nobody_is_raised(bench: Bench) -> None:
    """A value that cannot have arrived is no success."""
    driver = await bench.connected()
    await bench.read(driver)
    await bench.line.refuse()
    wired = bench.writable
    kinds = bench.gone
    await bench.fails(bench.write(driver, wired, wired.values[0]), "a write to nobody", *kinds)


@ALL(Ability.CUT)
async def closing_what_was_cut_is_fine(bench: Bench) -> None:
    """Close raises nothing when the peer has hung up."""
    driver = await bench.connected()
    await bench.read(driver)
    await bench.line.cut()
    await bench.ends(driver.close(), "close")


@ALL(Ability.FREEZE)
async def closing_is_quick_when_nobody_answers(bench: Bench) -> None:
    """Close waits for no goodbye: the host ends within two seconds."""
    driver = await bench.connected()
    await bench.read(driver)
    bench.line.freeze()
    await bench.ends(driver.close(), "close")
    assert bench.took_s <= CLOSE_S + _SLACK_S, f"close took {bench.took_s:.1f} s"


@ALL(Ability.FREEZE)
async def closing_during_a_read_ends_it(bench: Bench) -> None:
    """Close from beside a read that waits: neither hangs, neither harms the next connection."""
    driver = await bench.connected()
    await bench.read(driver)
    bench.line.freeze()
    reading = asyncio.ensure_future(driver.read(bench.plan(driver)))
    await asyncio.sleep(0.05)
    await bench.ends(driver.close(), "close")
    await bench.ends(_settled(reading), "a read whose connection was closed")
    await bench.line.mend()
    await bench.well_again(driver)


@ALL(Ability.FREEZE)
async def closing_during_a_connect_ends_it(bench: Bench) -> None:
    """The same for a connect."""
    driver = bench.driver()
    bench.line.freeze()
    connecting = asyncio.ensure_future(driver.connect())
    await asyncio.sleep(0.05)
    await bench.ends(driver.close(), "close")
    await bench.ends(_settled(connecting), "a connect that was closed")
    await bench.ends(driver.close(), "close")
    await bench.line.mend()
    await bench.well_again(driver)


async def _connect_and_read(bench: Bench, driver: Any) -> None:
    """What a runner does first; a driver may leave the look at its device to the first read."""
    try:
        await driver.connect()
        await driver.read(bench.plan(driver))
    finally:
        await driver.close()


async def _until_lost(bench: Bench, driver: Any) -> None:
    """Reads after a loss fail, at the latest when what was under way is over."""
    for _ in range(20):
        try:
            await bench.read(driver)
        except MapperError as error:
            kinds = bench.gone
            names = " or ".join(kind.__name__ for kind in kinds)
            assert isinstance(error, kinds), f"a loss is {names}, not {type(error).__name__}: {error}"
            return
        await asyncio.sleep(0.02)
    message = "a connection that was cut is read on, as if it stood"
    raise AssertionError(message)


async def _settled(task: asyncio.Future[object]) -> None:
    """Wait for a call that may end as it likes, but as a value or a MapperError."""
    try:
        await task
    except MapperError:
        pass
    except asyncio.CancelledError:
        if task.cancelled():
            message = "a call that was closed was cancelled by its driver: raise NotConnected"
            raise AssertionError(message) from None
        raise
