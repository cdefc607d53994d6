"""The contract of a push's target, to be run by pytest against each: one suite for ours and for those of others.

    class TestMine(PushContract):
        @asynccontextmanager
        async def served(self):
            async with my_server() as server:
                yield Served(PUSH, {"url": server.url}, server.arrived, server.go, server.come)

``arrived`` gives (device, property, value) of all that has arrived, in order; ``go`` takes the server away, ``come``
brings it back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

from edgehub.push.target import Broken, Delivered, Later, Outcome, Place, PushType, Reading, Refused, Target
from twin.model import Quality, Reason, Value

T0_MS: Final = 1_795_470_660_000
PLACE: Final = Place("gw-1", "plant/contract", timeout_s=5.0)
ENOUGH_S: Final = 30.0

Arrived = Sequence[tuple[str, str, Value]]


@dataclass(frozen=True, slots=True)
class Served:
    """A target's type, its config, and the server that it sends to."""

    type: PushType[Any]
    config: dict[str, Any]
    arrived: Callable[[], Arrived]
    go: Callable[[], Awaitable[None]]
    come: Callable[[], Awaitable[None]]


def readings(*values: Value, first: int = 0) -> list[Reading]:
    """Readings of one property, one after the other."""
    made = []
    for number, value in enumerate(values, start=first):
        at_ms = T0_MS + number
        made.append(Reading(at_ms * 1000 + number, "plant", "tank", "level", "%", "", at_ms, value))
    return made


class PushContract:
    """What every target has to do."""

    def served(self) -> AbstractAsyncContextManager[Served]:
        """A server, and how to reach it; to be given."""
        raise NotImplementedError

    async def test_a_batch_arrives_whole_and_in_order_and_the_next_one_after_it(self) -> None:
        """Delivered means there."""
        async with self.served() as served:
            async with _open(served) as target:
                assert isinstance(await target.send(readings(*map(float, range(20)))), Delivered)
                assert isinstance(await target.send(readings(20.0, 21.0, first=20)), Delivered)
            await _until(lambda: len(served.arrived()) >= 22)
            assert list(served.arrived()) == [("tank", "level", float(number)) for number in range(22)]

    async def test_any_value_and_quality_arrives_or_is_refused_and_the_rest_goes_on(self) -> None:
        """No value ends a target."""
        odd: list[Value] = [True, 'text, with = " and \\ in it\n', {"a": [1, None]}, [], "", 2**70, -0.0, 1e308]
        async with self.served() as served, _open(served) as target:
            for number, value in enumerate(odd):
                outcome = await target.send([readings(value, first=number)[0]._replace(property=f"odd-{number}")])
                assert isinstance(outcome, Delivered | Refused), f"{value!r}: {outcome}"
            bad = readings(None, first=99)[0]._replace(property="odd", quality=Quality.BAD, reason=Reason.TIMEOUT)
            assert isinstance(await target.send([bad]), Delivered | Refused)
            assert isinstance(await target.send(readings(7.5, first=100)), Delivered)
            await _until(lambda: ("tank", "level", 7.5) in served.arrived())

    async def test_a_server_that_is_away_costs_nothing_but_time(self) -> None:
        """What was not delivered is never said to be; once the server is back, it is."""
        async with self.served() as served:
            await served.go()
            assert not isinstance(await _tried(served, readings(1.0)), Delivered | Refused)
            await served.come()
            async with asyncio.timeout(ENOUGH_S):
                while not isinstance(await _tried(served, readings(1.0)), Delivered):  # noqa: ASYNC110  as below
                    await asyncio.sleep(0.1)
            await _until(lambda: ("tank", "level", 1.0) in served.arrived())

    async def test_one_that_is_cancelled_ends_at_once_and_another_can_be_opened(self) -> None:
        """A time-out is a cancellation."""
        async with self.served() as served:
            async with _open(served) as target:
                task = asyncio.ensure_future(target.send(readings(*map(float, range(200)))))
                await asyncio.sleep(0)
                task.cancel()
                done, _ = await asyncio.wait({task}, timeout=ENOUGH_S)
                assert done
            assert isinstance(await _tried(served, readings(3.25, first=500)), Delivered)
            await _until(lambda: ("tank", "level", 3.25) in served.arrived())


def _open(served: Served) -> AbstractAsyncContextManager[Target]:
    return served.type.open(served.type.config.model_validate(served.config), PLACE)


async def _tried(served: Served, batch: Sequence[Reading]) -> Outcome:
    """One try as a sender makes it: what a target raises means later."""
    try:
        async with asyncio.timeout(PLACE.timeout_s), AsyncExitStack() as stack:
            target = await stack.enter_async_context(_open(served))
            return await target.send(batch)
    except Broken:
        raise
    except Exception as error:  # noqa: BLE001  whatever it is, it is tried again
        return Later(repr(error))


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(ENOUGH_S):
        while not condition():  # noqa: ASYNC110  servers have no event that all of them could give
            await asyncio.sleep(0.01)
