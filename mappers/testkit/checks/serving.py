"""The driver as a gateway runs it: the SDK's own runner over a broker in memory."""

from __future__ import annotations

from typing import Any

from mappers.sdk.config import ConnectionSettings, DeviceSettings, PointSettings
from mappers.sdk.simulate import simulated, simulator
from mappers.testkit.adapter import Wired
from mappers.testkit.bench import Bench, alike
from mappers.testkit.line import Ability
from mappers.testkit.promise import Promises, Want
from mappers.testkit.served import Served, served
from twin.clock import SystemClock
from twin.model import Access, Quality, Reason, Value

ALL = Promises()

_CYCLE_MS = 50


def settings_of(bench: Bench, **more: PointSettings) -> ConnectionSettings:
    """All points of the adapter on one device, and further ones by name."""
    points = [
        PointSettings(
            property=wired.key,
            type=wired.type,
            access=Access.READ_WRITE if wired.writable else Access.READ_ONLY,
            cycle_ms=_CYCLE_MS,
            visitor=dict(wired.visitor),
        )
        for wired in bench.points
    ]
    device = DeviceSettings(
        twin="device/default/tried", address=dict(bench.adapter.device), points=(*points, *more.values())
    )
    config = dict(bench.adapter.connection(bench.line))
    return ConnectionSettings(name="default/tried", mapper=bench.mapper.name, config=config, devices=(device,))


async def _told(bench: Bench, gateway: Served, wired: Wired, wanted: Value) -> None:
    said = await gateway.until(
        lambda: alike(gateway.values.get(wired.key), wanted) and wired.key not in gateway.marks, bench.patience_s * 3
    )
    assert said, f"{wired.key} is not reported as {wanted!r}: {gateway}"


@ALL()
async def first_values_are_reported(bench: Bench) -> None:
    """Soon after the start the twin has every point, in good quality."""
    wanted = {wired.key: await bench.put(wired, 0) for wired in bench.points}
    async with served(bench, settings_of(bench)) as gateway:
        for wired in bench.points:
            await _told(bench, gateway, wired, wanted[wired.key])


@ALL(Ability.REFUSE)
async def a_loss_makes_every_value_bad(bench: Bench) -> None:
    """When the device is gone nothing stays good, and every mark has a reason of the line."""
    async with served(bench, settings_of(bench)) as gateway:
        for wired in bench.points:
            await _told(bench, gateway, wired, await bench.put(wired, 0))
        await bench.line.refuse()
        keys = {one.key for one in bench.points}
        lost = await gateway.until(
            lambda: all(key in gateway.marks and gateway.marks[key].quality is Quality.BAD for key in keys),
            bench.patience_s * 3,
        )
        assert lost, f"still good after the loss: {keys - gateway.marks.keys()}"
        reasons = {mark.reason for mark in gateway.marks.values()}
        assert reasons <= {Reason.NOT_CONNECTED, Reason.TIMEOUT, Reason.DEVICE_FAILURE}, reasons


@ALL(Ability.REFUSE)
async def values_after_a_loss_are_reported_though_they_are_the_same(bench: Bench) -> None:
    """The first value after a reconnect is news, whatever it is."""
    async with served(bench, settings_of(bench)) as gateway:
        wired = bench.points[0]
        wanted = await bench.put(wired, 1)
        await _told(bench, gateway, wired, wanted)
        await bench.line.refuse()
        assert await gateway.until(lambda: wired.key in gateway.marks, bench.patience_s * 3), "the loss is not reported"
        count = gateway.count(wired.key)
        await bench.line.mend()
        back = await gateway.until(lambda: gateway.count(wired.key) > count, bench.patience_s * 5)
        assert back, "the value after the reconnect is not reported"
        await _told(bench, gateway, wired, wanted)


@ALL(Want.WRITABLE)
async def a_desired_value_is_written_and_reported(bench: Bench) -> None:
    """The device has it, and the twin says so after the read-back."""
    wired = bench.writable
    await bench.put(wired, 0)
    async with served(bench, settings_of(bench)) as gateway:
        await _told(bench, gateway, wired, wired.values[0])
        gateway.desire(wired.key, wired.values[1])
        await _told(bench, gateway, wired, wired.values[1])
        found = await bench.peer.get(wired.key)
        assert alike(found, wired.values[1]), f"reported is {wired.values[1]!r}, the peer has {found!r}"


@ALL(Want.LOCKED)
async def a_desired_value_that_is_refused_is_marked(bench: Bench) -> None:
    """What the device does not take is bad (write_refused), and what it has stays known."""
    wired, locked = bench.points[0], bench.adapter.locked
    assert locked is not None
    extra = PointSettings(
        property="locked", type=wired.type, access=Access.READ_WRITE, cycle_ms=_CYCLE_MS, visitor=dict(locked)
    )
    async with served(bench, settings_of(bench, locked=extra)) as gateway:
        assert await gateway.until(lambda: "locked" in gateway.values, bench.patience_s * 3), "it cannot be read"
        has = gateway.values["locked"]
        gateway.desire("locked", wired.values[0] if not alike(has, wired.values[0]) else wired.values[1])
        refused = await gateway.until(
            lambda: "locked" in gateway.marks and gateway.marks["locked"].reason is Reason.WRITE_REFUSED,
            bench.patience_s * 3,
        )
        assert refused, f"a write that was refused is not marked: {gateway}"


@ALL()
async def simulated_devices_need_no_peer(bench: Bench) -> None:
    """With `simulate: true` values move and writes work; the driver is never made."""
    settings = settings_of(bench)

    def untouched(_: Any) -> Any:
        message = "the driver of a simulated device was made"
        raise AssertionError(message)

    async with served(bench, settings, driver=simulator(SystemClock()), bound=simulated, make=untouched) as gateway:
        keys = {one.key for one in bench.points}
        assert await gateway.until(lambda: keys <= gateway.values.keys(), bench.patience_s), f"no values: {gateway}"
        assert not gateway.marks, gateway.marks
