"""What only an ioctl tells: RS-485 of a serial port, and the name of a GPIO chip. Nothing is changed by asking."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from hardware.board import Rs485

_TIOCGRS485: Final = 0x542E
_SERIAL_RS485: Final = struct.Struct("=III5I")
"""struct serial_rs485 of linux/serial.h: flags, delays before and after sending (ms), padding"""
_ENABLED: Final = 1
_GPIO_GET_CHIPINFO: Final = 0x8044B401
_CHIPINFO: Final = struct.Struct("=32s32sI")
"""struct gpiochip_info of linux/gpio.h: name, label, lines"""


class ChipName(NamedTuple):
    """What a GPIO chip says of itself."""

    label: str
    lines: int


class Ask(Protocol):
    """Asks devices."""

    def rs485(self, node: Path) -> Rs485 | None:
        """Whether the driver switches the direction; None: the port knows no RS-485, or cannot be asked."""

    def chip(self, node: Path) -> ChipName | None:
        """The name that the kernel has of a GPIO chip; None: it cannot be asked."""


class AskKernel:
    """Asks the real ones."""

    def rs485(self, node: Path) -> Rs485 | None:
        """See Ask; opening with O_NONBLOCK waits for no carrier."""
        answer = _ask(node, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK, _TIOCGRS485, _SERIAL_RS485.size)
        if answer is None:
            return None
        return Rs485.KERNEL if _SERIAL_RS485.unpack(answer)[0] & _ENABLED else Rs485.NONE

    def chip(self, node: Path) -> ChipName | None:
        """See Ask."""
        answer = _ask(node, os.O_RDONLY, _GPIO_GET_CHIPINFO, _CHIPINFO.size)
        if answer is None:
            return None
        _, label, lines = _CHIPINFO.unpack(answer)
        return ChipName(label.partition(b"\0")[0].decode(errors="replace"), lines)


def _ask(node: Path, flags: int, request: int, size: int) -> bytes | None:
    try:
        fd = os.open(node, flags | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return fcntl.ioctl(fd, request, bytes(size))
    except OSError:
        return None
    finally:
        os.close(fd)
