"""From a desired value set in the cloud to the device that has it: cloud, line, hub, mapper, a libmodbus server."""

from __future__ import annotations

import asyncio
import time
from statistics import median
from typing import Final

from pyModbusTCP.client import ModbusClient

from tests.bench import modbus_plant
from tests.bench.figure import Figure, Scale
from tests.bench.rig import modbus_server
from tests.e2e.sync_site import SyncSite
from twin.client import TwinClient

_TRIES: Final = 100
_WAIT_S: Final = 10.0
_TWIN: Final = modbus_plant.twin(0)


async def desired(scale: Scale) -> list[Figure]:
    """The median of some tries, each until a client of the device reads the coil as it should be."""
    site = SyncSite(scale.folder)
    async with modbus_server(scale.folder, "--counting") as port:
        await asyncio.to_thread(site.__enter__)
        device = ModbusClient(host="127.0.0.1", port=port, auto_open=True, timeout=_WAIT_S)
        try:
            text = modbus_plant.documents(port, devices=1, points=10, cycle="100ms")
            await asyncio.to_thread(site.apply, text)
            await asyncio.to_thread(site.live)
            async with site.users() as (_, cloud):
                took_ms = [await _set(cloud, device, wanted=bool(turn % 2)) for turn in range(_TRIES + 5)][5:]
        finally:
            device.close()
            await asyncio.to_thread(site.__exit__)
    took_ms.sort()
    says = (
        "set request published to the cloud -> coil written on a libmodbus server, line up, loopback, TLS, the cloud on"
        f" SQLite with one worker, a device of 10 points polled every 100 ms; of {_TRIES}"
    )
    return [
        Figure("sync.desired.p95", took_ms[int(len(took_ms) * 0.95)], "ms", f"95 of 100: {says}", 100, at_most=True),
        Figure("sync.desired", median(took_ms), "ms", f"median: {says}", reach=50, at_most=True),
    ]


async def _set(cloud: TwinClient, device: ModbusClient, *, wanted: bool) -> float:
    written = asyncio.create_task(asyncio.to_thread(_written_s, device, wanted=wanted))
    await asyncio.sleep(0.02)
    began_s = time.perf_counter()
    await cloud.set(_TWIN, {modbus_plant.SWITCH: wanted})
    return (await written - began_s) * 1000


def _written_s(device: ModbusClient, *, wanted: bool) -> float:
    ends_s = time.perf_counter() + _WAIT_S
    while device.read_coils(0, 1) != [wanted]:
        assert time.perf_counter() < ends_s, "the device was not written"
        time.sleep(0.001)
    return time.perf_counter()
