"""What people write about serial ports, boards and scans."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic.alias_generators import to_camel

from mappers.sdk import ConnectionConfig, DeviceConfig, ScanConfig
from mappers.serialgpio.framing_config import FramingConfig
from mappers.serialgpio.modules import TEMPLATES, Module

_CAMEL: Final = ConfigDict(alias_generator=to_camel)
Milliseconds = Annotated[int, Field(ge=1, le=600_000)]


class Backend(StrEnum):
    """What is at the other end."""

    FIRMATA = "firmata"
    MODULE = "module"
    FRAMES = "frames"
    GPIOCHIP = "gpiochip"


_KEYS: Final = {
    "bootMs": (Backend.FIRMATA,),
    "samplingMs": (Backend.FIRMATA,),
    "aliveMs": (Backend.FIRMATA, Backend.GPIOCHIP),
    "chip": (Backend.GPIOCHIP,),
    **dict.fromkeys(
        ("serialPort", "baudRate", "dataBits", "parity", "stopBits", "timeoutMs"),
        (Backend.FIRMATA, Backend.MODULE, Backend.FRAMES),
    ),
    "module": (Backend.MODULE,),
    "framing": (Backend.MODULE, Backend.FRAMES),
    "gapMs": (Backend.MODULE, Backend.FRAMES),
}


class SerialgpioConnection(ConnectionConfig):
    """A serial port and what is at its other end."""

    model_config = _CAMEL

    backend: Backend = Backend.FIRMATA
    serial_port: str = "*"
    baud_rate: Annotated[int, Field(ge=50, le=4_000_000)] | None = None
    data_bits: Annotated[int, Field(ge=7, le=8)] = 8
    parity: Literal["none", "even", "odd"] = "none"
    stop_bits: Annotated[int, Field(ge=1, le=2)] = 1
    timeout_ms: Milliseconds = 1000
    boot_ms: Milliseconds = 8000
    sampling_ms: Annotated[int, Field(ge=1, le=16_383)] = 100
    alive_ms: Milliseconds = 2000
    module: Module | None = None
    framing: FramingConfig | None = None
    gap_ms: Milliseconds = 100
    chip: str = "/dev/gpiochip0"

    @field_validator("serial_port")
    @classmethod
    def _serial_port(cls, path: str) -> str:
        if not path or "\0" in path:
            message = "serialPort is empty; for example serialPort: /dev/ttyACM0, or '*' for the only one there is"
            raise ValueError(message)
        return path

    @field_validator("chip")
    @classmethod
    def _chip(cls, chip: str) -> str:
        if not re.fullmatch(r"(/dev/)?[A-Za-z0-9_./-]{1,100}", chip):
            message = f"chip {chip!r} is no path; for example chip: /dev/gpiochip0"
            raise ValueError(message)
        return chip if chip.startswith("/") else f"/dev/{chip}"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        given = {to_camel(name) for name in self.model_fields_set}
        problem = ""
        for key, backends in _KEYS.items():
            if key in given and self.backend not in backends:
                whose = " and ".join(backends)
                problem = f"{key} is for backend {whose}, backend is {self.backend}; leave {key} out"
        if self.backend is Backend.FIRMATA and self.data_bits != 8:
            problem = "Firmata needs all 8 bits of a byte; leave dataBits out"
        if self.backend is Backend.MODULE and self.module is None:
            problem = f"module is missing; for example module: {Module.NUMATO}"
        if problem:
            raise ValueError(problem)
        return self

    @property
    def speed(self) -> int:
        """Bits a second."""
        return self.baud_rate or (57_600 if self.backend is Backend.FIRMATA else 9600)

    @property
    def frames(self) -> FramingConfig:
        """How messages are told apart: as it is said, else as the module does."""
        if self.framing is not None:
            return self.framing
        return FramingConfig() if self.module is None else TEMPLATES[self.module].framing


class SerialgpioDevice(DeviceConfig):
    """Which of several on a line; a board is alone on its line and needs no address."""

    model_config = _CAMEL

    unit: str = ""
    silence_ms: Milliseconds = 60_000

    @field_validator("unit", mode="before")
    @classmethod
    def _unit(cls, unit: Any) -> Any:
        return str(unit) if isinstance(unit, int) and not isinstance(unit, bool) else unit


class SerialgpioScan(ScanConfig):
    """Whether the ports that a pattern matches are opened, to see what is there."""

    model_config = _CAMEL

    probe: bool = False
    probe_ms: Milliseconds = 4000


def split_kubeedge(config: Mapping[str, object]) -> tuple[dict[str, object], dict[str, object]]:
    """Split KubeEdge's one map of protocol keys into those of the connection and those of the device."""
    of_device = {name for key, one in SerialgpioDevice.model_fields.items() for name in (key, one.alias)}
    device = {key: value for key, value in config.items() if key in of_device}
    return {key: value for key, value in config.items() if key not in of_device}, device
