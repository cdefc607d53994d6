"""What a mapper host is told to serve: connection -> device -> point. Sent by the hub as one retained message."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.dataclasses import dataclass

from twin.model import Access, ReportPolicy, ValueType


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))  # a third of a model's memory
class PointSettings:
    """One property of a device: what the model says of it, when to read it, and how it is reached."""

    property: str
    type: ValueType
    access: Access = Access.READ_ONLY
    minimum: float | None = None
    maximum: float | None = None
    enum: tuple[JsonValue, ...] = ()
    unit: str = ""
    tolerance: float = 0.0
    cycle_ms: Annotated[int, Field(gt=0)] = 1000
    report: ReportPolicy = ReportPolicy()
    visitor: Annotated[dict[str, Any], Field(description="checked by the mapper's own PointConfig")]


class DeviceSettings(_Settings):
    """One device on a connection. ``twin`` is its key, ``device/namespace/name``.

    A device to ``simulate`` is never reached for; its values are made up.
    """

    twin: str
    address: Annotated[dict[str, Any], Field(description="checked by the mapper's own DeviceConfig")]
    points: tuple[PointSettings, ...]
    simulate: bool = False


class ConnectionSettings(_Settings):
    """One bus or host and the devices on it. ``name`` is ``namespace/name``, unique in the host."""

    name: str
    mapper: str
    config: Annotated[dict[str, Any], Field(description="checked by the mapper's own ConnectionConfig")]
    devices: tuple[DeviceSettings, ...]


class HostSettings(_Settings):
    """All connections of one mapper host."""

    connections: tuple[ConnectionSettings, ...] = ()
