"""How many requests read mixed points with holes, against the fewest that any plan could have."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Final

from mappers.modbus.config import ModbusConnection, ModbusDevice
from mappers.modbus.driver import ModbusDriver
from mappers.modbus.point import ModbusPoint
from mappers.sdk import Point, ValueType
from tests.bench.figure import Figure, Scale
from tests.bench.rig import modbus_peer

_POINTS: Final = 1000
_HOLES: Final = 0.3
_SEEDS: Final = 20
_SIZES: Final = {"uint16": 1, "int16": 1, "float32": 2, "uint32": 2, "float64": 4}
_TABLES: Final = {"holding": 0.6, "input": 0.2, "coil": 0.12, "discrete": 0.08}
_LIMITS: Final = {"holding": 125, "input": 125, "coil": 2000, "discrete": 2000}

Place = tuple[str, int, int]
"""Table, address, count."""


async def plan(scale: Scale) -> list[Figure]:
    """Requests that the peer saw, and those of an interval covering made here."""
    seen = fewest = 0
    for seed in range(_SEEDS):
        places = _places(random.Random(seed))
        seen += await _seen(scale, places)
        fewest += _fewest(places)
    says = (
        f"requests that a libmodbus server sees for {_POINTS} points of all tables and sizes with {_HOLES:.0%} of the"
        f" addresses unused, as a ratio to the fewest possible (covering of intervals, computed apart); {_SEEDS}"
        " layouts"
    )
    return [
        Figure("modbus.plan.requests", seen / _SEEDS, "requests", "mean of a layout, same run"),
        Figure("modbus.plan", seen / fewest, "x", says, reach=1.05, at_most=True),
    ]


def _places(rng: random.Random) -> list[Place]:
    """Points one after the other in each table, and holes of 1 to 12 addresses between some."""
    places: list[Place] = []
    for table, share in _TABLES.items():
        wanted, address, used = round(_POINTS * share), 0, 0
        kinds = list(_SIZES) if table in ("holding", "input") else []
        while len([one for one in places if one[0] == table]) < wanted:
            if used and (address - used) / max(1, address) < _HOLES and rng.random() < 0.3:
                address += rng.randint(1, 12)
            count = _SIZES[rng.choice(kinds)] if kinds else 1
            places.append((table, address, count))
            address, used = address + count, used + count
    rng.shuffle(places)
    return places


def _fewest(places: Sequence[Place]) -> int:
    """Begin a request at the first place that is not read yet, and take all that end within its limit."""
    number = 0
    for table in _TABLES:
        reach = -1
        for _, address, count in sorted(one for one in places if one[0] == table):
            if address + count > reach:
                number += 1
                reach = address + _LIMITS[table]
    return number


async def _seen(scale: Scale, places: Sequence[Place]) -> int:
    types = {size: name for name, size in _SIZES.items()}
    points = []
    for index, (table, address, count) in enumerate(places):
        kind = {} if table in ("coil", "discrete") else {"type": types[count]}
        visitor = ModbusPoint.model_validate({"table": table, "address": address, **kind})
        points.append(Point(f"p{index}", ValueType.DOUBLE if kind else ValueType.BOOLEAN, visitor))
    async with modbus_peer(scale.folder, "--tcp", "0", "--log", "--size", "4000") as (peer, ready):
        driver = ModbusDriver(ModbusConnection.model_validate({"host": "127.0.0.1", "port": int(ready.split()[1])}))
        await driver.connect()
        readings = await driver.read(driver.plan(ModbusDevice(), points))
        assert len(readings.values) + len(readings.faults) == len(points)
        await driver.close()
        peer.process.terminate()
        out, _ = await asyncio.to_thread(peer.process.communicate, timeout=10)
    return sum(line.startswith(b"read") for line in out.splitlines())
