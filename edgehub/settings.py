"""The one settings file of a gateway: every key with its default, overrides from the environment.

Looked for in ``--config``, ``$EDGETWIN_CONFIG``, ``./edgetwin.yaml``, ``/etc/edgetwin/edgetwin.yaml``. An empty file,
or none, is a valid gateway. ``EDGETWIN_BROKER_PORT=1884`` overrides ``broker.port``, and so on for every key.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, SecretStr, field_validator

from edgehub.accounts import DialectNames
from edgehub.listeners import KubeApiSettings, LegacySettings, MetricsSettings, TlsSettings, WebSettings, checked_device
from edgehub.mesh_settings import MeshSettings
from twin.dialects.aws_names import THING, THING_RULE, Things
from twin.errors import InvalidName
from twin.history import Limits
from twin.link.options import options_from_url
from twin.manifest.fields import parsed_duration_ms
from twin.model import NAME, NAME_RULE, Kind, TwinKey
from twin.setting_types import JSON_IN_ENVIRONMENT, is_broker, seconds
from twin.settings_file import InvalidSettings as InvalidSettings  # what loading raises
from twin.settings_file import Loaded, Section, SettingsFile

PREFIX: Final = "EDGETWIN_"
_LEAST_MS: Final = 500
_LONGEST_COMMIT_MS: Final = 300_000
_TOPIC_NAME: Final = re.compile(r"[^/+#\s\0]{1,128}(/[^/+#\s\0]{1,128})?")
NOT_SETTINGS: Final = frozenset({"EDGETWIN_CONFIG", "EDGETWIN_STATE"})


class GatewaySettings(Section):
    """Who this gateway is."""

    name: Annotated[str, Field(description="unique in the cloud; the host's name if empty")] = ""

    @field_validator("name")
    @classmethod
    def _is_name(cls, name: str) -> str:
        if name and NAME.fullmatch(name) is None:
            message = f"{name!r} is not a name; use {NAME_RULE}"
            raise ValueError(message)
        return name


class BrokerSettings(Section):
    """Which broker the gateway uses."""

    url: Annotated[str, Field(description="any MQTT 5 broker, mqtt://host:port; empty: an own mosquitto")] = ""
    username: Annotated[str, Field(description="account on the broker of url")] = ""
    password: Annotated[SecretStr, Field(description="password on the broker of url")] = SecretStr("")
    port: Annotated[int, Field(ge=1, le=65535, description="of the own mosquitto; the next free one if taken")] = 1883
    mosquitto: Annotated[str, Field(description="path of the mosquitto program; searched for if empty")] = ""
    tls: TlsSettings = TlsSettings()
    legacy: LegacySettings = LegacySettings()

    @field_validator("url")
    @classmethod
    def _is_url(cls, url: str) -> str:
        if url and not is_broker(url, "mqtt"):
            message = f"{url!r} is not a broker address; write mqtt://host or mqtt://host:port"
            raise ValueError(message)
        return url


class KubeEdgeSettings(Section):
    """KubeEdge's topics on the local broker."""

    enabled: Annotated[bool, Field(description="serve $hw/events and $ke/events")] = True
    strict: Annotated[bool, Field(description="answer byte for byte as KubeEdge 1.23, without our fixes")] = False
    undeclared: Annotated[bool, Field(description="let messages add properties that the device model lacks")] = True
    names: Annotated[dict[str, str], JSON_IN_ENVIRONMENT] = Field(
        {}, description="KubeEdge's name of a device -> namespace/name here"
    )

    @field_validator("names")
    @classmethod
    def _are_names(cls, names: dict[str, str]) -> dict[str, str]:
        for name, device in names.items():
            if _TOPIC_NAME.fullmatch(name) is None:
                message = f"{name!r} cannot stand in a KubeEdge topic; use one level or two, without + # and spaces"
                raise ValueError(message)
            checked_device(device)
        return names


class AwsSettings(Section):
    """AWS's Device Shadow topics on the local broker."""

    enabled: Annotated[bool, Field(description="serve $aws/things")] = True
    things: Annotated[dict[str, str], JSON_IN_ENVIRONMENT] = Field(
        {}, description="name of a thing -> namespace/name of a device here"
    )
    in_flight: Annotated[int, Field(ge=1, le=1000, description="requests of one shadow at once")] = 10
    max_state_bytes: Annotated[int, Field(ge=64, le=65536, description="size of one shadow's state")] = 8192

    @field_validator("things")
    @classmethod
    def _are_things(cls, things: dict[str, str]) -> dict[str, str]:
        devices: dict[TwinKey, str] = {}
        for thing, device in things.items():
            if THING.fullmatch(thing) is None:
                message = f"{thing!r} is not the name of a thing; use {THING_RULE}"
                raise ValueError(message)
            try:
                key = TwinKey.parse(device)
            except InvalidName as error:
                raise ValueError(error.message) from None
            if key.kind is not Kind.DEVICE:
                message = f"{device!r} is not a device; write name or namespace/name"
                raise ValueError(message)
            if key in devices:
                message = f"{thing!r} and {devices[key]!r} are the same device; a device is one thing"
                raise ValueError(message)
            devices[key] = thing
        return things

    def names(self) -> Things:
        """Which device a thing is."""
        return Things({thing: TwinKey.parse(device) for thing, device in self.things.items()})


