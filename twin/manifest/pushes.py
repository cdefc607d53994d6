"""Our own document of pushes: which readings go to which other system, and how."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, StrictInt, StrictStr

from twin.manifest.fields import DurationMs, FreeMap, Name, PropertyName, refuse
from twin.manifest.kinds import OURS, Envelope, Part
from twin.manifest.kube_fields import Bytes

EVERYWHERE: Final = "*"
MIN_BUFFER_BYTES: Final = 1024 * 1024

_SCHEMES: Final = {"http": ("http://", "https://"), "mqtt": ("mqtt://", "mqtts://")}


def _url_of(kind: str) -> BeforeValidator:
    def checked(value: object) -> object:
        schemes = _SCHEMES[kind]
        text = value if isinstance(value, str) else ""
        start = next((one for one in schemes if text.startswith(one)), "")
        host = text.removeprefix(start).partition("/")[0]
        if not start or not host or any(character.isspace() for character in text):
            refuse(value, "is not an address", f"Write {schemes[0]}host or {schemes[1]}host, with a port if needed.")
        if "@" in host:
            refuse("an address with a login", "would show its password", "Name the secret by a file or a variable.")
        return value

    return BeforeValidator(checked)


def _topic(value: str) -> str:
    known = ("{gateway}", "{namespace}", "{device}", "{property}")
    rest = value
    for one in known:
        rest = rest.replace(one, "x")
    if not value or value.startswith("$") or any(character in rest for character in "{}+#\0"):
        refuse(value, "is no topic to publish to", f"Leave + and # out, and of braces use only {', '.join(known)}.")
    return value


HttpUrl = Annotated[str, _url_of("http"), Field(examples=["https://collector.plant.example/readings"])]
BrokerUrl = Annotated[str, _url_of("mqtt"), Field(examples=["mqtts://broker.plant.example"])]
Topic = Annotated[StrictStr, AfterValidator(_topic), Field(examples=["plant/{device}/{property}"])]
Shape = Literal["json", "kubeedge"]


class Secret(Part):
    """Where a secret is found when it is needed: a file, or a variable of the hub's environment; exactly one."""

    file: str | None = Field(None, pattern="^/", examples=["/etc/edgetwin/token"])
    env: str | None = Field(None, pattern="^[A-Za-z_][A-Za-z0-9_]*$", examples=["PUSH_TOKEN"])


class HttpPush(Part):
    """A request with a batch of readings for each step; see docs/pushes.md."""

    url: HttpUrl
    method: Literal["POST", "PUT"] = "POST"
    headers: dict[str, str] = Field({}, examples=["{X-Plant: north}"])
    token: Secret | None = Field(None, examples=["{file: /etc/edgetwin/token}"])
    ca: str | None = Field(None, pattern="^/", examples=["/etc/edgetwin/plant-ca.pem"])
    shape: Shape = "json"


class MqttPush(Part):
    """A message for each reading."""

    url: BrokerUrl
    topic: Topic = "edgetwin/{gateway}/{namespace}/{device}/{property}"
    qos: Annotated[StrictInt, Field(ge=0, le=1, examples=[1])] = 1
    retained: StrictBool = Field(False, examples=["true"])
    username: str = Field("", examples=["gateway-1"])
    password: Secret | None = Field(None, examples=["{env: PUSH_PASSWORD}"])
    ca: str | None = Field(None, pattern="^/", examples=["/etc/edgetwin/plant-ca.pem"])
    shape: Shape = "json"


class Influxdb2Push(Part):
    """Points of InfluxDB 2 and 3, and of 1.8 with its way in for those."""

    url: HttpUrl
    org: str = Field("", examples=["plant"])
    bucket: str = Field(examples=["readings"])
    token: Secret | None = Field(None, examples=["{file: /etc/edgetwin/influx-token}"])
    measurement: str = Field("{device}", min_length=1, examples=["readings"])
    tags: dict[str, str] = Field({}, examples=["{hall: north}"])
    field: str = Field("{property}", min_length=1, examples=["value"])
    ca: str | None = Field(None, pattern="^/", examples=["/etc/edgetwin/plant-ca.pem"])


class OtelPush(Part):
    """Gauges by OpenTelemetry's own protocol over HTTP."""

    url: HttpUrl
    headers: dict[str, str] = Field({}, examples=["{X-Plant: north}"])
    token: Secret | None = Field(None, examples=["{file: /etc/edgetwin/token}"])
    ca: str | None = Field(None, pattern="^/", examples=["/etc/edgetwin/plant-ca.pem"])


BUILT_IN: Final[dict[str, type[Part]]] = {
    "http": HttpPush,
    "mqtt": MqttPush,
    "influxdb2": Influxdb2Push,
    "otel": OtelPush,
}
"""The types that need nothing of others."""


class PushSelector(Part):
    """Which readings: those of devices that fit all that is said. Without a word all of the document's namespace."""

    namespaces: tuple[Annotated[str, Field(examples=["plant"])], ...] = Field((), examples=['["*"]'])
    match_labels: dict[str, str] = Field({}, examples=["{hall: north}"])
    devices: tuple[Name, ...] = Field((), examples=["[boiler-1]"])
    properties: tuple[PropertyName, ...] = Field((), examples=["[temperature]"])


class Buffer(Part):
    """How much waits on disk while the target takes nothing. What is over that is dropped, the oldest first."""

    max_bytes: Bytes = 64 * 1024 * 1024
    max_age_ms: DurationMs = Field(7 * 86_400_000, alias="maxAge", examples=["7d"])


class BatchSize(Part):
    """How many readings go in one step, and how long the first waits for others."""

    max_readings: Annotated[StrictInt, Field(ge=1, le=5000, examples=[500])] = 500
    wait_ms: DurationMs = Field(500, alias="wait", examples=["500ms"])


class PushSpec(Part):
    """Readings of devices, delivered to another system at least once."""

    type: Annotated[str, Field(pattern="^[a-z0-9][a-z0-9-]{0,62}$", examples=["http"])]
    config: FreeMap = Field({}, examples=["{url: https://collector.plant.example/readings}"])
    select: PushSelector = Field(PushSelector(), examples=["{matchLabels: {hall: north}}"])
    buffer: Buffer = Field(Buffer(), examples=["{maxBytes: 64Mi, maxAge: 7d}"])
    batch: BatchSize = Field(BatchSize(), examples=["{maxReadings: 500}"])
    timeout_ms: DurationMs = Field(10_000, alias="timeout", examples=["10s"])


KINDS: Final[dict[tuple[str, str], type[Envelope[Any]]]] = {(OURS, "Push"): Envelope[PushSpec]}
