"""What people write about OPC UA connections, devices and points; KubeEdge's keys are read as they are."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Self
from urllib.parse import urlsplit

from pydantic import AliasChoices, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic.alias_generators import to_camel

from mappers.opcua.kubeedge import flat, native_connection, native_point
from mappers.opcua.nodeid import checked_node_id, namespace_uri, steps
from mappers.sdk import ConnectionConfig, DeviceConfig, PointConfig, ScanConfig, ValueType

_CAMEL: Final = ConfigDict(alias_generator=to_camel)
_OBJECTS: Final = "i=85"
_NODE_KEYS: Final = ("node", "nodeId")
Milliseconds = Annotated[int, Field(ge=1, le=3_600_000)]


class SecurityPolicy(StrEnum):
    """How messages are protected; the deprecated Basic128Rsa15 and Basic256 are not offered."""

    NONE = "None"
    BASIC256SHA256 = "Basic256Sha256"
    AES128 = "Aes128Sha256RsaOaep"
    AES256 = "Aes256Sha256RsaPss"


class SecurityMode(StrEnum):
    """Whether messages are signed, or encrypted too."""

    NONE = "None"
    SIGN = "Sign"
    SIGN_AND_ENCRYPT = "SignAndEncrypt"


class Timestamp(StrEnum):
    """Which of a value's times is reported as its own."""

    SOURCE = "source"
    SERVER = "server"
    RECEIPT = "receipt"


