"""UUIDs as Bluetooth writes them: 16 and 32 bits stand for one of 128, hyphens may be missing. Pure."""

from __future__ import annotations

import re
from typing import Final

_BASE: Final = "-0000-1000-8000-00805f9b34fb"
_SHORT: Final = re.compile(r"(?:0x)?([0-9a-f]{4}|[0-9a-f]{8})", re.IGNORECASE)
_LONG: Final = re.compile(r"([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})", re.IGNORECASE)


def full_uuid(text: str) -> str:
    """The 128-bit form in lower case. Raises ValueError."""
    if short := _SHORT.fullmatch(text):
        return short[1].lower().rjust(8, "0") + _BASE
    if long := _LONG.fullmatch(text):
        return "-".join(long.groups()).lower()
    message = f"{text!r} is not a UUID; for example 2A6E or 0000ff01-0000-1000-8000-00805f9b34fb"
    raise ValueError(message)


def assigned(uuid: str) -> int | None:
    """The number that the Bluetooth SIG assigned, if a full UUID stands for one."""
    return int(uuid[:8], 16) if uuid.endswith(_BASE) else None


def short_uuid(uuid: str) -> str:
    """As people write it: four digits where they say all."""
    number = assigned(uuid)
    return f"{number:04X}" if number is not None else uuid
