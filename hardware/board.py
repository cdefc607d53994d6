"""What a board is, as data: a new board is one file under ``boards/``, and no code."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

_SIZE: Final = re.compile(r"([0-9]{1,6})(MiB|GiB)")


class Proven(StrEnum):
    """How far a profile is known to work; nothing else may be claimed of it."""

    VM = "vm"
    """Its image boots in a virtual machine in the tests."""
    BENCH = "bench"
    """Somebody ran it on the board and wrote down what they saw."""
    UNTESTED = "untested"


class Boot(StrEnum):
    """How a board finds its system, and how that is switched between two slots."""

    UEFI_GRUB = "uefi-grub"
    RPI_TRYBOOT = "rpi-tryboot"
    U_BOOT = "u-boot"


class Rs485(StrEnum):
    """Who switches the direction of an RS-485 line."""

    NONE = "none"
    KERNEL = "kernel"
    """The driver, set by the TIOCSRS485 ioctl."""
    RTS = "rts"
    """The program, by the RTS line: late by up to 250 us on a busy machine."""
    AUTOMATIC = "automatic"
    """The transceiver itself."""


class SerialRole(StrEnum):
    """What a serial port is for."""

    RS485 = "rs485"
    RS232 = "rs232"
    UART = "uart"
    CONSOLE = "console"


class PartitionRole(StrEnum):
    """What a partition is for."""

    BOOT = "boot"
    ROOT = "root"
    DATA = "data"


def _bytes(value: object) -> object:
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        message = f"{value!r} is no size; write one such as 640MiB"
        raise ValueError(message)
    return int(match[1]) * (2**30 if match[2] == "GiB" else 2**20)


Size = Annotated[int, BeforeValidator(_bytes), Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")]


class Part(BaseModel):
    """A map of a profile: camelCase keys, none unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Partition(Part):
    """One partition. The last one of the role data grows to the end of the disk at first boot."""

    name: Name
    role: PartitionRole
    size_bytes: Size = Field(alias="size")


class SerialPort(Part):
    """A serial port with a stable name, ``/dev/gateway/NAME``.

    ``match`` are udev's keys of the port (``KERNEL``, ``ID_PATH``, ``ID_SERIAL``), never a number that may swap.
    """

    name: Name
    role: SerialRole
    match: dict[Literal["KERNEL", "KERNELS", "ID_PATH", "ID_SERIAL", "DRIVERS"], str] = Field(min_length=1)
    rs485: Rs485 = Rs485.NONE

    @model_validator(mode="after")
    def _mode_fits(self) -> Self:
        if (self.role is SerialRole.RS485) is (self.rs485 is Rs485.NONE):
            message = f"serial port {self.name}: rs485 says who switches the direction, of ports with the role rs485"
            raise ValueError(message)
        return self


class GpioLine(Part):
    """A line of a GPIO chip, by the names that the kernel has of both."""

    name: Name
    chip: str
    line: str


class Watchdog(Part):
    """The hardware watchdog. A time beyond ``max_s`` is refused by the chip, and then there is none."""

    device: Annotated[str, Field(pattern="^/dev/")] = "/dev/watchdog"
    max_s: Annotated[int, Field(gt=0, le=3600)]


class Storage(Part):
    """What the system is on, and what it may be written a day."""

    kind: Literal["sd", "emmc", "ssd", "virtual"]
    write_mb_per_day: Annotated[int, Field(gt=0)]


class BoardProfile(Part):
    """One board."""

    name: Name
    title: str
    proven: Proven
    arch: Literal["amd64", "arm64", "armhf"]
    boot: Boot
    image: Literal["built", "vendor"] = "built"
    """``vendor``: not built from Debian's packages, but made from the vendor's image."""
    cannot_build: str = ""
    """Why no image can be built for it right now; empty: one can."""
    compatible: str = ""
    """The string that an update must have to be installed; the name if left out."""
    partitions: tuple[Partition, ...]
    packages: tuple[str, ...] = ()
    """Debian's packages of kernel, firmware and boot loader."""
    modules: tuple[str, ...] = ()
    kernel_arguments: tuple[str, ...] = ()
    boot_config: tuple[Annotated[str, Field(pattern=r"^[^\s#][^\n\r]{0,97}$")], ...] = ()
    """Lines for config.txt of a vendor's image: overlays of the ports that the profile has."""
    serial: tuple[SerialPort, ...] = ()
    gpio: tuple[GpioLine, ...] = ()
    bluetooth: Literal["none", "uart", "usb", "virtual"] = "none"
    watchdog: Watchdog | None = None
    rtc: bool
    storage: Storage

    @model_validator(mode="after")
    def _two_slots(self) -> Self:
        roles = [one.role for one in self.partitions]
        if roles.count(PartitionRole.ROOT) != 2 or roles.count(PartitionRole.DATA) != 1:
            message = "partitions: a gateway has two of the role root, to update one while the other runs, and one data"
            raise ValueError(message)
        if roles[-1] is not PartitionRole.DATA:
            message = "partitions: data comes last, for it grows to the end of the disk"
            raise ValueError(message)
        roots = {one.size_bytes for one in self.partitions if one.role is PartitionRole.ROOT}
        if len(roots) != 1:
            message = "partitions: both of the role root have the same size, for either must take any release"
            raise ValueError(message)
        for what, names in (("partition", self.partitions), ("serial port", self.serial), ("gpio line", self.gpio)):
            seen = [one.name for one in names]
            if twice := next((one for one in seen if seen.count(one) > 1), ""):
                message = f"{what} {twice} is there twice"
                raise ValueError(message)
        return self

    @property
    def update_string(self) -> str:
        """What an update for this board must name."""
        return self.compatible or self.name
