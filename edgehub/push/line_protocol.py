"""A reading as a line of InfluxDB's line protocol. Pure.

    measurement,tag=a,tag=b field=1.5,quality="good" 1795470660042000123

https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Final

from twin.model import Value
from twin.outbound import QueuedReading

_NAME: Final = str.maketrans({"\\": "\\\\", ",": "\\,", " ": "\\ ", "\n": " ", "\r": " "})
_KEY: Final = str.maketrans({"\\": "\\\\", ",": "\\,", "=": "\\=", " ": "\\ ", "\n": " ", "\r": " "})
_TEXT: Final = str.maketrans({"\\": "\\\\", '"': '\\"'})
_NS_OF_MS: Final = 1_000_000


def line_of(reading: QueuedReading, measurement: str, tags: Mapping[str, str], field: str) -> str:
    """One line, without its end. A reading that comes twice gives the same point both times, two readings give two."""
    named = "".join(f",{_key(name)}={_key(value)}" for name, value in sorted(tags.items()) if value)
    value = _field(reading.value)
    said = f"{_key(field)}={value}," if value else ""
    fields = f"{said}quality={_quoted(reading.quality.value)}"
    if reading.reason:
        fields += f",reason={_quoted(reading.reason.value)}"
    return f"{measurement.translate(_NAME)}{named} {fields} {time_ns(reading)}"


def time_ns(reading: QueuedReading) -> int:
    """The time at the source; below the millisecond stands the tick, which tells readings of one millisecond apart."""
    return reading.at * _NS_OF_MS + reading.tick % _NS_OF_MS


def _field(value: Value) -> str:
    """A field's value; empty if there is none. Numbers are floats, for a field keeps the type of its first value."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        try:
            number = float(value)
        except OverflowError:
            return ""
        return repr(number) if math.isfinite(number) else ""
    return _quoted(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _quoted(text: str) -> str:
    return f'"{text.translate(_TEXT)}"'


def _key(text: str) -> str:
    return text.translate(_KEY)
