"""The kinds of documents as pydantic models: KubeEdge v1beta1's spec fields plus ours, so one model reads both."""

from __future__ import annotations

from typing import Annotated, Any, Final, Generic, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StrictBool, StrictInt, model_validator
from pydantic.alias_generators import to_camel

from twin.manifest.fields import (
    AccessMode,
    Conflict,
    Cpu,
    Deadband,
    DeadbandField,
    DropField,
    DurationMs,
    FreeMap,
    KeepField,
    Limit,
    MemoryBytes,
    Name,
    PropertyName,
    Tolerance,
    Type,
)
from twin.model import DEFAULT_NAMESPACE, Access, ConflictPolicy, Drop

OURS: Final = "edgetwin.dev/v1"
KUBEEDGE: Final = "devices.kubeedge.io/v1beta1"

DEFAULT_MEMORY_BYTES: Final = 256 * 1024 * 1024
DEFAULT_CPU: Final = 0.5
DEFAULT_WATCHDOG_MS: Final = 20_000


class Part(BaseModel):
    """A map inside a document: camelCase keys, none unknown; a key without a value counts as left out."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: one for key, one in value.items() if one is not None}


class Metadata(Part):
    """Who a document is. Fields that a server sets are read and left aside."""

    namespace: Name = DEFAULT_NAMESPACE
    name: Name
    labels: dict[str, str] = Field({}, examples=["hall: north"])
    annotations: dict[str, str] = Field({}, examples=["note: spare part ordered"])
    uid: JsonValue = None
    generation: JsonValue = None
    resource_version: JsonValue = None
    creation_timestamp: JsonValue = None
    deletion_timestamp: JsonValue = None
    managed_fields: JsonValue = None
    owner_references: JsonValue = None
    deletion_grace_period_seconds: JsonValue = None
    generate_name: JsonValue = None
    finalizers: JsonValue = None
    self_link: JsonValue = None


class Report(Part):
    """When a reading is worth a report; see twin.model.ReportPolicy."""

    always: StrictBool = Field(False, examples=["true"])
    deadband: DeadbandField = Deadband()
    min_interval_ms: DurationMs = Field(0, alias="minInterval")
    max_interval_ms: DurationMs = Field(0, alias="maxInterval")


class History(Part):
    """What is kept of the readings of a property; see twin.model.HistoryPolicy."""

    keep: KeepField
    drop: DropField = Drop.OLDEST
    max_age_ms: DurationMs = Field(0, alias="maxAge", examples=["7d"])


class Visitor(Part):
    """How a mapper reaches a property; ``config_data`` is the protocol's own."""

    protocol_name: str = Field("", examples=["modbus"])
    config_data: FreeMap = Field({}, examples=["{register: holding, address: 0}"])


class ModelProperty(Part):
    """One property that a kind of device has."""

    name: PropertyName
    description: str = Field("", examples=["water temperature"])
    type: Type
    access_mode: AccessMode = Access.READ_ONLY
    minimum: Limit = None
    maximum: Limit = None
    unit: str = Field("", examples=["°C"])
    visitors: Visitor | None = None
    enum: tuple[JsonValue, ...] = Field((), examples=["[heat, cool]"])
    tolerance: Tolerance = 0.0
    conflict: Conflict = ConflictPolicy.LATEST
    report: Report | None = None
    history: History | None = None


class DeviceModelSpec(Part):
    """The property list a kind of device has."""

    protocol: str = Field("", examples=["modbus"])
    protocol_config_data: FreeMap = Field({}, examples=["{timeout: 2s}"])
    properties: tuple[ModelProperty, ...] = Field((), examples=["[{name: temperature, type: FLOAT}]"])


class Reference(Part):
    """Names another document of the same namespace."""

    name: Name


class Desired(Part):
    """What someone wants a property to be; KubeEdge writes every value as a string."""

    value: JsonValue = None
    metadata: FreeMap = {}


