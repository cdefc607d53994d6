"""What a driver promises: five methods that do I/O and nothing else.

The SDK owns schedule, conversion, report policy, quality, write-back, reconnect and simulation. What a driver may
offer beside the five is in ``mappers.sdk.capability``.

    runner ── plan ──> driver        once per change of configuration, pure
    runner ── read ──> driver        each cycle: values and faults by property name
    runner ── write ─> driver        each desired value; the runner reads back
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import Annotated, Final, Generic, Protocol, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.alias_generators import to_camel

from twin.model import Quality, Reason, Value, ValueType

A = TypeVar("A", bound="PointConfig")
D = TypeVar("D", bound="DeviceConfig", contravariant=True)
P = TypeVar("P")

_PULSE_EXPIRES_S: Final = 60.0


class ConnectionConfig(BaseModel):
    """Base of a protocol's connection settings: what is needed to reach the bus or the host."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class DeviceConfig(BaseModel):
    """Base of what a protocol needs to know of one device on a connection (a unit id, say)."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class WriteKind(StrEnum):
    """What becomes of a value after it was written."""

    CONFIRMED = "confirmed"  # it is read back; what was read is reported
    WRITE_ONLY = "writeOnly"  # it cannot be read: what the device took is reported
    PULSE = "pulse"  # true is written, and false a while later; true is reported when that is done


class WriteBack(BaseModel):
    """How a desired value gets to the device, the same in every protocol."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, alias_generator=to_camel)

    kind: WriteKind = WriteKind.CONFIRMED
    read_from: str = ""
    delay_ms: Annotated[int, Field(ge=0, le=600_000)] = 0
    pulse_ms: Annotated[int, Field(ge=1, le=600_000)] = 500
    expires_ms: Annotated[int, Field(ge=1, le=30 * 86_400_000)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kind is not WriteKind.CONFIRMED:
            for key, given in (("readFrom", self.read_from), ("delayMs", self.delay_ms)):
                if given:
                    message = f"{key} is about reading back, which kind {self.kind} never does; leave {key} out"
                    raise ValueError(message)
        if self.kind is not WriteKind.PULSE and "pulse_ms" in self.model_fields_set:
            message = f"pulseMs means nothing to kind {self.kind}; use kind: pulse, or leave pulseMs out"
            raise ValueError(message)
        return self

    @classmethod
    def of_visitor(cls, visitor: Mapping[str, object]) -> Self:
        """What a visitor without mistakes says of it, whatever its protocol."""
        return cls.model_validate(visitor.get("writeBack", visitor.get("write_back", {})))

    @property
    def expires_s(self) -> float:
        """Age at which a desired value is not written any more; a pulse that is long overdue is never wanted."""
        if self.expires_ms is not None:
            return self.expires_ms / 1000
        return _PULSE_EXPIRES_S if self.kind is WriteKind.PULSE else inf

    def mismatch(self, value_type: ValueType, others: Collection[str]) -> str:
        """Why a property of that type, beside those others of its device, cannot be written so; empty if it can."""
        if self.read_from and self.read_from not in others:
            return f"writeBack.readFrom {self.read_from!r} is no other property; name the one with the feedback"
        if self.kind is WriteKind.PULSE and value_type is not ValueType.BOOLEAN:
            return f"a pulse is true and then false, which a property of type {value_type} is not; use type: BOOLEAN"
        return ""


class PointConfig(BaseModel):
    """Base of a protocol's visitor: how a property is reached.

    ``scale`` and ``offset`` are applied by the SDK: reported = raw * scale + offset, and the inverse for writes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    scale: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    offset: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    write_back: Annotated[WriteBack, Field(alias="writeBack")] = WriteBack()

    @field_validator("scale")
    @classmethod
    def _invertible(cls, scale: float) -> float:
        if not scale:
            message = "scale 0 makes all values one; use another number, for example scale: 0.1"
            raise ValueError(message)
        return scale

    def mismatch(self, value_type: ValueType) -> str:  # noqa: ARG002  # a base that fits every type
        """Why this cannot be read as a property of that type, as ``what is wrong; remedy``; empty if it can."""
        return ""


class ScanConfig(BaseModel):
    """Base of what a search for devices may be told: where to look, and for how long."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


@dataclass(frozen=True, slots=True)
class Point(Generic[A]):
    """A visitor as a driver sees it: the property's name and type, and its address."""

    name: str
    type: ValueType
    address: A


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a point has no value this time, or how far the value that it has can be trusted."""

    reason: Reason
    text: str = ""
    quality: Quality = Quality.BAD


@dataclass(slots=True)
class Readings:
    """One read: raw values and faults by property name. Each planned point is in at least one of the two.

    A point in both has a value of the fault's quality. ``times_ms`` is when the device says it had the values, in
    milliseconds since 1970, of those points for which it says so.
    """

    values: dict[str, Value] = field(default_factory=dict)
    faults: dict[str, Fault] = field(default_factory=dict)
    times_ms: dict[str, int] = field(default_factory=dict)


class Driver(Protocol[D, A, P]):
    """I/O of one connection. The runner calls one method at a time and may cancel any of them.

    D is the protocol's DeviceConfig, A its PointConfig, P whatever ``plan`` makes for ``read``.
    """

    async def connect(self) -> None:
        """Open the connection. Raises NotConnected."""
        ...

    async def close(self) -> None:
        """Let go of everything; never raises, may be called at any time."""
        ...

    def plan(self, device: D, points: Sequence[Point[A]]) -> P:
        """Prepare reading these points of one device together; pure, no I/O."""
        ...

    async def read(self, plan: P) -> Readings:
        """Read the planned points. A fault of one point is in the result; what hits the whole device is raised.

        Raises NotConnected when the connection is gone, DeviceTimeout when this device does not answer.
        """
        ...

    async def write(self, device: D, point: Point[A], value: Value) -> Readings | None:
        """Write one raw value. Raises WriteRefused, and NotConnected or DeviceTimeout as ``read`` does.

        Most return nothing and are asked to read it back; what a protocol reads with the same request is returned.
        """
        ...


class Capability(StrEnum):
    """What a driver may offer beside its five methods; see ``mappers.sdk.capability``."""

    SUBSCRIBE = "subscribe"
    DISCOVER = "discover"


@dataclass(frozen=True, slots=True)
class Mapper:
    """A protocol as a plugin offers it under the entry-point group ``edgetwin.mappers``.

    ``driver`` imports what it needs when called, so that listing mappers costs nothing.
    """

    name: str
    connection: type[ConnectionConfig]
    device: type[DeviceConfig]
    point: type[PointConfig]
    driver: Callable[[ConnectionConfig], Driver[DeviceConfig, PointConfig, object]]
    aliases: Mapping[str, str] = field(default_factory=dict)
    """KubeEdge protocolName values, in lower case, that mean this mapper."""
    split: Callable[[Mapping[str, object]], tuple[dict[str, object], dict[str, object]]] = lambda config: (
        dict(config),
        {},
    )
    """KubeEdge writes connection and device keys into one map: returns the two parts."""
    scan: type[ScanConfig] = ScanConfig
    """What ``discover`` takes, if the driver has it."""
    capabilities: frozenset[Capability] = frozenset()
    """What its driver offers, said here so that listing mappers imports no driver; the driver itself decides."""
