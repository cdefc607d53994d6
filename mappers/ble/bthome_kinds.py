"""Objects of BTHome version 2 by id: name, format, unit (bthome.io/format). Ids of one name differ in width or step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mappers.ble.encoding import Encoding
from mappers.ble.rawtype import RawType as T
from mappers.ble.standard import type_of
from twin.model import ValueType


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object."""

    name: str
    encoding: Encoding
    unit: str = ""

    @property
    def type(self) -> ValueType:
        """The property type that fits."""
        return type_of(self.encoding)


def _number(name: str, raw: T, divisor: int = 1, unit: str = "") -> Kind:
    return Kind(name, Encoding(raw, divisor=divisor), unit)


_FLAGS: Final = (
    "generic powerOn opening", "batteryLow batteryCharging carbonMonoxide cold connectivity door garageDoor gasDetected"
    " heat light lock moistureDetected motion moving occupancy plug presence problem running safety smoke sound tamper"
    " vibration window",
)  # fmt: skip
"""Yes or no, from 0x0F and from 0x15 on."""

KINDS: Final[dict[int, Kind]] = {
    0x00: _number("packetId", T.UINT8),
    0x01: _number("battery", T.UINT8, 1, "%"),
    0x02: _number("temperature", T.INT16, 100, "°C"),
    0x03: _number("humidity", T.UINT16, 100, "%"),
    0x04: _number("pressure", T.UINT24, 100, "hPa"),
    0x05: _number("illuminance", T.UINT24, 100, "lx"),
    0x06: _number("mass", T.UINT16, 100, "kg"),
    0x07: _number("massPounds", T.UINT16, 100, "lb"),
    0x08: _number("dewPoint", T.INT16, 100, "°C"),
    0x09: _number("count", T.UINT8),
    0x0A: _number("energy", T.UINT24, 1000, "kWh"),
    0x0B: _number("power", T.UINT24, 100, "W"),
    0x0C: _number("voltage", T.UINT16, 1000, "V"),
    0x0D: _number("pm25", T.UINT16, 1, "µg/m³"),
    0x0E: _number("pm10", T.UINT16, 1, "µg/m³"),
    **{0x0F + at: Kind(name, Encoding(T.BOOLEAN)) for at, name in enumerate(_FLAGS[0].split())},
    0x12: _number("co2", T.UINT16, 1, "ppm"),
    0x13: _number("tvoc", T.UINT16, 1, "µg/m³"),
    0x14: _number("moisture", T.UINT16, 100, "%"),
    **{0x15 + at: Kind(name, Encoding(T.BOOLEAN)) for at, name in enumerate(_FLAGS[1].split())},
    0x2E: _number("humidity", T.UINT8, 1, "%"),
    0x2F: _number("moisture", T.UINT8, 1, "%"),
    0x3A: _number("button", T.UINT8),
    0x3C: _number("dimmer", T.UINT16),
    0x3D: _number("count", T.UINT16),
    0x3E: _number("count", T.UINT32),
    0x3F: _number("rotation", T.INT16, 10, "°"),
    0x40: _number("distanceMillimetres", T.UINT16, 1, "mm"),
    0x41: _number("distance", T.UINT16, 10, "m"),
    0x42: _number("duration", T.UINT24, 1000, "s"),
    0x43: _number("current", T.UINT16, 1000, "A"),
    0x44: _number("speed", T.UINT16, 100, "m/s"),
    0x45: _number("temperature", T.INT16, 10, "°C"),
    0x46: _number("uvIndex", T.UINT8, 10),
    0x47: _number("volume", T.UINT16, 10, "L"),
    0x48: _number("volumeMillilitres", T.UINT16, 1, "mL"),
    0x49: _number("volumeFlowRate", T.UINT16, 1000, "m³/h"),
    0x4A: _number("voltage", T.UINT16, 10, "V"),
    0x4B: _number("gas", T.UINT24, 1000, "m³"),
    0x4C: _number("gas", T.UINT32, 1000, "m³"),
    0x4D: _number("energy", T.UINT32, 1000, "kWh"),
    0x4E: _number("volume", T.UINT32, 1000, "L"),
    0x4F: _number("water", T.UINT32, 1000, "L"),
    0x50: _number("timestamp", T.UINT32, 1, "s"),
    0x51: _number("acceleration", T.UINT16, 1000, "m/s²"),
    0x52: _number("gyroscope", T.UINT16, 1000, "°/s"),
    0x53: Kind("text", Encoding(T.UTF8)),
    0x54: Kind("raw", Encoding(T.BYTES)),
    0x55: _number("volumeStorage", T.UINT32, 1000, "L"),
    0x56: _number("conductivity", T.UINT16, 1, "µS/cm"),
    0x57: _number("temperature", T.INT8, 1, "°C"),
    0x58: Kind("temperature", Encoding(T.INT8, multiplier=35, divisor=100), "°C"),
    0x59: _number("count", T.INT8),
    0x5A: _number("count", T.INT16),
    0x5B: _number("count", T.INT32),
    0x5C: _number("power", T.INT32, 100, "W"),
    0x5D: _number("current", T.INT16, 1000, "A"),
    0x5E: _number("direction", T.UINT16, 100, "°"),
    0x5F: _number("precipitation", T.UINT16, 10, "mm"),
    0x60: _number("channel", T.UINT8),
    0x61: _number("rotationalSpeed", T.UINT16, 1, "1/min"),
    0x62: _number("speed", T.INT32, 1_000_000, "m/s"),
    0x63: _number("acceleration", T.INT32, 1_000_000, "m/s²"),
    0x64: _number("lightLevel", T.UINT8),
    0xF0: _number("deviceType", T.UINT16),
    0xF1: _number("firmware", T.UINT32),
    0xF2: _number("firmware", T.UINT24),
}
NAMES: Final = frozenset(kind.name for kind in KINDS.values())