class DeviceProperty(Part):
    """What a device says of one property of its model."""

    name: PropertyName
    desired: Desired | None = None
    visitors: Visitor | None = None
    collect_cycle_ms: DurationMs | None = Field(None, alias="collectCycle")
    report_cycle_ms: DurationMs | None = Field(None, alias="reportCycle")
    report_to_cloud: StrictBool = Field(True, examples=["true"])
    push_method: FreeMap | None = None
    report: Report | None = None
    history: History | None = None
    conflict: Conflict | None = None
    tolerance: Tolerance | None = None


class Protocol(Part):
    """KubeEdge's way to name a connection: the mapper and its settings inside the device."""

    protocol_name: str = Field(examples=["modbus"])
    config_data: FreeMap = Field({}, examples=["{ip: 192.0.2.10, port: 502}"])


class Method(Part):
    """A KubeEdge device method; kept, not served."""

    name: str = ""
    description: str = ""
    property_names: tuple[str, ...] = ()


class StateReport(Part):
    """Whether and how often KubeEdge's mapper reports the state of the device."""

    report_to_cloud: StrictBool = Field(False, examples=["true"])
    report_cycle_ms: DurationMs | None = Field(None, alias="reportCycle")


class DeviceSpec(Part):
    """A physical thing: its model, where it is connected, what is wanted of it."""

    device_model_ref: Reference = Field(examples=["{name: boiler}"])
    gateway: Name | None = None
    node_name: Name | None = None
    connection: Name | None = None
    protocol: Protocol | None = None
    address: FreeMap = Field({}, examples=["{unit: 1}"])
    properties: tuple[DeviceProperty, ...] = Field((), examples=["[{name: temperature}]"])
    methods: tuple[Method, ...] = ()
    state_report: StateReport | None = None
    simulate: StrictBool | None = Field(None, examples=["true"])

    @property
    def gateway_name(self) -> str:
        """The gateway, by our field or KubeEdge's; empty if the document names none."""
        return self.gateway or self.node_name or ""


class ConnectionSpec(Part):
    """A bus or host that several devices share, and the mapper that speaks to it."""

    mapper: Name = Field(examples=["modbus"])
    config: FreeMap = Field({}, examples=["{host: 192.0.2.10}"])
    simulate: StrictBool = Field(False, examples=["true"])


class OfferedPort(Part):
    """A port of this machine on which something listens; Services find it by its name or number."""

    name: Name = Field(examples=["metrics"])
    port: Annotated[StrictInt, Field(ge=1, le=65535, examples=[9200])]
    protocol: Literal["TCP", "UDP"] = Field("TCP", examples=["TCP"])


class MapperSpec(Part):
    """How an installed mapper runs. A plugin has a process of its own, which these limits hold.

    ``ports`` are what it offers to Services whose selector fits the labels of the document.
    """

    enabled: StrictBool = Field(True, examples=["false"])
    memory_bytes: MemoryBytes = Field(DEFAULT_MEMORY_BYTES, alias="memory")
    cpu: Cpu = Field(DEFAULT_CPU)
    watchdog_ms: DurationMs = Field(DEFAULT_WATCHDOG_MS, alias="watchdog", examples=["20s"])
    ports: tuple[OfferedPort, ...] = Field((), examples=["[{name: metrics, port: 9200}]"])


Spec: TypeAlias = DeviceModelSpec | DeviceSpec | ConnectionSpec | MapperSpec
S = TypeVar("S")


class Envelope(Part, Generic[S]):
    """A whole document. ``status`` is what a cluster once observed; kept, and read only in v1alpha2."""

    api_version: str
    kind: str
    metadata: Metadata = Field(examples=["{name: boiler-1}"])
    spec: S
    status: FreeMap | None = None


KINDS: Final[dict[tuple[str, str], type[Envelope[Any]]]] = {
    (OURS, "DeviceModel"): Envelope[DeviceModelSpec],
    (OURS, "Device"): Envelope[DeviceSpec],
    (OURS, "Connection"): Envelope[ConnectionSpec],
    (OURS, "Mapper"): Envelope[MapperSpec],
    (KUBEEDGE, "DeviceModel"): Envelope[DeviceModelSpec],
    (KUBEEDGE, "Device"): Envelope[DeviceSpec],
}
