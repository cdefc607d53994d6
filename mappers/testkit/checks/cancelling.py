"""Cancellation: the runner ends any call at any time, and the next one must not notice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from mappers.sdk.errors import MapperError, NotConnected
from mappers.testkit.adapter import Wired
from mappers.testkit.bench import Bench, alike
from mappers.testkit.line import Ability
from mappers.testkit.promise import Promises, Want
from twin.model import Value

ALL = Promises()

_SOON_S: Final = 1.0
_STEPS: Final = (0, 1, 2, 3, 5, 8, 13, 21)
"""Turns of the event loop that a call gets before it is cancelled."""


@ALL(Ability.FREEZE)
async def a_cancelled_connect_ends_at_once_and_leaves_nothing(bench: Bench) -> None:
    """Connect while nobody answers, cancelled: it ends, and a new one is as good as the first."""
    driver = bench.driver()
    bench.line.freeze()
    await _cancelled(driver.connect(), "connect", may_end=True)
    await bench.ends(driver.close(), "close")
    await bench.line.mend()
    await bench.well_again(driver)


@ALL(Ability.FREEZE)
async def a_cancelled_read_ends_at_once(bench: Bench) -> None:
    """A read that waits, cancelled: CancelledError, at once, and nothing else."""
    driver = await bench.connected()
    await bench.read(driver)
    bench.line.freeze()
    await _cancelled(driver.read(bench.plan(driver)), "read")
    await bench.line.mend()
    await bench.well_again(driver)


@ALL(Ability.FREEZE, Want.WRITABLE)
async def a_cancelled_write_ends_at_once(bench: Bench) -> None:
    """The same for a write."""
    driver = await bench.connected()
    await bench.read(driver)
    wired = bench.writable
    bench.line.freeze()
    await _cancelled(driver.write(bench.device, bench.point(wired), wired.values[0]), "write")
    await bench.line.mend()
    await bench.well_again(driver)


@ALL()
async def a_read_cancelled_anywhere_harms_no_later_one(bench: Bench) -> None:
    """The answer to a cancelled request is not taken for that of the next."""
    driver = await bench.connected()
    first, second = bench.points[:2]
    wanted = await bench.put(first, 0)
    await bench.put(second, 1)
    await bench.reads(driver, first, wanted)
    for step in _STEPS:
        await _cancelled_after(step, driver.read(bench.plan(driver, second)))
        await _right(bench, driver, lambda: _reads_at_once(bench, driver, first, wanted))


@ALL(Want.WRITABLE)
async def a_write_cancelled_anywhere_harms_no_later_call(bench: Bench) -> None:
    """Whether it came through or not: what is read next is what the device has."""
    driver = await bench.connected()
    wired = bench.writable
    for step in _STEPS:
        value = wired.values[step % 2]
        await _cancelled_after(step, driver.write(bench.device, bench.point(wired), value))
        await _right(bench, driver, lambda: bench.write(driver, wired, wired.values[0]))
        await _right(bench, driver, lambda: bench.reads(driver, wired, wired.values[0]))


@ALL()
async def a_connect_cancelled_anywhere_leaves_nothing(bench: Bench) -> None:
    """Cancelled at any point of its way, it can be closed and made anew."""
    driver = bench.driver()
    for step in _STEPS:
        await _cancelled_after(step, driver.connect())
        await bench.ends(driver.close(), "close")
    await bench.well_again(driver)


@ALL()
async def a_close_cancelled_anywhere_can_be_made_again(bench: Bench) -> None:
    """The host may be in a hurry: a second close finishes what the first began."""
    driver = bench.driver()
    for step in _STEPS[:5]:
        await bench.ends(driver.connect(), "connect")
        await bench.read(driver, bench.points[0])
        await _cancelled_after(step, driver.close())
        await bench.ends(driver.close(), "close")
    await bench.well_again(driver)


async def _reads_at_once(bench: Bench, driver: Any, wired: Wired, wanted: Value) -> None:
    readings = await bench.read(driver, wired)
    found = readings.values.get(wired.key)
    right = wired.key in readings.faults or alike(found, wanted)
    assert right, f"after a cancelled call {found!r} is read, the peer has {wanted!r}"


async def _cancelled(call: Awaitable[Any], what: str, *, may_end: bool = False) -> None:
    """Cancel a call that waits, and see it end as cancelled."""
    task = asyncio.ensure_future(call)
    await asyncio.sleep(0.05)
    if task.done():
        if not may_end:
            task.result()  # raises what came instead, or:
            message = f"{what} did not wait for the peer's answer"
            raise AssertionError(message)
        task.exception()
        return
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=_SOON_S)
    assert done, f"{what} goes on for more than {_SOON_S:g} s after it was cancelled"
    assert task.cancelled(), f"{what} swallows its cancellation: it ended with {task.exception() or task.result()!r}"


async def _cancelled_after(turns: int, call: Awaitable[Any]) -> None:
    task = asyncio.ensure_future(call)
    for _ in range(turns):
        await asyncio.sleep(0)
    ended = task.done()
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=_SOON_S)
    assert done, f"a call goes on for more than {_SOON_S:g} s after it was cancelled"
    if task.cancelled():
        return
    error = task.exception()
    assert error is None or isinstance(error, MapperError), f"a cancelled call raised {error!r}"
    assert ended or error is not None or task.done()


async def _right(bench: Bench, driver: Any, call: Callable[[], Awaitable[None]]) -> None:
    """Make a call that must be right; a connection that a cancellation has cost is made anew first."""
    for attempt in range(2):
        try:
            await call()
        except NotConnected:
            assert not attempt, "it does not come back after a call was cancelled"
            await bench.ends(driver.close(), "close")
            await bench.ends(driver.connect(), "connect")
        except TimeoutError:
            message = "after a cancelled call another value is read than the peer has"
            raise AssertionError(message) from None
        else:
            return
