"""What the machine has, by names that stay; from the kernel's own files below ``root``, so that a test can have any."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hardware.board import Rs485
from hardware.doctor.ask import Ask

_UNSTABLE: Final = ("ttyUSB", "ttyACM")
_EOL: Final = {"0x01": "normal", "0x02": "warning", "0x03": "urgent"}


@dataclass(frozen=True, slots=True)
class SerialPort:
    """A serial port. ``stable`` is the name by which it is found after a restart too; empty: it has none."""

    device: str
    stable: str
    description: str = ""
    rs485: Rs485 | None = None
    """What its driver says of RS-485; None: it was not asked, or does not know it."""
    readable: bool = True


@dataclass(frozen=True, slots=True)
class GpioChip:
    """A GPIO chip: ``label`` is the kernel's name of it, which stays."""

    device: str
    label: str
    lines: int


@dataclass(frozen=True, slots=True)
class Watchdog:
    """A watchdog. ``timeout_s`` is in force, ``max_s`` the longest it takes; 0: it does not say."""

    device: str
    identity: str
    timeout_s: int
    max_s: int
    active: bool


@dataclass(frozen=True, slots=True)
class Wear:
    """How worn a flash chip is: ``used_percent`` of its life as it says itself, in steps of ten."""

    device: str
    used_percent: int
    end_of_life: str


@dataclass(frozen=True, slots=True)
class Inventory:
    """The machine."""

    serial: tuple[SerialPort, ...]
    gpio: tuple[GpioChip, ...]
    bluetooth: tuple[str, ...]
    watchdogs: tuple[Watchdog, ...]
    clocks: tuple[str, ...]
    wear: tuple[Wear, ...]
    synchronized: bool
    """Whether a time server has set the clock since the start."""


def take(root: Path, ask: Ask) -> Inventory:
    """Look at the machine below ``root``; what cannot be read is left out. Opens devices only by ``ask``."""
    return Inventory(
        tuple(_serial(root, ask)),
        tuple(_gpio(root, ask)),
        tuple(sorted(one.name for one in _entries(root / "sys/class/bluetooth") if ":" not in one.name)),
        tuple(_watchdogs(root)),
        tuple(sorted(_text(one / "name") or one.name for one in _entries(root / "sys/class/rtc"))),
        tuple(_wear(root)),
        (root / "run/systemd/timesync/synchronized").exists(),
    )


def _serial(root: Path, ask: Ask) -> Iterator[SerialPort]:
    stable = {}
    for folder in ("by-path", "by-id"):  # by-id says what it is, by-path only where it is plugged in
        for link in _entries(root / "dev/serial" / folder):
            stable[Path(os.path.realpath(link)).name] = f"/dev/serial/{folder}/{link.name}"
    for link in _entries(root / "dev/gateway"):
        stable[Path(os.path.realpath(link)).name] = f"/dev/gateway/{link.name}"
    for one in _entries(root / "sys/class/tty"):
        device = one / "device"
        # A port without a driver's device is a virtual console; type 0 of an 8250 is a port that is not there.
        if not device.exists() or _text(one / "type") == "0":
            continue
        node = root / "dev" / one.name
        unstable = one.name.startswith(_UNSTABLE)
        name = stable.get(one.name, "" if unstable else f"/dev/{one.name}")
        about = " ".join(filter(None, (_up(device, "manufacturer"), _up(device, "product"))))
        readable = os.access(node, os.R_OK | os.W_OK)
        rs485 = ask.rs485(node) if readable and not unstable else None
        yield SerialPort(f"/dev/{one.name}", name, about, rs485, readable)


def _gpio(root: Path, ask: Ask) -> Iterator[GpioChip]:
    for one in _entries(root / "sys/bus/gpio/devices"):
        if one.name.startswith("gpiochip"):
            name = ask.chip(root / "dev" / one.name)
            yield GpioChip(f"/dev/{one.name}", *(name or ("", 0)))


def _watchdogs(root: Path) -> Iterator[Watchdog]:
    for one in _entries(root / "sys/class/watchdog"):
        yield Watchdog(
            f"/dev/{one.name}",
            _text(one / "identity"),
            _number(one / "timeout"),
            _number(one / "max_timeout"),
            _text(one / "state") == "active",
        )


def _wear(root: Path) -> Iterator[Wear]:
    """The EXT_CSD of eMMC (JEDEC 84-B51): life time in tenths, the worse of its two kinds of cells."""
    for one in _entries(root / "sys/class/block"):
        words = _text(one / "device/life_time").split()
        if not words:
            continue
        try:
            used = max(int(word, 16) for word in words) * 10
        except ValueError:
            continue
        yield Wear(f"/dev/{one.name}", used, _EOL.get(_text(one / "device/pre_eol_info"), ""))


def _up(device: Path, name: str) -> str:
    """What the USB device of an interface calls itself: its files are one or two folders above."""
    real = device.resolve()
    return next((text for place in (real, *real.parents[:3]) if (text := _text(place / name))), "")


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int:
    text = _text(path)
    return int(text) if text.isdecimal() else 0
