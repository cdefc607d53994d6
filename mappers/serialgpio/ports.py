"""Which serial ports this machine has, and which of them a pattern means."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from glob import glob, has_magic
from pathlib import Path
from typing import Final, TypeAlias

from serial.tools.list_ports import comports  # type: ignore[import-untyped]  # pyserial has no types

from mappers.sdk import NotConnected

_BY_ID: Final = Path("/dev/serial/by-id")


@dataclass(frozen=True, slots=True)
class FoundPort:
    """A port: its path, one that stays the same if there is one, and what its adapter says of itself."""

    path: str
    stable: str = ""
    description: str = ""
    identity: dict[str, str] = field(default_factory=dict)

    @property
    def best(self) -> str:
        """The path to write into settings."""
        return self.stable or self.path


Listing: TypeAlias = Callable[[], Sequence[FoundPort]]


def serial_ports() -> list[FoundPort]:
    """The ports that the system lists."""
    stable = {os.path.realpath(link): str(link) for link in _BY_ID.glob("*")}
    found = []
    for port in sorted(comports(), key=lambda one: one.device):
        said = {
            "vendor": port.manufacturer,
            "product": port.product,
            "serial": port.serial_number,
            "usb": f"{port.vid:04x}:{port.pid:04x}" if port.vid is not None else None,
        }
        identity = {key: str(one) for key, one in said.items() if one}
        description = "" if port.description in (None, "n/a") else port.description
        found.append(FoundPort(port.device, stable.get(os.path.realpath(port.device), ""), description, identity))
    return found


def matching(pattern: str, listing: Listing) -> list[FoundPort]:
    """The ports that a path or pattern means: a path itself, a pattern those that there are."""
    if not has_magic(pattern):
        return [FoundPort(pattern)]
    listed = [one for one in listing() if fnmatchcase(one.path, pattern) or fnmatchcase(one.stable, pattern)]
    known = {os.path.realpath(one.path) for one in listed}
    others = sorted(glob(pattern)) if pattern.startswith("/") else []  # noqa: PTH207  # a pattern from the root
    return listed + [FoundPort(path) for path in others if os.path.realpath(path) not in known]


def the_one(pattern: str, listing: Listing) -> str:
    """The path of the one port that is meant. Raises NotConnected if there is none, or more than one."""
    found = matching(pattern, listing)
    if len(found) == 1:
        return found[0].path
    names = ", ".join(one.best for one in found)
    message = f"serialPort {pattern!r} matches {len(found)} ports" + (f": {names}" if found else "")
    remedy = "Name one of them." if found else "Is it plugged in? `edgetwin mapper scan serialgpio` lists the ports."
    raise NotConnected(message, remedy=remedy)
