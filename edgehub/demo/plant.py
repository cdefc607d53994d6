"""The demo plant on a Modbus TCP server: one process moves it, registers show it and take its commands.

unit 1, tank      input 0 level, 2 temperature, 4 inflow, 6 outflow (float32), 8 heater (uint16, percent),
9 alarms (bits: 0 low, 1 high, 2 pump dry), 10 pump starts (uint32), 12 serial (text of 16)
discrete 0 low-level switch, 1 pump runs      coil 0 pump
holding 0 valve (uint16, 0.1 percent), 1 target temperature (float32)
unit 2, cooler    input 0 temperature (int16, 0.1 degrees), 1 fan speed (uint16, rpm)
discrete 0 warm                               holding 0 fan (uint16, percent)
"""

from __future__ import annotations

import asyncio
import math
import struct
from dataclasses import dataclass, field
from typing import Final, Self

# pymodbus has its home in mappers/modbus. The plant stands for the world outside: a process of its own that the
# gateway knows only by its socket.
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edgehub.demo.process import Cooler, CoolerCommands, Tank, TankCommands, step_cooler, step_tank

FIRST_STEP_S: Final = 0.1

TANK_UNIT: Final = 1
COOLER_UNIT: Final = 2
SERIAL: Final = "TK-2041-0007"

# Function codes of the Modbus application protocol, by which the server names its four tables.
_COILS: Final = 1
_DISCRETE: Final = 2
_HOLDING: Final = 3
_INPUT: Final = 4


@dataclass(slots=True)
class Plant:
    """A running plant; ``async with`` opens the server, ``step`` moves the process."""

    requested_port: int = 0
    tank: Tank = field(default_factory=Tank)
    cooler: Cooler = field(default_factory=Cooler)
    _server: ModbusTcpServer | None = None

    async def __aenter__(self) -> Self:
        self._server = ModbusTcpServer(
            [
                _device(TANK_UNIT, _valve_words(TankCommands()), inputs=20),
                _device(COOLER_UNIT, [round(CoolerCommands().fan_pct)], inputs=2),
            ],
            address=("127.0.0.1", self.requested_port),
        )
        await self._server.serve_forever(background=True)
        await self.step(FIRST_STEP_S)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened().shutdown()  # type: ignore[no-untyped-call]  # pymodbus leaves it without types

    @property
    def port(self) -> int:
        """The port it listens on."""
        listener = self._opened().transport
        assert isinstance(listener, asyncio.Server)
        port: int = listener.sockets[0].getsockname()[1]
        return port

    async def step(self, dt_s: float) -> None:
        """Take the commands from the registers, move the process, show the result."""
        server = self._opened()
        valve, *target = await server.async_getValues(TANK_UNIT, _HOLDING, 0, 3)
        (pump,) = await server.async_getValues(TANK_UNIT, _COILS, 0, 1)
        (fan,) = await server.async_getValues(COOLER_UNIT, _HOLDING, 0, 1)
        self.tank = step_tank(self.tank, TankCommands(valve / 10.0, bool(pump), _finite_float(target)), dt_s)
        self.cooler = step_cooler(self.cooler, CoolerCommands(float(fan)), dt_s)
        await server.async_setValues(TANK_UNIT, _INPUT, 0, _tank_words(self.tank))
        await server.async_setValues(TANK_UNIT, _DISCRETE, 0, [self.tank.low, self.tank.pump_on])
        await server.async_setValues(COOLER_UNIT, _INPUT, 0, _cooler_words(self.cooler))
        await server.async_setValues(COOLER_UNIT, _DISCRETE, 0, [self.cooler.warm])

    def _opened(self) -> ModbusTcpServer:
        if self._server is None:
            message = "the plant is not open: use it in an async with block"
            raise RuntimeError(message)
        return self._server


def _device(unit: int, holding: list[int], inputs: int) -> SimDevice:
    def bits() -> list[SimData]:
        return [SimData(0, values=[False] * 16, datatype=DataType.BITS)]

    return SimDevice(
        unit,
        simdata=(
            bits(),
            bits(),
            [SimData(0, values=holding, datatype=DataType.REGISTERS)],
            [SimData(0, count=inputs, values=0, datatype=DataType.REGISTERS)],
        ),
    )


def _valve_words(commands: TankCommands) -> list[int]:
    return [round(commands.valve_pct * 10), *_words(struct.pack(">f", commands.target_c))]


def _tank_words(tank: Tank) -> list[int]:
    alarms = tank.low | tank.high << 1 | tank.pump_dry << 2
    return _words(
        struct.pack(
            ">ffffHHI16s",
            tank.level_pct,
            tank.temperature_c,
            tank.inflow,
            tank.outflow,
            round(tank.heater_pct),
            alarms,
            tank.pump_starts & 0xFFFFFFFF,
            SERIAL.encode("ascii"),
        )
    )


def _cooler_words(cooler: Cooler) -> list[int]:
    return _words(struct.pack(">hH", round(cooler.temperature_c * 10), round(cooler.fan_rpm)))


def _words(data: bytes) -> list[int]:
    return [word for (word,) in struct.iter_unpack(">H", data)]


def _finite_float(words: list[int] | list[bool]) -> float:
    (value,) = struct.unpack(">f", struct.pack(">HH", *words))
    return value if math.isfinite(value) else 0.0