class DialectSettings(Section):
    """Other people's topics on the local broker."""

    aws: AwsSettings = AwsSettings()
    kubeedge: KubeEdgeSettings = KubeEdgeSettings()

    def names(self) -> DialectNames:
        """What devices are called on these topics."""
        kubeedge = tuple((name, TwinKey.parse(device)) for name, device in self.kubeedge.names.items())
        return DialectNames(kubeedge, self.aws.names() if self.aws.enabled else None)


class HistorySettings(Section):
    """How much of the readings is kept."""

    max_bytes: Annotated[int, Field(ge=0, description="of all history together")] = 128 * 1024 * 1024
    max_age: Annotated[str, Field(description="greatest age of readings whose property gives none")] = "30d"
    min_free_bytes: Annotated[int, Field(ge=0, description="free space below which history gives way")] = (
        64 * 1024 * 1024
    )

    @field_validator("max_age")
    @classmethod
    def _is_duration(cls, max_age: str) -> str:
        if not parsed_duration_ms(max_age):
            message = f"{max_age!r} is not a duration; write 12h or 30d, at most 366d"
            raise ValueError(message)
        return max_age

    @property
    def limits(self) -> Limits:
        """The same for the kernel."""
        return Limits(self.max_bytes, parsed_duration_ms(self.max_age) or 0, self.min_free_bytes)


class StoreSettings(Section):
    """How twins are kept on disk."""

    commit_interval: Annotated[
        str, Field(description="how long reports may wait for their commit; 0s: not, 30s: less wear of an SD card")
    ] = "0s"

    @field_validator("commit_interval")
    @classmethod
    def _is_duration(cls, duration: str) -> str:
        interval_ms = parsed_duration_ms(duration)
        if interval_ms is None or interval_ms > _LONGEST_COMMIT_MS:
            message = f"{duration!r} is no interval of commits; write 0s or 30s, at most 5m"
            raise ValueError(message)
        return duration

    @property
    def commit_interval_s(self) -> float:
        """The interval as a number."""
        return seconds(self.commit_interval)


class CloudSettings(Section):
    """How the gateway speaks with the cloud."""

    enabled: Annotated[bool, Field(description="speak with the cloud that is named, if one is")] = True
    url: Annotated[str, Field(description="its broker, mqtts://host:port; empty: as `edgetwin join` was told")] = ""
    first_delay: Annotated[str, Field(description="the first connect waits a random part of it")] = "5s"
    retry_cap: Annotated[str, Field(description="greatest wait between two connects")] = "15s"
    ack_timeout: Annotated[str, Field(description="what is not acknowledged for so long is sent again")] = "5s"
    digests_every: Annotated[str, Field(description="how often all twins and documents are compared")] = "6h"

    @field_validator("url")
    @classmethod
    def _is_url(cls, url: str) -> str:
        if url:
            try:
                options_from_url(url, "checked")
            except InvalidName as error:
                message = f"{error.message}; {error.remedy}"
                raise ValueError(message) from None
        return url

    @field_validator("first_delay", "retry_cap", "ack_timeout", "digests_every")
    @classmethod
    def _is_duration(cls, duration: str) -> str:
        if parsed_duration_ms(duration) is None:
            message = f"{duration!r} is not a duration; write 500ms, 5s, 10m or 6h"
            raise ValueError(message)
        return duration

    @field_validator("retry_cap", "ack_timeout", "digests_every")
    @classmethod
    def _is_not_nothing(cls, duration: str) -> str:
        if (parsed_duration_ms(duration) or 0) < _LEAST_MS:
            message = f"{duration!r} is too short; write 500ms or more"
            raise ValueError(message)
        return duration


