"""The floor of modbus.values: pymodbus and paho in a loop that only forwards, one message a poll.

python -m tests.bench.bare_modbus PORT USER PASSWORD MODBUS_PORT TOPIC. No scale, quality, change check or names.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Final

from pymodbus.client import AsyncModbusTcpClient

from tests.bench.load import connected

_REGISTERS: Final = 1000
_BLOCK: Final = 125


async def main() -> None:
    """Poll and publish until we are ended."""
    port, user, password, modbus_port, topic = sys.argv[1:]
    broker = connected(int(port), user, password, "bare-modbus")
    device = AsyncModbusTcpClient("127.0.0.1", port=int(modbus_port))
    await device.connect()
    sys.stdout.write("READY\n")
    sys.stdout.flush()
    while True:
        values: list[int] = []
        for address in range(0, _REGISTERS, _BLOCK):
            values += (await device.read_holding_registers(address, count=_BLOCK)).registers
        broker.publish(topic, json.dumps(values))
        if broker.want_write():
            broker.loop_write()


if __name__ == "__main__":
    asyncio.run(main())
