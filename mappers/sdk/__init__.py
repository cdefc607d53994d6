"""All that a mapper author imports."""

from mappers.sdk.driver import (
    ConnectionConfig,
    DeviceConfig,
    Driver,
    Fault,
    Mapper,
    Point,
    PointConfig,
    Readings,
)
from mappers.sdk.errors import DeviceTimeout, MapperError, NotConnected, WriteRefused
from twin.model import Reason, Value, ValueType

__all__ = [
    "ConnectionConfig",
    "DeviceConfig",
    "DeviceTimeout",
    "Driver",
    "Fault",
    "Mapper",
    "MapperError",
    "NotConnected",
    "Point",
    "PointConfig",
    "Readings",
    "Reason",
    "Value",
    "ValueType",
    "WriteRefused",
]