class PodmanSettings(Section):
    """The podman that runs images of registries."""

    program: Annotated[str, Field(description="path of the podman program; searched for if empty")] = ""
    socket: Annotated[str, Field(description="of a podman service that is there; empty: an own one")] = ""
    subnet: Annotated[str, Field(description="of pods with an own network, such as 10.89.0.0/24")] = ""

    @field_validator("socket")
    @classmethod
    def _is_path(cls, socket: str) -> str:
        if socket and not Path(socket).is_absolute():
            message = f"{socket!r} is not a path; write /run/podman/podman.sock"
            raise ValueError(message)
        return socket

    @field_validator("subnet")
    @classmethod
    def _is_subnet(cls, subnet: str) -> str:
        if subnet:
            try:
                ip_network(subnet)
            except ValueError:
                message = f"{subnet!r} is not a subnet; write 10.89.0.0/24"
                raise ValueError(message) from None
        return subnet


class PodSettings(Section):
    """How pods are run."""

    stop_with_hub: Annotated[bool, Field(description="end all pods with the hub; else they run on")] = False
    log_max_bytes: Annotated[int, Field(ge=4096, description="of one log file of a container")] = 10 * 1024 * 1024
    log_files: Annotated[int, Field(ge=1, le=100, description="log files of a container, the newest among them")] = 3
    podman: PodmanSettings = PodmanSettings()


class UpdateSettings(Section):
    """How releases are updated; the updater reads these, the hub does not."""

    ca: Annotated[str, Field(description="file of the CAs whose updates are taken; without it none are")] = (
        "/etc/edgetwin/update-ca.pem"
    )
    backend: Annotated[Literal["auto", "releases", "rauc"], Field(description="auto: rauc where it is set up")] = "auto"
    releases: Annotated[str, Field(description="folder of the back end releases")] = "/opt/edgetwin"
    restart: Annotated[str, Field(description="command that starts the hub anew, of the back end releases")] = (
        "systemctl restart --no-block edgetwin.service"
    )
    trial: Annotated[str, Field(description="so long a new release has to be well, each of its three starts")] = "5m"
    settle: Annotated[str, Field(description="so long it must be well without a break")] = "10s"

    @field_validator("trial", "settle")
    @classmethod
    def _is_duration(cls, duration: str) -> str:
        if not parsed_duration_ms(duration):
            message = f"{duration!r} is not a duration; write 10s or 5m"
            raise ValueError(message)
        return duration

    @field_validator("restart")
    @classmethod
    def _is_command(cls, restart: str) -> str:
        try:
            words = shlex.split(restart)
        except ValueError:
            words = []
        if not words:
            message = f"{restart!r} is not a command"
            raise ValueError(message)
        return restart


class LogSettings(Section):
    """What the hub says."""

    level: Annotated[Literal["debug", "info", "warning", "error"], Field(description="least level that is logged")] = (
        "info"
    )


class Settings(Section):
    """All settings of a gateway."""

    gateway: GatewaySettings = GatewaySettings()
    broker: BrokerSettings = BrokerSettings()
    dialects: DialectSettings = DialectSettings()
    store: StoreSettings = StoreSettings()
    history: HistorySettings = HistorySettings()
    cloud: CloudSettings = CloudSettings()
    pods: PodSettings = PodSettings()
    kube_api: KubeApiSettings = KubeApiSettings()
    mesh: MeshSettings = MeshSettings()
    web: WebSettings = WebSettings()
    metrics: MetricsSettings = MetricsSettings()
    updates: UpdateSettings = UpdateSettings()
    log: LogSettings = LogSettings()

    @property
    def gateway_name(self) -> str:
        """The name from the settings, else one made of the host's name."""
        if self.gateway.name:
            return self.gateway.name
        made = "".join(c if c.isascii() and c.isalnum() else "-" for c in socket.gethostname().lower()).strip("-")
        return made[:63].strip("-") or "gateway"


LoadedSettings = Loaded[Settings]
FILE: Final = SettingsFile(Settings, "edgetwin.yaml", PREFIX, "EDGETWIN_CONFIG", NOT_SETTINGS)


def load_settings(explicit: Path | None, environment: Mapping[str, str]) -> LoadedSettings:
    """Find, read and check the settings. Raises InvalidSettings with every problem found."""
    return FILE.load(explicit, environment)


def settings_keys() -> Iterator[tuple[str, ...]]:
    """The path of every key, through sections and their sections."""
    return FILE.keys()


def variable_of(path: tuple[str, ...]) -> str:
    """The environment variable that overrides a key."""
    return FILE.variable_of(path)


def state_folder(environment: Mapping[str, str]) -> Path:
    """The one folder of all state: ``$EDGETWIN_STATE``, else /var/lib/edgetwin as root, else the user's own."""
    if named := environment.get("EDGETWIN_STATE"):
        return Path(named).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/edgetwin")
    base = environment.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "edgetwin"
