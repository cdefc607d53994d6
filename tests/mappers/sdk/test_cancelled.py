"""Time-outs around libraries that have a CancelledError of their own: nobody who is not to end may end by it."""

import asyncio

import pytest

from mappers.sdk import NotConnected, Within
from mappers.sdk.bus import Budget, Bus
from twin.clock import SystemClock

pytestmark = pytest.mark.fast


class Own(asyncio.CancelledError):
    """As wait_for2 has one."""


async def library() -> None:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        raise Own from None


async def plain() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("call", [library, plain])
async def test_time_that_is_over_is_a_timeout_whatever_the_library_raises(call):
    with pytest.raises(TimeoutError):
        async with Within(0):
            await call()
    assert not asyncio.current_task().cancelling()


@pytest.mark.parametrize("call", [library, plain])
@pytest.mark.parametrize("time_s", [0, 60])
async def test_a_task_that_is_to_end_ends_also_if_its_time_is_over_too(call, time_s):
    ended: list[str] = []

    async def work() -> None:
        try:
            async with Within(time_s):
                asyncio.current_task().cancel()
                await call()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    task = asyncio.get_running_loop().create_task(work())
    await asyncio.wait({task})
    assert task.cancelled()
    assert ended == ["cancelled"]


async def test_what_else_goes_wrong_passes():
    with pytest.raises(ZeroDivisionError):
        async with Within(60) as limit:
            1 / 0  # noqa: B018
    assert not limit.expired()


class Hung:
    """A driver whose library never answers."""

    connect = close = staticmethod(library)


async def test_a_driver_over_such_a_library_times_out_and_the_one_who_asked_goes_on():
    bus = Bus("line", Hung(), SystemClock(), Budget(connect_s=0.01))
    with pytest.raises(NotConnected, match="took longer than"):
        await bus.connect()
    await bus.close()
