"""All that a mapper author imports."""

from mappers.sdk.capability import Discovering, FoundDevice, FoundPoint, Listener, Subscribed, Subscribing
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
from twin.model import Access, Quality, Reason, Value, ValueType

__all__ = [
    "Access",
    "ConnectionConfig",
    "DeviceConfig",
    "DeviceTimeout",
    "Discovering",
    "Driver",
    "Fault",
    "FoundDevice",
    "FoundPoint",
    "Listener",
    "Mapper",
    "MapperError",
    "NotConnected",
    "Point",
    "PointConfig",
    "Quality",
    "Readings",
    "Reason",
    "Subscribed",
    "Subscribing",
    "Value",
    "ValueType",
    "WriteRefused",
]
