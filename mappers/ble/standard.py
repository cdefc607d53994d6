"""What the Bluetooth SIG fixed: formats and units of characteristics, and how a descriptor names both. Pure.

Numbers from the Assigned Numbers; formats from the GATT Specification Supplement. A characteristic with several fields
has the one here that people want of it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from mappers.ble.encoding import Encoding
from mappers.ble.rawtype import RawType as T
from twin.model import ValueType

PRESENTATION_FORMAT: Final = "00002904-0000-1000-8000-00805f9b34fb"


@dataclass(frozen=True, slots=True)
class Standard:
    """A characteristic of the SIG. ``encoding`` gives values in ``unit``."""

    title: str
    encoding: Encoding
    unit: str = ""

    @property
    def type(self) -> ValueType:
        """The property type that fits."""
        return type_of(self.encoding)


def type_of(encoding: Encoding) -> ValueType:
    """The property type that takes all values of an encoding."""
    if encoding.type in _TYPES:
        return _TYPES[encoding.type]
    return ValueType.INT if encoding.type.whole and encoding.divisor == 1 else ValueType.DOUBLE


def _number(title: str, kind: T, unit: str = "", divisor: int = 1, unknown: int | None = None) -> Standard:
    return Standard(title, Encoding(kind, divisor=divisor, unknown=() if unknown is None else (unknown,)), unit)


def _text(title: str) -> Standard:
    return Standard(title, Encoding(T.UTF8))


STANDARDS: Final[dict[int, Standard]] = {
    0x2A00: _text("Device Name"),
    0x2A06: _number("Alert Level", T.UINT8),
    0x2A07: _number("Tx Power Level", T.INT8, "dBm"),
    0x2A19: _number("Battery Level", T.UINT8, "%"),
    0x2A1C: Standard("Temperature Measurement", Encoding(T.MEDFLOAT32, at=1), "°C"),
    0x2A1E: Standard("Intermediate Temperature", Encoding(T.MEDFLOAT32, at=1), "°C"),
    0x2A24: _text("Model Number String"),
    0x2A25: _text("Serial Number String"),
    0x2A26: _text("Firmware Revision String"),
    0x2A27: _text("Hardware Revision String"),
    0x2A28: _text("Software Revision String"),
    0x2A29: _text("Manufacturer Name String"),
    0x2A37: Standard("Heart Rate Measurement", Encoding(T.UINT8, at=1, wider=T.UINT16), "1/min"),
    0x2A6C: _number("Elevation", T.INT24, "m", 100),
    0x2A6D: _number("Pressure", T.UINT32, "Pa", 10),
    0x2A6E: _number("Temperature", T.INT16, "°C", 100, 0x8000),
    0x2A6F: _number("Humidity", T.UINT16, "%", 100, 0xFFFF),
    0x2A70: _number("True Wind Speed", T.UINT16, "m/s", 100),
    0x2A71: _number("True Wind Direction", T.UINT16, "°", 100),
    0x2A72: _number("Apparent Wind Speed", T.UINT16, "m/s", 100),
    0x2A73: _number("Apparent Wind Direction", T.UINT16, "°", 100),
    0x2A74: _number("Gust Factor", T.UINT8, "", 10),
    0x2A75: _number("Pollen Concentration", T.UINT24, "1/m³"),
    0x2A76: _number("UV Index", T.UINT8),
    0x2A77: _number("Irradiance", T.UINT16, "W/m²", 10),
    0x2A78: _number("Rainfall", T.UINT16, "mm"),
    0x2A79: _number("Wind Chill", T.INT8, "°C"),
    0x2A7A: _number("Heat Index", T.INT8, "°C"),
    0x2A7B: _number("Dew Point", T.INT8, "°C"),
    0x2AE2: Standard("Boolean", Encoding(T.BOOLEAN, bit=0)),
    0x2AEA: _number("Count 16", T.UINT16, "", 1, 0xFFFF),
    0x2AEB: _number("Count 24", T.UINT24, "", 1, 0xFFFFFF),
    0x2AEE: _number("Electric Current", T.UINT16, "A", 100, 0xFFFF),
    0x2AF2: _number("Energy", T.UINT24, "kWh", 1, 0xFFFFFF),
    0x2AFB: _number("Illuminance", T.UINT24, "lx", 100, 0xFFFFFF),
    0x2B04: _number("Percentage 8", T.UINT8, "%", 2, 0xFF),
    0x2B05: _number("Power", T.UINT24, "W", 10, 0xFFFFFF),
    0x2B0D: _number("Temperature 8", T.INT8, "°C", 2, 0x7F),
    0x2B18: _number("Voltage", T.UINT16, "V", 64, 0xFFFF),
    0x2B8C: _number("CO\u2082 Concentration", T.UINT16, "ppm", 1, 0xFFFF),
}

_TYPES: Final = {
    T.BOOLEAN: ValueType.BOOLEAN,
    T.UTF8: ValueType.STRING,
    T.BYTES: ValueType.BYTES,
    T.AUTO: ValueType.BYTES,
}

UNITS: Final[dict[int, str]] = {
    0x2700: "", 0x2701: "m", 0x2702: "kg", 0x2703: "s", 0x2704: "A", 0x2705: "K", 0x2706: "mol", 0x2707: "cd",
    0x2710: "m²", 0x2711: "m³", 0x2712: "m/s", 0x2713: "m/s²", 0x2715: "kg/m³", 0x2720: "rad", 0x2722: "Hz",
    0x2723: "N", 0x2724: "Pa", 0x2725: "J", 0x2726: "W", 0x2727: "C", 0x2728: "V", 0x2729: "F", 0x272A: "Ω",
    0x272B: "S", 0x272C: "Wb", 0x272D: "T", 0x272E: "H", 0x272F: "°C", 0x2730: "lm", 0x2731: "lx", 0x2732: "Bq",
    0x2733: "Gy", 0x2734: "Sv", 0x2735: "kat", 0x2743: "rad/s", 0x2744: "rad/s²", 0x2746: "W/m²", 0x2760: "min",
    0x2761: "h", 0x2762: "d", 0x2763: "°", 0x2767: "L", 0x2768: "t", 0x2780: "bar", 0x2781: "mmHg", 0x2785: "kn",
    0x27A3: "ft", 0x27A4: "in", 0x27A6: "km/h", 0x27A7: "mph", 0x27A8: "1/min", 0x27AB: "kWh", 0x27AC: "°F",
    0x27AD: "%", 0x27AE: "‰", 0x27AF: "bpm", 0x27B0: "Ah", 0x27B8: "lb", 0x27C3: "dB",
    0x27C4: "ppm", 0x27C5: "ppb",
}  # fmt: skip
"""Units of the SIG as people write them; the greater ones are left as they are."""

_FORMATS: Final = {
    0x01: T.BOOLEAN, 0x04: T.UINT8, 0x06: T.UINT16, 0x07: T.UINT24, 0x08: T.UINT32, 0x09: T.UINT48, 0x0A: T.UINT64,
    0x0C: T.INT8, 0x0E: T.INT16, 0x0F: T.INT24, 0x10: T.INT32, 0x11: T.INT48, 0x12: T.INT64, 0x14: T.FLOAT32,
    0x15: T.FLOAT64, 0x16: T.MEDFLOAT16, 0x17: T.MEDFLOAT32, 0x19: T.UTF8,
}  # fmt: skip


def presented(descriptor: bytes) -> Standard | None:
    """What a Characteristic Presentation Format says (Core Specification 3.G.3.3.3.5); None if it says nothing usable.

    | format 1 | exponent 1 | unit 2 | name space 1 | description 2 |
    """
    if len(descriptor) < 7:
        return None
    code, exponent, unit = struct.unpack_from("<BbH", descriptor)
    kind = _FORMATS.get(code)
    if kind is None or abs(exponent) > 12:
        return None
    power: int = 10 ** abs(exponent)
    up, down = (1, 1) if not kind.whole else (1, power) if exponent < 0 else (power, 1)
    return Standard("", Encoding(kind, multiplier=up, divisor=down), UNITS.get(unit, f"0x{unit:04X}"))
