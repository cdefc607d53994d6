"""All that a mapper author imports."""

from mappers.sdk.cancelled import Within, check_cancelled
from mappers.sdk.capability import (
    Discovering,
    FoundDevice,
    FoundPoint,
    GivingWay,
    Listener,
    Progress,
    Subscribed,
    Subscribing,
)
from mappers.sdk.driver import (
    Capability,
    ConnectionConfig,
    DeviceConfig,
    Driver,
    Fault,
    Mapper,
    Point,
    PointConfig,
    Readings,
    ScanConfig,
    WriteBack,
    WriteKind,
)
from mappers.sdk.errors import DeviceTimeout, MapperError, NotConnected, WriteRefused
from mappers.sdk.lines import LineClient
from twin.model import Access, Quality, Reason, Value, ValueType

__all__ = [
    "Access",
    "Capability",
    "ConnectionConfig",
    "DeviceConfig",
    "DeviceTimeout",
    "Discovering",
    "Driver",
    "Fault",
    "FoundDevice",
    "FoundPoint",
    "GivingWay",
    "LineClient",
    "Listener",
    "Mapper",
    "MapperError",
    "NotConnected",
    "Point",
    "PointConfig",
    "Progress",
    "Quality",
    "Readings",
    "Reason",
    "ScanConfig",
    "Subscribed",
    "Subscribing",
    "Value",
    "ValueType",
    "Within",
    "WriteBack",
    "WriteKind",
    "WriteRefused",
    "check_cancelled",
]
