"""The words of a twin as types: keys, values, qualities, and what a device model says of a property."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from typing_extensions import TypeAliasType

from twin.errors import InvalidName

Value = TypeAliasType("Value", "bool | int | float | str | list[Value] | dict[str, Value] | None")
"""Any JSON value. A named alias, because pydantic cannot follow a plain one into itself."""

NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")
NAME_RULE: Final = "1 to 63 characters a-z, 0-9, '.' and '-', with a letter or digit at both ends"
PROPERTY: Final = re.compile(r"[A-Za-z0-9_.,:/@#-]{1,128}")
PROPERTY_RULE: Final = "1 to 128 characters A-Z, a-z, 0-9 and _ . , : / @ # -"
DEFAULT_NAMESPACE: Final = "default"


class Quality(StrEnum):
    """How far a value can be trusted: the three severities of an OPC UA status."""

    GOOD = "good"
    UNCERTAIN = "uncertain"
    BAD = "bad"


class Reason(StrEnum):
    """Why a value is not good, one word a cause."""

    NONE = ""
    NOT_CONNECTED = "not_connected"  # no connection to the device or its bus
    TIMEOUT = "timeout"  # connected, but the device did not answer in time
    DEVICE_FAILURE = "device_failure"  # the device answered that it cannot
    ILLEGAL_ADDRESS = "illegal_address"  # the device does not know this address
    CONFIG_ERROR = "config_error"  # the mapper cannot use the visitor as written
    DECODE_ERROR = "decode_error"  # an answer came, but is not a value of the type
    ACCESS_DENIED = "access_denied"  # the device does not let this login at it
    OUT_OF_RANGE = "out_of_range"  # a value outside the limits of the device model
    WRITE_REFUSED = "write_refused"  # the device refused, or did not keep, a desired value
    MAPPER_DOWN = "mapper_down"  # the mapper that serves the device is not running
    NOT_ACCURATE = "not_accurate"  # the device itself doubts the value
    STALE = "stale"  # not refreshed for several intervals


class Section(StrEnum):
    """The two halves of a twin."""

    DESIRED = "desired"
    REPORTED = "reported"


class Site(StrEnum):
    """The two writers of a gateway's twins."""

    EDGE = "edge"
    CLOUD = "cloud"

    @property
    def peer(self) -> Site:
        """The other site."""
        return Site.CLOUD if self is Site.EDGE else Site.EDGE


class Kind(StrEnum):
    """What a twin is the twin of."""

    DEVICE = "device"
    POD = "pod"
    ROUTE = "route"
    MAPPER = "mapper"
    GATEWAY = "gateway"
    PUSH = "push"
    SHADOW = "shadow"  # a named shadow of a device: no model, any property, any JSON value
    ALARM = "alarm"  # a rule that holds, or held, for something


class ValueType(StrEnum):
    """Types of a property: KubeEdge's, plus JSON for whole objects and arrays."""

    INT = "INT"
    FLOAT = "FLOAT"
    DOUBLE = "DOUBLE"
    STRING = "STRING"
    BOOLEAN = "BOOLEAN"
    BYTES = "BYTES"
    STREAM = "STREAM"
    JSON = "JSON"


class Access(StrEnum):
    """Whether a property takes desired values."""

    READ_WRITE = "ReadWrite"
    READ_ONLY = "ReadOnly"


class ConflictPolicy(StrEnum):
    """Who wins between two writes made without knowledge of each other."""

    LATEST = "latest"
    CLOUD = "cloud"
    EDGE = "edge"


class Keep(StrEnum):
    """Which readings of a property go into the history."""

    OFF = "off"
    CHANGES = "changes"  # those that the report policy lets through to the twin
    ALL = "all"  # every reading that is taken, also an unchanged one


class Drop(StrEnum):
    """What makes room when the history is full."""

    OLDEST = "oldest"  # the oldest readings go
    THIN = "thin"  # older readings are thinned out, several times, before they go


@dataclass(frozen=True, slots=True, order=True)
class TwinKey:
    """Names one twin in the whole cloud, written ``kind/namespace/name``."""

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> TwinKey:
        """Read ``name``, ``namespace/name`` or ``kind/namespace/name``; a missing part is device and default.

        Raises InvalidName for anything else.
        """
        parts = text.split("/")
        if len(parts) > 3:
            raise InvalidName(what="twin", text=text, rule="[[kind/]namespace/]name")
        kind_text = parts[-3] if len(parts) == 3 else Kind.DEVICE.value
        try:
            kind = Kind(kind_text)
        except ValueError:
            rule = "a kind is one of " + ", ".join(Kind)
            raise InvalidName(what="twin kind", text=kind_text, rule=rule) from None
        namespace = parts[-2] if len(parts) >= 2 else DEFAULT_NAMESPACE
        return cls(kind, checked_name(namespace, "namespace"), checked_name(parts[-1], f"{kind} name"))


@dataclass(frozen=True, slots=True)
class ReportPolicy:
    """When a reading is worth a report; intervals in milliseconds, 0 means none.

    ``always`` reports each reading. Otherwise a reading is reported when it differs from the last reported one by
    more than the deadband: ``deadband`` in units of the property, ``deadband_percent`` of its range (maximum minus
    minimum). ``min_interval_ms`` holds changes back, ``max_interval_ms`` repeats an unchanged value.
    A change of quality is always reported.
    """

    always: bool = False
    deadband: float = 0.0
    deadband_percent: float = 0.0
    min_interval_ms: int = 0
    max_interval_ms: int = 0


@dataclass(frozen=True, slots=True)
class HistoryPolicy:
    """What is kept of a property's readings; ``max_age_ms`` 0 is the gateway's own limit."""

    keep: Keep = Keep.OFF
    drop: Drop = Drop.OLDEST
    max_age_ms: int = 0


@dataclass(frozen=True, slots=True)
class PropertySpec:
    """What the device model says of one property. Limits are None where there are none."""

    name: str
    type: ValueType = ValueType.JSON
    access: Access = Access.READ_ONLY
    minimum: float | None = None
    maximum: float | None = None
    enum: tuple[Value, ...] = ()
    unit: str = ""
    description: str = ""
    tolerance: float = 0.0
    conflict: ConflictPolicy = ConflictPolicy.LATEST
    report: ReportPolicy = field(default_factory=ReportPolicy)
    history: HistoryPolicy = field(default_factory=HistoryPolicy)


@dataclass(frozen=True, slots=True)
class TwinSpec:
    """What the documents say of one twin: its uid, model, gateway, labels, properties by name.

    ``desired`` holds the desired values written in the documents; a change there is a write like any other.
    """

    key: TwinKey
    uid: str
    model: str = ""
    gateway: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    properties: dict[str, PropertySpec] = field(default_factory=dict)
    desired: dict[str, Value] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        """Whether properties without a spec are taken, with any JSON value: a kind's own nature, on both sites."""
        return self.key.kind in _OPEN_KINDS


_OPEN_KINDS: Final = frozenset({Kind.SHADOW, Kind.POD, Kind.ROUTE})


def checked_name(text: str, what: str) -> str:
    """Return the text if it fits the name grammar; raises InvalidName naming ``what`` it was for."""
    if NAME.fullmatch(text) is None:
        raise InvalidName(what=what, text=text, rule=NAME_RULE)
    return text
