"""The demo plant over a real socket, read by a Modbus client that shares no code with its server."""

from __future__ import annotations

import asyncio
import struct

from pyModbusTCP.client import ModbusClient

from edgehub.demo.plant import COOLER_UNIT, SERIAL, TANK_UNIT, Plant


class Peer:
    """An independent client; its calls block, so they run in a thread."""

    def __init__(self, port: int) -> None:
        self._client = ModbusClient(host="127.0.0.1", port=port, timeout=5.0)

    async def ask(self, unit: int, method: str, *args: object) -> list:
        self._client.unit_id = unit
        answer = await asyncio.to_thread(getattr(self._client, method), *args)
        assert answer is not None, (method, args, self._client.last_error_as_txt, self._client.last_except_as_txt)
        return answer

    async def floats(self, address: int, count: int) -> list[float]:
        words = await self.ask(TANK_UNIT, "read_input_registers", address, 2 * count)
        return list(struct.unpack(f">{count}f", struct.pack(f">{2 * count}H", *words)))

    def close(self) -> None:
        self._client.close()


async def test_the_registers_show_the_process():
    async with Plant() as plant:
        peer = Peer(plant.port)
        await plant.step(0.5)
        shown = await peer.floats(0, 4)
        expected = [plant.tank.level_pct, plant.tank.temperature_c, plant.tank.inflow, plant.tank.outflow]
        assert all(abs(a - b) < 1e-4 for a, b in zip(shown, expected, strict=True))
        serial = await peer.ask(TANK_UNIT, "read_input_registers", 12, 8)
        assert struct.pack(">8H", *serial).rstrip(b"\0").decode() == SERIAL
        heater, alarms = await peer.ask(TANK_UNIT, "read_input_registers", 8, 2)
        assert (heater, alarms) == (round(plant.tank.heater_pct), 0)
        assert await peer.ask(TANK_UNIT, "read_discrete_inputs", 0, 2) == [False, False]
        tenths, rpm = await peer.ask(COOLER_UNIT, "read_input_registers", 0, 2)
        assert (tenths, rpm) == (round(plant.cooler.temperature_c * 10), round(plant.cooler.fan_rpm))
        peer.close()


async def test_a_write_changes_the_process():
    async with Plant() as plant:
        peer = Peer(plant.port)
        assert await peer.ask(TANK_UNIT, "write_single_register", 0, 1000)
        assert await peer.ask(TANK_UNIT, "write_single_coil", 0, True)
        assert await peer.ask(
            TANK_UNIT, "write_multiple_registers", 1, list(struct.unpack(">2H", struct.pack(">f", 70)))
        )
        assert await peer.ask(COOLER_UNIT, "write_single_register", 0, 100)
        for _ in range(20):
            await plant.step(0.1)
        assert plant.tank.inflow == 4.0
        assert plant.tank.pump_on
        assert plant.tank.heater_pct == 100.0
        assert plant.cooler.fan_rpm > 2000
        assert await peer.ask(TANK_UNIT, "read_input_registers", 10, 2) == [0, 1]
        assert await peer.ask(TANK_UNIT, "read_discrete_inputs", 1, 1) == [True]
        peer.close()


async def test_a_target_that_is_not_a_number_stops_the_heater_and_nothing_else():
    async with Plant() as plant:
        peer = Peer(plant.port)
        assert await peer.ask(TANK_UNIT, "write_multiple_registers", 1, [0x7FC0, 0])
        await plant.step(0.1)
        assert plant.tank.heater_pct == 0.0
        assert 0 < plant.tank.temperature_c < 100
        peer.close()
