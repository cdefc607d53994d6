"""What people write about Bluetooth adapters, devices and scans; KubeEdge's keys are read as they are."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import AliasChoices, ConfigDict, Field, SecretStr, field_validator
from pydantic.alias_generators import to_camel

from mappers.ble.kubeedge import flat
from mappers.sdk import ConnectionConfig, DeviceConfig, ScanConfig

_CAMEL: Final = ConfigDict(alias_generator=to_camel)
_MAC: Final = re.compile(r"[0-9A-F]{2}(:[0-9A-F]{2}){5}")
_KEY: Final = re.compile(r"[0-9a-fA-F]{32}")
Milliseconds = Annotated[int, Field(ge=1, le=3_600_000)]


class BleConnection(ConnectionConfig):
    """A Bluetooth adapter of this machine."""

    model_config = _CAMEL

    adapter: str = ""
    connect_timeout_ms: Milliseconds = 20_000
    timeout_ms: Milliseconds = 4000
    reconnect_max_ms: Milliseconds = 60_000

    @field_validator("adapter")
    @classmethod
    def _adapter(cls, adapter: str) -> str:
        if adapter and not re.fullmatch(r"hci\d{1,3}|tcp:[^:\s]+:\d{1,5}", adapter):
            message = f"adapter {adapter!r} is not the name of an adapter; for example adapter: hci0"
            raise ValueError(message)
        if adapter.startswith("tcp:") and importlib.util.find_spec("bumble") is None:
            message = "an adapter behind tcp needs the library bumble; install edgetwin[demo]"
            raise ValueError(message)
        return adapter


class BleDevice(DeviceConfig):
    """A peripheral by its address."""

    model_config = _CAMEL

    mac: Annotated[str, Field(validation_alias=AliasChoices("mac", "macAddress"))]
    pair: bool = False
    bindkey: SecretStr = SecretStr("")
    silence_ms: Milliseconds = 60_000
    idle_ms: Milliseconds = 60_000

    @field_validator("mac")
    @classmethod
    def _mac(cls, mac: str) -> str:
        upper = mac.upper().replace("-", ":")
        if not _MAC.fullmatch(upper):
            message = f"mac {mac!r} is not a Bluetooth address; for example mac: C4:7C:8D:6A:12:34"
            raise ValueError(message)
        return upper

    @field_validator("bindkey")
    @classmethod
    def _bindkey(cls, bindkey: SecretStr) -> SecretStr:
        if (key := bindkey.get_secret_value()) and not _KEY.fullmatch(key):
            message = "bindkey is not 32 hexadecimal digits; copy it from the sensor's own app"
            raise ValueError(message)
        return bindkey

    @property
    def key(self) -> bytes | None:
        """The key of encrypted advertisements."""
        return bytes.fromhex(self.bindkey.get_secret_value()) or None


class BleScan(ScanConfig):
    """For how long to listen, and whether to look into devices."""

    model_config = _CAMEL

    seconds: Annotated[float, Field(gt=0, le=600, allow_inf_nan=False)] = 10.0
    named: str = ""
    connect: bool = False


def split_kubeedge(config: Mapping[str, object]) -> tuple[dict[str, object], dict[str, object]]:
    """Split KubeEdge's one map of protocol keys into those of the connection and those of the device."""
    opened = flat(config)
    known = {name for key, one in BleConnection.model_fields.items() for name in (key, one.alias)}
    device = {name for key, one in BleDevice.model_fields.items() for name in (key, one.alias, "macAddress")}
    return (
        {key: value for key, value in opened.items() if key in known},
        {key: value for key, value in opened.items() if key in device},
    )
