"""The wall clock of a running gateway is set to 1970, ten years ahead and back: order, values and timers stay right."""

import asyncio
import random
import shutil
import struct
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import device, hub, plant, stopped_hub  # noqa: F401  # fixtures
from tests.e2e.rig import Device, Hub, until
from twin.model import Quality

SOURCE = Path(__file__).resolve().parents[1] / "peers" / "clock.c"
TEN_YEARS_S = 3650 * 24 * 3600
STEPS_S = {"in 1970": None, "ten years ahead": TEN_YEARS_S, "an hour back": -3600, "right": 0}

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="the clock's shim needs gcc")


class SetClock:
    """The clock of the processes that have the shim."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "offset"
        self._file.write_bytes(bytes(8))
        library = folder / "clock.so"
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True, timeout=60)
        self.environment = {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(self._file)}

    def set(self, offset_s: int | None) -> None:
        """Seconds from the true time; None is the start of 1970."""
        seconds = 1000 - int(time.time()) if offset_s is None else offset_s
        with self._file.open("r+b") as file:  # in place: it is mapped
            file.write(struct.pack("<q", seconds))


@pytest.fixture
def clock(stopped_hub: Hub, tmp_path: Path) -> SetClock:  # noqa: F811  # the fixture
    made = SetClock(tmp_path)
    stopped_hub.environment |= made.environment
    return made


async def exchange(hub: Hub, plant: Device, number: int) -> int:  # noqa: F811  # the fixture's value
    """A value goes down to the device and one comes up from it, in seconds; the tick of the desired one."""
    started_s = time.monotonic()
    async with hub.client() as client:
        await client.set("v1", {"position": number})
        plant.set_input(0, 2000 + number)
        await until(lambda: plant.holding(0) == number or None, 10)
        async with client.watch("device/default/v1") as events, asyncio.timeout(10):
            async for event in events:
                flow = event.body.reported.get("flow") if event.body else None
                if flow is not None and flow.value == 2000 + number and flow.quality is Quality.GOOD:
                    break
        slots = (await client.explain("v1", "position")).slots
        assert (await client.get("v1")).desired["position"].value == number
    assert time.monotonic() - started_s < 10
    (slot,) = slots
    return slot.tick


async def test_a_gateway_whose_clock_is_set_at_run_time_keeps_order_values_and_pace(
    clock: SetClock,
    hub: Hub,  # noqa: F811  # the fixture
    plant: Device,  # noqa: F811  # the fixture
):
    ticks, alarms = [], {}
    for number, (name, offset_s) in enumerate(STEPS_S.items(), start=1):
        clock.set(offset_s)
        ticks.append(await exchange(hub, plant, number))
        async with hub.client() as client:
            status = await client.status()
        alarms[name] = status.alarms
        assert all(child.running and child.restarts == 0 for child in status.children)
    assert ticks == sorted(set(ticks))
    (alarm,) = alarms["in 1970"]
    assert alarm.startswith("this site's ticks are ")
    assert int(alarm.split()[4]) > 20_000  # days
    assert alarms["ten years ahead"] == []  # the ticks have followed the clock: nothing is ahead of it
    (alarm,) = alarms["right"]
    assert alarm.startswith(("this site's ticks are 3649 days", "this site's ticks are 3650 days"))
    assert hub.log.read_text().count("one of the clocks is, or was, wrong") <= 3  # at each step once, not at each look

    hub.kill()
    hub.start()
    async with hub.client() as client:
        body = await client.get("v1")
    assert body.desired["position"].value == len(STEPS_S)
    assert await exchange(hub, plant, 99) > ticks[-1]


@pytest.mark.torture
@pytest.mark.timeout(600)
async def test_a_clock_that_jumps_at_random_loses_nothing_and_stops_nothing(
    clock: SetClock,
    hub: Hub,  # noqa: F811  # the fixture
    plant: Device,  # noqa: F811  # the fixture
):
    seed = 4
    rng = random.Random(seed)
    last = 0
    for number in range(1, 60):
        clock.set(rng.choice([None, 0, TEN_YEARS_S, -TEN_YEARS_S, rng.randrange(-100_000, 100_000)]))
        if rng.random() < 0.2:
            hub.kill()
            hub.start()
            await hub.ready()
        tick = await exchange(hub, plant, number)
        assert tick > last, f"seed {seed}, round {number}"
        last = tick
