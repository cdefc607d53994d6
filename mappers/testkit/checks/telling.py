"""Subscriptions, where the driver has them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from mappers.sdk.capability import Subscribed
from mappers.sdk.driver import Capability, Readings
from mappers.sdk.errors import MapperError, NotConnected
from mappers.testkit.adapter import Wired
from mappers.testkit.bench import Bench, alike
from mappers.testkit.line import Ability
from mappers.testkit.promise import Promises

ALL = Promises()

_CYCLE_MS: Final = 50
_QUIET_S: Final = 0.2


class Ear:
    """A listener that keeps what it was told."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}
        self.faults: dict[str, object] = {}
        self.lost_with: NotConnected | None = None
        self.count = 0

    def tell(self, readings: Readings) -> None:
        """Take readings."""
        self.count += 1
        self.values |= readings.values
        self.faults = {name: one for name, one in self.faults.items() if name not in readings.values}
        self.faults |= readings.faults

    def alive(self) -> None:
        """Take a sign of life."""

    def lost(self, error: NotConnected) -> None:
        """Take a loss."""
        self.lost_with = error

    def knows(self, name: str, wanted: object) -> bool:
        """Whether the newest value is this."""
        return alike(self.values.get(name), wanted)


async def _subscribed(bench: Bench, driver: Any) -> tuple[Ear, Any, Subscribed, list[Wired]]:
    """Subscribe to all points; which of them are told."""
    ear, plan = Ear(), bench.plan(driver)
    agreed = await bench.reached(lambda: driver.subscribe(plan, _CYCLE_MS, ear), "subscribe")
    told = [one for one in bench.points if one.key not in agreed.refused]
    assert told, "every point is refused; raise a MapperError instead"
    return ear, plan, agreed, told


async def _until(bench: Bench, ready: Callable[[], bool], message: str) -> None:
    try:
        async with asyncio.timeout(bench.patience_s):
            while not ready():  # noqa: ASYNC110  # a listener is a plain object
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(message) from None


@ALL(Capability.SUBSCRIBE)
async def present_values_are_told_first(bench: Bench) -> None:
    """What a point has when it is subscribed to is told without a change."""
    driver = await bench.connected()
    wanted = {wired.key: await bench.put(wired, 0) for wired in bench.points}
    ear, _, _, told = await _subscribed(bench, driver)
    for wired in told:
        await _until(bench, lambda: ear.knows(wired.key, wanted[wired.key]), f"{wired.key} is not told: {ear.values}")  # noqa: B023


@ALL(Capability.SUBSCRIBE)
async def changes_are_told(bench: Bench) -> None:
    """What changes at the device comes by itself, each time."""
    driver = await bench.connected()
    ear, _, _, told = await _subscribed(bench, driver)
    for number in (0, 1, 0):
        for wired in told:
            wanted = await bench.put(wired, number)
            await _until(bench, lambda: ear.knows(wired.key, wanted), f"the change of {wired.key} is not told")  # noqa: B023


@ALL(Capability.SUBSCRIBE)
async def what_was_agreed_makes_sense(bench: Bench) -> None:
    """Refused points are of the plan, and silence is bad at some time."""
    driver = await bench.connected()
    _, _, agreed, _ = await _subscribed(bench, driver)
    assert agreed.alive_s > 0
    assert agreed.refused <= {one.key for one in bench.points}


@ALL(Capability.SUBSCRIBE)
async def only_points_of_the_plan_are_told(bench: Bench) -> None:
    """A listener hears of its own points."""
    driver = await bench.connected()
    first, second = bench.points[:2]
    ear = Ear()
    try:
        await bench.ends(driver.subscribe(bench.plan(driver, first), _CYCLE_MS, ear), "subscribe")
    except MapperError:
        first, second = second, first
        await bench.ends(driver.subscribe(bench.plan(driver, first), _CYCLE_MS, ear), "subscribe")
    for number in (0, 1):
        await bench.put(second, number)
        wanted = await bench.put(first, number)
        await _until(bench, lambda: ear.knows(first.key, wanted), f"{first.key} is not told")  # noqa: B023
    assert (ear.values.keys() | ear.faults.keys()) <= {first.key}


@ALL(Capability.SUBSCRIBE)
async def nothing_is_told_after_unsubscribe(bench: Bench) -> None:
    """A plan that is not served any more is silent."""
    driver = await bench.connected()
    ear, plan, _, told = await _subscribed(bench, driver)
    await _until(bench, lambda: ear.count > 0, "nothing is told")
    await bench.ends(driver.unsubscribe(plan), "unsubscribe")
    await asyncio.sleep(_QUIET_S / 4)
    before = ear.count
    for number in (0, 1):
        for wired in told:
            await bench.put(wired, number)
        await asyncio.sleep(_QUIET_S / 2)
    assert ear.count == before, "it tells on after unsubscribe"
    await bench.well(driver)


@ALL(Capability.SUBSCRIBE)
async def nothing_is_told_after_close(bench: Bench) -> None:
    """A closed driver is silent."""
    driver = await bench.connected()
    ear, _, _, told = await _subscribed(bench, driver)
    await _until(bench, lambda: ear.count > 0, "nothing is told")
    await bench.ends(driver.close(), "close")
    before = ear.count
    for number in (0, 1):
        for wired in told:
            await bench.put(wired, number)
        await asyncio.sleep(_QUIET_S / 2)
    assert ear.count == before, "it tells on after close"


@ALL(Capability.SUBSCRIBE)
async def reads_go_on_beside_a_subscription(bench: Bench) -> None:
    """A write is read back while its point is told."""
    driver = await bench.connected()
    await _subscribed(bench, driver)
    await bench.well(driver)


@ALL(Capability.SUBSCRIBE, Ability.CUT)
async def a_loss_is_told(bench: Bench) -> None:
    """Nobody reads a subscribed point: so the driver says that the connection is gone, or that its points are."""
    driver = await bench.connected()
    ear, _, _, told = await _subscribed(bench, driver)
    await _until(bench, lambda: ear.count > 0, "nothing is told")
    await bench.line.cut()
    names = {one.key for one in told}
    lost = lambda: ear.lost_with is not None or names <= ear.faults.keys()  # noqa: E731  # a condition of one line
    await _until(bench, lost, "the loss of the connection is not told")


@ALL(Capability.SUBSCRIBE)
async def a_new_connection_is_subscribed_to_anew(bench: Bench) -> None:
    """The runner subscribes after each connect, with the plan that it has."""
    driver = await bench.connected()
    _, plan, _, _ = await _subscribed(bench, driver)
    await bench.ends(driver.close(), "close")
    await bench.ends(driver.connect(), "connect")
    ear = Ear()
    agreed = await bench.ends(driver.subscribe(plan, _CYCLE_MS, ear), "subscribe")
    wired = next(one for one in bench.points if one.key not in agreed.refused)
    for number in (0, 1):
        wanted = await bench.put(wired, number)
        await _until(bench, lambda: ear.knows(wired.key, wanted), f"{wired.key} is not told after a reconnect")  # noqa: B023


@ALL(Capability.SUBSCRIBE)
async def subscribing_before_connect_is_not_connected(bench: Bench) -> None:
    """Nothing is opened behind the runner's back."""
    driver = bench.driver()
    call = driver.subscribe(bench.plan(driver), _CYCLE_MS, Ear())
    await bench.fails(call, "subscribe before connect", *bench.gone)