class OpcuaConnection(ConnectionConfig):
    """A server, how it is known, and who we are to it."""

    model_config = _CAMEL

    url: str
    security_policy: SecurityPolicy = SecurityPolicy.NONE
    security_mode: SecurityMode | None = None
    user: str = ""
    password: SecretStr = SecretStr("")
    password_file: str = ""
    user_certificate: str = ""
    user_key: str = ""
    certificate: str = ""
    private_key: str = ""
    server_certificate: str = ""
    pki: str = ""
    trust_any_server: bool = False
    timeout_ms: Milliseconds = 4000
    session_timeout_ms: Milliseconds = 60_000
    subscribe: bool = True
    publish_window: Annotated[int, Field(ge=1, le=50)] = 5
    keep_alive_ms: Milliseconds = 5000
    items_per_call: Annotated[int, Field(ge=1, le=100_000)] = 1000
    timestamp: Timestamp = Timestamp.SOURCE

    @model_validator(mode="before")
    @classmethod
    def _accept_kubeedge(cls, given: Any) -> Any:
        return native_connection(given) if isinstance(given, Mapping) else given

    @field_validator("security_policy", "security_mode", mode="before")
    @classmethod
    def _any_case(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        wanted = given.rpartition("#")[2].lower().replace("_", "").replace("-", "")
        known = {str(one).lower(): one for one in (*SecurityPolicy, *SecurityMode)}
        return known.get(wanted, given)

    @field_validator("url")
    @classmethod
    def _url(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            fits = parts.scheme == "opc.tcp" and bool(parts.hostname) and (parts.port or 4840) > 0
        except ValueError:  # a port that is no number
            fits = False
        if not fits:
            message = f"url {url!r} is not opc.tcp://host:port; for example url: opc.tcp://192.168.1.20:4840"
            raise ValueError(message)
        if "@" in parts.netloc:
            message = "url holds a login, which would show in logs; use user and password"
            raise ValueError(message)
        return url if parts.port else url.replace(parts.netloc, f"{parts.netloc}:4840", 1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for check in (self._check_security, self._check_login, self._check_certificate):
            if problem := check():
                raise ValueError(problem)
        return self

    @property
    def mode(self) -> SecurityMode:
        """The mode in force: with a policy and no mode, messages are encrypted."""
        if self.security_mode is not None:
            return self.security_mode
        return SecurityMode.NONE if self.security_policy is SecurityPolicy.NONE else SecurityMode.SIGN_AND_ENCRYPT

    def _check_security(self) -> str:
        secure = self.security_policy is not SecurityPolicy.NONE
        if secure and self.security_mode is SecurityMode.NONE:
            return (
                f"securityPolicy {self.security_policy} with securityMode None protects nothing;"
                " use securityMode: SignAndEncrypt"
            )
        if not secure and self.security_mode not in (None, SecurityMode.NONE):
            return (
                f"securityMode {self.security_mode} needs a securityPolicy; for example securityPolicy: Basic256Sha256"
            )
        return ""

    def _check_login(self) -> str:
        if (self.password.get_secret_value() or self.password_file) and not self.user:
            return "password without a user; add user, or remove the password"
        if self.password.get_secret_value() and self.password_file:
            return "password and passwordFile are both given; keep one of them"
        if bool(self.user_certificate) != bool(self.user_key):
            return "userCertificate and userKey go together; give both, or none of them"
        if self.user and self.user_certificate:
            return "user and userCertificate are both given; a session has one login, keep one of them"
        return ""

    def _check_certificate(self) -> str:
        if bool(self.certificate) != bool(self.private_key):
            return "certificate and privateKey go together; give both, or none to have them made"
        return ""


class OpcuaDevice(DeviceConfig):
    """The node where browse paths begin; the Objects folder if none is named."""

    node: Annotated[str, Field(validation_alias=AliasChoices(*_NODE_KEYS))] = _OBJECTS

    @field_validator("node")
    @classmethod
    def _node(cls, node: str) -> str:
        return checked_node_id(node)


class OpcuaPoint(PointConfig):
    """A variable by node id or by browse path from the device's node; with ``method``, what a desired value calls."""

    model_config = _CAMEL

    node_id: str = ""
    path: str = ""
    method: str = ""
    object: str = ""
    sampling_ms: Annotated[int, Field(ge=0, le=3_600_000)] | None = None
    queue: Annotated[int, Field(ge=1, le=10_000)] = 1
    deadband: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    deadband_percent: Annotated[float, Field(ge=0, le=100)] = 0.0
    poll: bool = False
    events: bool = False
    min_severity: Annotated[int, Field(ge=0, le=1000)] = 0

    @model_validator(mode="before")
    @classmethod
    def _accept_kubeedge(cls, given: Any) -> Any:
        return native_point(given) if isinstance(given, Mapping) and "nodeID" in given else given

    @field_validator("node_id", "method", "object")
    @classmethod
    def _checked(cls, text: str) -> str:
        return checked_node_id(text) if text else text

    @field_validator("path")
    @classmethod
    def _path(cls, path: str) -> str:
        if path:
            steps(path)
        return path

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for check in (self._check_events, self._check_place, self._check_method, self._check_deadband):
            if problem := check():
                raise ValueError(problem)
        return self

    @property
    def reads(self) -> bool:
        """Whether there is a variable to read; a method may go without, and events have none."""
        return bool(self.node_id or self.path) and not self.events

    def mismatch(self, type_: ValueType) -> str:
        """Events are objects; any other node is read as it is."""
        if self.events and type_ is not ValueType.JSON:
            return f"events are objects, which a {type_} cannot hold; make the property's type JSON"
        return super().mismatch(type_)

    def _check_place(self) -> str:
        if self.node_id and self.path:
            return "nodeId and path are both given; keep one of them"
        if not (self.node_id or self.path or self.method):
            return "nodeId is missing; for example nodeId: ns=2;s=Pump.Speed (or path: 2:Speed, from the device's node)"
        return ""

    def _check_method(self) -> str:
        if self.object and not self.method:
            return "object is the owner of a method; add method, or remove object"
        return ""

    def _check_deadband(self) -> str:
        if self.deadband and self.deadband_percent:
            return "deadband and deadbandPercent are both given; keep one of them"
        return ""

    def _check_events(self) -> str:
        if self.min_severity and not self.events:
            return "minSeverity is of events; add events: true, or remove minSeverity"
        if self.events and (self.method or self.deadband or self.deadband_percent or self.poll):
            return "events can neither be called nor polled, and have no deadband; remove the other keys"
        if self.events and not (self.node_id or self.path):
            return "nodeId is missing; for example nodeId: i=2253 for the events of the whole server"
        return ""


class OpcuaScan(ScanConfig):
    """Where browsing begins and where it ends."""

    model_config = _CAMEL

    under: str = _OBJECTS
    max_nodes: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000
    max_depth: Annotated[int, Field(ge=1, le=100)] = 12

    @field_validator("under")
    @classmethod
    def _under(cls, node: str) -> str:
        if namespace_uri(checked_node_id(node)):
            message = f"under {node!r} names a namespace by its URI; use its number, for example ns=2;s=Plant"
            raise ValueError(message)
        return checked_node_id(node)


def split_kubeedge(config: Mapping[str, object]) -> tuple[dict[str, object], dict[str, object]]:
    """Split KubeEdge's one map of protocol keys into those of the connection and those of the device."""
    opened = flat(config)
    native = native_connection(opened)
    known = {name for key, one in OpcuaConnection.model_fields.items() for name in (key, one.alias)}
    device: dict[str, object] = {str(key): opened[key] for key in _NODE_KEYS if key in opened}
    return {key: value for key, value in native.items() if key in known}, device
