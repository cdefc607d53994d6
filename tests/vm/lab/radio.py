"""A Bluetooth controller of the guest's kernel, and a sensor in the same air: BlueZ drives the one and hears the other.

BlueZ ── kernel ── /dev/vhci ── controller ── Air ── controller ── sensor

Lines of stdin change the sensor: `2A6E 5908` sets a value and notifies. What is written to it is on stdout.
"""

from __future__ import annotations

import asyncio
import sys

from ble_peripheral import LAMP, Sensor
from bumble.controller import Controller
from bumble.transport.vhci import open_vhci_transport

from mappers.ble.virtual import Air

MAC = "C4:7C:8D:6A:12:34"


async def main() -> None:
    air = Air()
    sensor = Sensor()
    await sensor.start(await air.device(MAC, "Sensor"))
    transport = await open_vhci_transport(None)
    Controller(
        "hci", host_source=transport.source, host_sink=transport.sink, link=air.link, public_address="F0:F1:F2:F3:F4:F5"
    )
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    lamp = b""
    while True:
        try:
            async with asyncio.timeout(0.5):
                line = (await lines.readline()).decode().split()
        except TimeoutError:
            line = []
        if line:
            await sensor.set(sensor.temperature, line[0], bytes.fromhex(line[1]))
        if sensor.values[LAMP] != lamp:
            lamp = sensor.values[LAMP]
            sys.stdout.write(f"lamp {lamp.hex()}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
