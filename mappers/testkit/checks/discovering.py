"""Scans, where the driver has them."""

from __future__ import annotations

import contextlib
from typing import Any

from mappers.sdk.capability import FoundDevice, Progress
from mappers.sdk.driver import Capability
from mappers.sdk.errors import MapperError
from mappers.testkit.bench import Bench
from mappers.testkit.line import Ability
from mappers.testkit.promise import Promises

ALL = Promises()


async def _found(bench: Bench, driver: Any, told: list[Progress]) -> list[FoundDevice]:
    async def search() -> list[FoundDevice]:
        wanted = bench.mapper.scan.model_validate(dict(bench.adapter.scan))
        async with contextlib.aclosing(driver.discover(wanted, told.append)) as found:
            return [one async for one in found]

    return await bench.ends(search(), "a scan")


@ALL(Capability.DISCOVER)
async def a_scan_finds_what_documents_can_say(bench: Bench) -> None:
    """At least one device; addresses and visitors are read by the mapper's own models."""
    driver = await bench.connected()
    found = await _found(bench, driver, [])
    assert found, "a scan finds nothing, the peer is there"
    for one in found:
        bench.mapper.device.model_validate(dict(one.address))
        for point in one.points:
            read = bench.mapper.point.model_validate(dict(point.visitor))
            assert not read.mismatch(point.type), f"{point.name}: {read.mismatch(point.type)}"


@ALL(Capability.DISCOVER)
async def what_a_scan_finds_can_be_read(bench: Bench) -> None:
    """The points that it names are read without a fault of settings or address."""
    driver = await bench.connected()
    for one in await _found(bench, driver, []):
        device = bench.mapper.device.model_validate(dict(one.address))
        points = [bench.at(point.name, point.type, point.visitor) for point in one.points[:20]]
        readings = await bench.ends(driver.read(driver.plan(device, points)), "read of what was found")
        names = readings.values.keys() | readings.faults.keys()
        assert names == {point.name for point in points}
        wrong = [name for name, fault in readings.faults.items() if fault.reason in ("config_error", "illegal_address")]
        assert not wrong, f"found and yet not there: {wrong}"


@ALL(Capability.DISCOVER)
async def a_scan_may_end_early(bench: Bench) -> None:
    """When the user has seen enough, the scan leaves nothing, and the driver reads on."""
    driver = await bench.connected()
    wanted = bench.mapper.scan.model_validate(dict(bench.adapter.scan))

    async def first() -> None:
        async with contextlib.aclosing(driver.discover(wanted, lambda _: None)) as found:
            async for _ in found:
                break

    await bench.ends(first(), "a scan that is ended")
    await bench.well(driver)


@ALL(Capability.DISCOVER)
async def a_scan_tells_how_far_it_is(bench: Bench) -> None:
    """Progress only rises and never passes its end."""
    driver = await bench.connected()
    told: list[Progress] = []
    await _found(bench, driver, told)
    assert told, "a scan tells nothing"
    assert all(one.done >= 0 and (not one.of or one.done <= one.of) for one in told), told


@ALL(Capability.DISCOVER, Ability.REFUSE)
async def a_scan_of_nobody_is_said(bench: Bench) -> None:
    """When the connection is gone a scan raises, or finds nothing; it does not hang."""
    driver = await bench.connected()
    await bench.read(driver)
    await bench.line.refuse()
    try:
        found = await _found(bench, driver, [])
    except MapperError as error:
        assert isinstance(error, bench.gone), repr(error)
    else:
        assert not found, "found where nobody is"
