"""``python -m tests.peers.bluez_facade FOLDER COUNT``: a bus with sensors in its air.

It says the bus's address, then waits for the end of its input. The sensors are at C4:7C:8D:00:00:00 and on.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from mappers.ble.virtual import Air
from tests.peers.ble_peripheral import Sensor
from tests.peers.bluez_facade import Facade, PrivateBus


async def main(folder: str, count: str) -> None:
    air = Air()
    for number in range(int(count)):
        await Sensor().start(await air.device(f"C4:7C:8D:00:00:{number:02X}"))
    async with PrivateBus(Path(folder)) as address, Facade(address, {"hci0": await air.central()}):
        print(address, flush=True)  # noqa: T201  what the parent waits for
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
