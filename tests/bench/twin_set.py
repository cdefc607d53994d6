"""From a desired value to the device and back: request -> device written -> read back -> delta empty."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from statistics import median
from typing import Final

from pyModbusTCP.client import ModbusClient

from tests.bench import modbus_plant
from tests.bench.cli import whole_command_ms
from tests.bench.figure import Figure, Scale
from tests.bench.rig import Hub, environment, hub, modbus_server
from twin.wire.api import DocumentSource, WatchEvent

_POINTS: Final = 10
_TRIES: Final = 200
_COMMANDS: Final = 9
_WAIT_S: Final = 10.0


async def round_trip(scale: Scale) -> list[Figure]:
    """p50 of setting a coil of a device that is polled as fast as it answers; and the whole command."""
    async with (
        modbus_server(scale.folder, "--counting") as port,
        hub(scale.folder / "hub") as running,
    ):
        text = modbus_plant.documents(port, devices=1, points=_POINTS, cycle="1ms")
        await running.client.apply([DocumentSource(name="plant.yaml", text=text)])
        device = ModbusClient(host="127.0.0.1", port=port, auto_open=True, timeout=_WAIT_S)
        try:
            async with running.client.watch(_TWIN) as events:
                await _reported(events)
                took_ms = [await _set(running, events, device, wanted=bool(turn % 2)) for turn in range(_TRIES + 1)]
            commands_ms = [await _command(running, wanted=bool(turn % 2)) for turn in range(_COMMANDS + 1)]
        finally:
            device.close()
    says = (
        f"p50 of {_TRIES}: set request published -> coil written on a libmodbus server -> read back -> delta empty at"
        f" a watcher, hub and mapper host running, the device with {_POINTS} points polled every ms"
    )
    command = f"`edgetwin set` until the device has followed, whole command, median of {_COMMANDS}, same plant"
    return [
        Figure("twin.set.cli", median(commands_ms[1:]), "ms", command, reach=450, at_most=True),
        Figure("twin.set", median(took_ms[1:]), "ms", says, reach=50, at_most=True),
    ]


_TWIN: Final = modbus_plant.twin(0)


async def _reported(events: AsyncIterator[WatchEvent]) -> None:
    """Wait until the mapper has read the device."""
    async with asyncio.timeout(_WAIT_S):
        async for event in events:
            if event.body is not None and modbus_plant.SWITCH in event.body.reported:
                return


async def _set(running: Hub, events: AsyncIterator[WatchEvent], device: ModbusClient, *, wanted: bool) -> float:
    began_s = time.perf_counter()
    version = await running.client.set(_TWIN, {modbus_plant.SWITCH: wanted})
    async with asyncio.timeout(_WAIT_S):
        async for event in events:
            if event.body is not None and event.body.version >= version and not event.body.delta:
                assert event.body.reported[modbus_plant.SWITCH].value is wanted
                break
    took_ms = (time.perf_counter() - began_s) * 1000
    held = await asyncio.to_thread(device.read_coils, 0, 1)
    assert held == [wanted], f"the device holds {held}, wanted {wanted}"
    return took_ms


async def _command(running: Hub, *, wanted: bool) -> float:
    value = f"{modbus_plant.SWITCH}={'true' if wanted else 'false'}"
    env = environment(EDGETWIN_STATE=str(running.state))
    return await whole_command_ms(["set", _TWIN.removeprefix("device/"), value], env)
