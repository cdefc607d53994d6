"""What people write about Modbus connections, devices and scans; KubeEdge's keys are read as they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AliasChoices, ConfigDict, Field, field_validator, model_validator
from pydantic.alias_generators import to_camel

from mappers.modbus.kubeedge import native_connection
from mappers.sdk import ConnectionConfig, DeviceConfig, ScanConfig

_CAMEL: Final = ConfigDict(alias_generator=to_camel)
_UNIT_KEYS: Final = ("unit", "slaveID", "slaveId")
_TLS_PORT: Final = 802
_HIGHEST_UNIT: Final = 247


class Transport(StrEnum):
    """How frames travel: TCP frames with a number each, or frames of a serial line, which have none."""

    TCP = "tcp"
    TLS = "tls"
    RTU = "rtu"
    ASCII = "ascii"
    RTU_OVER_TCP = "rtuOverTcp"

    @property
    def is_serial(self) -> bool:
        """Whether it is a serial port of this machine."""
        return self in (Transport.RTU, Transport.ASCII)

    @property
    def numbered(self) -> bool:
        """Whether an answer says which request it belongs to."""
        return self in (Transport.TCP, Transport.TLS)


class ModbusConnection(ConnectionConfig):
    """A host in a network or a serial line."""

    model_config = _CAMEL

    transport: Transport = Transport.TCP
    host: str = ""
    port: Annotated[int, Field(ge=1, le=65535)] = 502
    connections: Annotated[int, Field(ge=1, le=16)] = 1
    ca: str = ""
    certificate: str = ""
    private_key: str = ""
    server_name: str = ""
    serial_port: str = ""
    baudrate: Annotated[int, Field(ge=50, le=4_000_000, alias="baudRate")] = 9600
    data_bits: Annotated[int, Field(ge=7, le=8)] = 8
    parity: Literal["none", "even", "odd"] = "none"
    stop_bits: Annotated[int, Field(ge=1, le=2)] = 1
    pause_ms: Annotated[float, Field(ge=0, le=10_000, allow_inf_nan=False)] | None = None
    timeout_ms: Annotated[int, Field(ge=1, le=600_000)] = 1000
    retries: Annotated[int, Field(ge=0, le=100)] = 0
    max_block: Annotated[int, Field(ge=1, le=125)] = 125
    max_block_bits: Annotated[int, Field(ge=1, le=2000)] = 2000
    gap: Annotated[int, Field(ge=0, le=2000)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _accept_kubeedge(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        native = native_connection(given)
        return {"port": _TLS_PORT, **native} if native.get("transport") == Transport.TLS else native

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for check in (self._check_place, self._check_tls, self._check_line):
            if problem := check():
                raise ValueError(problem)
        return self

    @property
    def where(self) -> str:
        """The place as messages name it."""
        return self.serial_port if self.transport.is_serial else f"{self.host}:{self.port}"

    @property
    def pause_s(self) -> float:
        """Silence between an answer and the next request: by default what the specification wants of an RTU line."""
        if self.pause_ms is not None:
            return self.pause_ms / 1000
        return max(_SHORTEST_PAUSE_S, _PAUSE_BITS / self.baudrate) if self.transport is Transport.RTU else 0.0

    def _check_place(self) -> str:
        if self.transport.is_serial:
            if not self.serial_port:
                return f"transport {self.transport} needs a serialPort; for example serialPort: /dev/ttyUSB0"
            if self.connections > 1:
                return f"connections {self.connections} go with a host, not with a serial port; leave connections out"
        elif not self.host:
            return f"transport {self.transport} needs a host; for example host: 192.168.1.10 (KubeEdge's key is ip)"
        return ""

    def _check_tls(self) -> str:
        given = {
            "ca": self.ca,
            "certificate": self.certificate,
            "privateKey": self.private_key,
            "serverName": self.server_name,
        }
        if self.transport is not Transport.TLS:
            for key, value in given.items():
                if value:
                    return f"{key} means nothing to transport {self.transport}; use transport: tls, or leave {key} out"
        elif bool(self.certificate) != bool(self.private_key):
            return "certificate and privateKey go together; give both, or none if the host asks for none"
        return ""

    def _check_line(self) -> str:
        if self.transport is Transport.RTU and self.data_bits != 8:
            return f"dataBits {self.data_bits} cannot carry the bytes of rtu; use dataBits: 8, or transport: ascii"
        return ""


class ModbusDevice(DeviceConfig):
    """The unit id of a device: 1 to 247, on TCP also 0 and 255, which mean the host itself."""

    model_config = _CAMEL

    unit: Annotated[int, Field(validation_alias=AliasChoices(*_UNIT_KEYS))] = 1
    read_write: bool = False

    @field_validator("unit")
    @classmethod
    def _unit(cls, unit: int) -> int:
        if 0 <= unit <= _HIGHEST_UNIT or unit == 255:
            return unit
        message = f"unit {unit} is not 0 to 247, or 255 on TCP; for example unit: 1"
        raise ValueError(message)


class ModbusScan(ScanConfig):
    """Which units to ask, such as ``1-20,32``."""

    units: str = f"1-{_HIGHEST_UNIT}"

    @field_validator("units")
    @classmethod
    def _units(cls, units: str) -> str:
        if not list(unit_range(units)):
            message = f"units {units!r} names no unit; for example units: 1-20,32"
            raise ValueError(message)
        return units


def unit_range(text: str) -> Iterator[int]:
    """Units of a text such as ``1-20,32``. Raises ValueError with what to write."""
    for part in text.split(","):
        bounds = re.fullmatch(r"\s*(\d{1,3})(?:\s*-\s*(\d{1,3}))?\s*", part, re.ASCII)
        first = int(bounds[1]) if bounds else -1
        last = int(bounds[2] or first) if bounds else -1
        if not 0 <= first <= last <= 255:
            message = f"units {text!r} is not a list of units and ranges within 0 to 255; for example units: 1-20,32"
            raise ValueError(message)
        yield from range(first, last + 1)


def split_kubeedge(config: Mapping[str, object]) -> tuple[dict[str, object], dict[str, object]]:
    """Split KubeEdge's one map of protocol keys into those of the connection and those of the device.

    Groups of the older API (com, tcp, modbus) are opened; keys that mean nothing here are left out.
    """
    flat: dict[str, object] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and key in ("com", "tcp", "modbus"):
            flat |= value
        else:
            flat[key] = value
    native = native_connection(flat)
    known = {name for key, field in ModbusConnection.model_fields.items() for name in (key, field.alias)}
    device: dict[str, object] = {key: flat[key] for key in _UNIT_KEYS if key in flat}
    return {key: value for key, value in native.items() if key in known}, device


_SHORTEST_PAUSE_S: Final = 0.00175  # the specification's, for speeds over 19200
_PAUSE_BITS: Final = 38.5  # 3.5 characters of 11 bits
