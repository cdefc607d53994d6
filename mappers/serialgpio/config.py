"""What people write about serial ports, boards and scans."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic.alias_generators import to_camel

from mappers.sdk import ConnectionConfig, DeviceConfig, ScanConfig

_CAMEL: Final = ConfigDict(alias_generator=to_camel)
Milliseconds = Annotated[int, Field(ge=1, le=600_000)]


class Backend(StrEnum):
    """What is at the other end."""

    FIRMATA = "firmata"


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

    @field_validator("serial_port")
    @classmethod
    def _serial_port(cls, path: str) -> str:
        if not path or "\0" in path:
            message = "serialPort is empty; for example serialPort: /dev/ttyACM0, or '*' for the only one there is"
            raise ValueError(message)
        return path

    @model_validator(mode="after")
    def _bits(self) -> Self:
        if self.data_bits != 8:
            message = "Firmata needs all 8 bits of a byte; leave dataBits out"
            raise ValueError(message)
        return self

    @property
    def speed(self) -> int:
        """Bits a second."""
        return self.baud_rate or 57_600


class SerialgpioDevice(DeviceConfig):
    """A board is alone on its line and needs no address."""

    model_config = _CAMEL


class SerialgpioScan(ScanConfig):
    """Whether ports are opened to see what is there."""

    model_config = _CAMEL

    probe: bool = True
    probe_ms: Milliseconds = 4000
