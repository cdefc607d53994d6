"""KubeEdge's ``pushMethod`` as pushes of ours: what many properties share, and each one's own words. Pure.

Each property of KubeEdge says everything anew. Here one connection serves all that name the same server: the rest, such
as the topic, goes with the reading as its route.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from twin.manifest.fields import FreeMap
from twin.manifest.pushes import BUILT_IN
from twin.model import Value

INFLUX_TOKEN: Final = "TOKEN"
"""The variable that KubeEdge's mappers read it from."""
SECONDS_BELOW: Final = 1000
"""A time-out below that is in seconds, else in milliseconds: KubeEdge gives it no unit, and does not use it."""

_MQTT: Final = {"tcp": "mqtt", "mqtt": "mqtt", "": "mqtt", "ssl": "mqtts", "tls": "mqtts", "mqtts": "mqtts"}
M = TypeVar("M", bound=BaseModel)


class InvalidPushMethod(ValueError):
    """A ``pushMethod`` that cannot be carried out: where in it, why, and what to do."""

    def __init__(self, path: tuple[str, ...], text: str, remedy: str) -> None:
        super().__init__(text)
        self.path = path
        self.text = text
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class PushMethod:
    """One way out of a property: a type of push, what it shares with others, and the reading's own words."""

    type: str
    config: FreeMap
    route: FreeMap
    timeout_ms: int = 0


class _Words(BaseModel):
    model_config = ConfigDict(frozen=True)


class _Http(_Words):
    hostName: str = ""  # noqa: N815  KubeEdge's own word, as are the others here
    port: int = 0
    requestPath: str = ""  # noqa: N815
    timeout: int = 0


class _Mqtt(_Words):
    address: str = ""
    topic: str = ""
    qos: int = 0
    retained: bool = False


class _InfluxClient(_Words):
    url: str = ""
    org: str = ""
    bucket: str = ""


class _InfluxPoint(_Words):
    measurement: str = ""
    tag: dict[str, str] = {}
    fieldKey: str = ""  # noqa: N815


class _Influx(_Words):
    influxdb2ClientConfig: _InfluxClient = _InfluxClient()  # noqa: N815
    influxdb2DataConfig: _InfluxPoint = _InfluxPoint()  # noqa: N815


class _Otel(_Words):
    endpointURL: str = ""  # noqa: N815


def push_methods(said: Mapping[str, Value], *, strict: bool = False) -> Iterator[PushMethod]:
    """What a ``pushMethod`` asks for; ``strict``: in KubeEdge's own shape. Raises InvalidPushMethod."""
    shape: FreeMap = {"shape": "kubeedge"} if strict else {}
    if "http" in said:
        yield _http(_read(_Http, said["http"], ("http",)), shape)
    if "mqtt" in said:
        yield _mqtt(_read(_Mqtt, said["mqtt"], ("mqtt",)), shape)
    if "otel" in said:
        otel = _read(_Otel, said["otel"], ("otel",))
        yield _checked(PushMethod("otel", {"url": otel.endpointURL}, {}), ("otel", "endpointURL"))
    database = said.get("dbMethod")
    if isinstance(database, dict) and "influxdb2" in database:
        path = ("dbMethod", "influxdb2")
        yield _influxdb2(_read(_Influx, database["influxdb2"], path), path)


def not_served(said: Mapping[str, Value]) -> list[tuple[str, ...]]:
    """The paths of what KubeEdge knows and we do not carry out."""
    database = said.get("dbMethod")
    found = [(name,) for name in said if name not in ("http", "mqtt", "otel", "dbMethod")]
    inside = [("dbMethod", name) for name in database if name != "influxdb2"] if isinstance(database, dict) else []
    return [*found, *inside]


def _http(http: _Http, shape: FreeMap) -> PushMethod:
    host = http.hostName if "://" in http.hostName else f"http://{http.hostName}"
    base = f"{host.rstrip('/')}:{http.port}" if http.port else host.rstrip("/")
    path = http.requestPath if http.requestPath.startswith("/") or not http.requestPath else f"/{http.requestPath}"
    timeout_ms = http.timeout * 1000 if http.timeout < SECONDS_BELOW else http.timeout
    found = PushMethod("http", {"url": f"{base}/", **shape}, {"url": f"{base}{path or '/'}"}, timeout_ms)
    return _checked(found, ("http", "hostName"))


def _mqtt(mqtt: _Mqtt, shape: FreeMap) -> PushMethod:
    scheme, _, rest = mqtt.address.rpartition("://")
    if scheme not in _MQTT:
        raise InvalidPushMethod(("mqtt", "address"), f"{scheme} is no scheme of a broker", "Write tcp://host:1883.")
    route: FreeMap = {"topic": mqtt.topic, "qos": min(mqtt.qos, 1), "retained": mqtt.retained}
    _checked(PushMethod("mqtt", {"url": f"{_MQTT[scheme]}://{rest}", **route}, {}), ("mqtt",))
    return PushMethod("mqtt", {"url": f"{_MQTT[scheme]}://{rest}", **shape}, route)


def _influxdb2(influx: _Influx, path: tuple[str, ...]) -> PushMethod:
    client, point = influx.influxdb2ClientConfig, influx.influxdb2DataConfig
    config: FreeMap = {"url": client.url, "org": client.org, "bucket": client.bucket, "token": {"env": INFLUX_TOKEN}}
    route: FreeMap = {"measurement": point.measurement, "tags": dict(point.tag), "field": point.fieldKey}
    said: FreeMap = {name: one for name, one in route.items() if one}
    _checked(PushMethod("influxdb2", {**config, **said}, {}), (*path, "influxdb2ClientConfig"))
    return PushMethod("influxdb2", config, said)


def _checked(found: PushMethod, path: tuple[str, ...]) -> PushMethod:
    try:
        BUILT_IN[found.type].model_validate({**found.config, **found.route})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        remedy = first.get("ctx", {}).get("remedy", "See docs/kubeedge.md for what it takes.")
        raise InvalidPushMethod(path, first["msg"], remedy) from None
    return found


def _read(model: type[M], said: Any, path: tuple[str, ...]) -> M:
    try:
        return model.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = (*path, *map(str, first["loc"]))
        raise InvalidPushMethod(
            where, first["msg"], "Write what KubeEdge's documentation of pushMethod says."
        ) from None
