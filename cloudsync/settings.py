"""The one settings file of a cloud: every key with its default, overrides from the environment.

``edgetwin-cloud.yaml`` is looked for in ``--config``, ``$EDGETWIN_CLOUD_CONFIG``, this folder, ``/etc/edgetwin``.
An empty file, or none, is a valid cloud. ``EDGETWIN_CLOUD_STORE_URL=...`` overrides ``store.url``, and so on.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from cloudsync.identity.credentials import Servers
from cloudsync.identity.folder import CloudFolder
from cloudsync.identity.service import Lives
from twin.setting_types import JSON_IN_ENVIRONMENT, LOOPBACK, address_as, is_broker, split_address
from twin.settings_file import InvalidSettings, Loaded, Section, SettingsFile

PREFIX: Final = "EDGETWIN_CLOUD_"
RESERVED: Final = frozenset({"EDGETWIN_CLOUD_CONFIG", "EDGETWIN_CLOUD_STATE", "EDGETWIN_CLOUD_CREDENTIALS"})
MQTT_PORT: Final = 1883
MQTTS_PORT: Final = 8883
_EXAMPLE: Final = "0.0.0.0:8883"


class PublicSettings(Section):
    """How the cloud is reached from outside; written into join tokens, credentials and the servers' certificate."""

    host: Annotated[
        str, Field(description="name or address that gateways and users dial; the host's name if empty")
    ] = ""
    gateways_port: Annotated[int, Field(ge=0, le=65535, description="0: that of broker.gateways")] = 0
    apps_port: Annotated[int, Field(ge=0, le=65535, description="0: that of broker.apps")] = 0
    web_port: Annotated[int, Field(ge=0, le=65535, description="0: that of web.listen")] = 0


class BrokerSettings(Section):
    """The brokers: own Mosquittos, those of other machines, or one that the user names."""

    gateways: Annotated[
        str,
        Field(description="host:port of the gateways' listener; empty: no own broker for them"),
        address_as(_EXAMPLE),
    ] = "0.0.0.0:8883"
    apps: Annotated[
        str, Field(description="host:port of the users' listener; empty: no own broker for them"), address_as(_EXAMPLE)
    ] = "0.0.0.0:8884"
    internal: Annotated[
        str,
        Field(description="host:port where workers of other machines reach the own gateways' broker"),
        address_as(_EXAMPLE),
    ] = ""
    shards: Annotated[
        tuple[str, ...],
        JSON_IN_ENVIRONMENT,
        Field(description="gateways' brokers of other machines, mqtts://host:port"),
    ] = ()
    url: Annotated[str, Field(description="any MQTT 5 broker for all, mqtt[s]://host:port; empty: own mosquittos")] = ""
    username: Annotated[str, Field(description="account of the workers on url, shards and internal")] = ""
    password: Annotated[SecretStr, Field(description="its password")] = SecretStr("")
    mosquitto: Annotated[str, Field(description="path of the mosquitto program; searched for if empty")] = ""
    connections: Annotated[int, Field(ge=10, le=1_000_000, description="at most, of one own broker")] = 10_000

    @field_validator("url")
    @classmethod
    def _is_url(cls, url: str) -> str:
        return checked_url(url) if url else url

    @field_validator("shards")
    @classmethod
    def _are_urls(cls, shards: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(checked_url, shards))

    @model_validator(mode="after")
    def _has_a_login(self) -> Self:
        for key, used in (("shards", self.shards), ("internal", self.internal)):
            if used and not (self.username and self.password.get_secret_value()):
                message = f"broker.{key} needs username and password beside it"
                raise ValueError(message)
        return self


class StoreSettings(Section):
    """Where twins, history and identities are kept."""

    url: Annotated[
        SecretStr, Field(description="postgresql://user:password@host/name; empty: SQLite in the state folder")
    ] = SecretStr("")

    @field_validator("url")
    @classmethod
    def _is_url(cls, url: SecretStr) -> SecretStr:
        scheme = urlsplit(url.get_secret_value()).scheme
        if url.get_secret_value() and scheme not in ("postgresql", "postgres"):
            message = f"a store of {scheme or 'this kind'} is not known; write postgresql://user:password@host/name"
            raise ValueError(message)
        return url

    @property
    def postgres(self) -> bool:
        """Whether it is PostgreSQL."""
        return bool(self.url.get_secret_value())

    def place(self, folder: CloudFolder) -> str:
        """The URL of the store, with its password."""
        return self.url.get_secret_value() or f"sqlite:///{folder.database}"


class SyncSettings(Section):
    """How workers treat gateways."""

    hellos_per_second: Annotated[
        float, Field(gt=0, le=100_000, description="sessions that one worker begins; more gateways wait their turn")
    ] = 50.0
    hellos_at_once: Annotated[int, Field(ge=1, le=100_000, description="of them before any has to wait")] = 25
    shared_subscriptions: Annotated[bool, Field(description="off for a broker without them; then have one worker")] = (
        True
    )
    history_days: Annotated[
        int, Field(ge=0, le=36_500, description="older history is dropped, a whole period at a time; 0: never")
    ] = 400


class AuditSettings(Section):
    """The log of who changed what."""

    days: Annotated[int, Field(ge=0, le=36_500, description="older lines are dropped; 0: never")] = 400


class WebSettings(Section):
    """The HTTPS server: joining, renewal, REST, the dashboard."""

    listen: Annotated[str, Field(description="host:port; empty: none here"), address_as(_EXAMPLE)] = "0.0.0.0:8443"
    joins_per_minute: Annotated[int, Field(ge=1, le=100_000, description="from one address")] = 30
    dashboard: Annotated[bool, Field(description="serve the page of the fleet")] = True
    hosts: Annotated[
        tuple[str, ...],
        JSON_IN_ENVIRONMENT,
        Field(description="further names under which browsers may reach the page, as a list"),
    ] = ()


class RelaySettings(Section):
    """Where gateways meet that cannot reach each other's services directly. It passes their own TLS, and reads none."""

    listen: Annotated[str, Field(description="host:port; empty: none here"), address_as(_EXAMPLE)] = ""
    connections: Annotated[int, Field(ge=4, le=100_000, description="of one gateway at once")] = 64
    bytes_per_second: Annotated[
        int, Field(ge=10_000, le=10_000_000_000, description="that one gateway may send; over it, it waits")
    ] = 10_000_000


class MetricsSettings(Section):
    """Metrics for Prometheus, of each worker on a port of its own."""

    listen: Annotated[
        str,
        Field(description="host:port of worker-1's /metrics, on loopback; others on the ports after it; empty: none"),
        address_as(_EXAMPLE),
    ] = ""

    @field_validator("listen")
    @classmethod
    def _is_loopback(cls, listen: str) -> str:
        if listen and split_address(listen)[0] not in LOOPBACK:
            message = f"{listen!r} is not on loopback; write 127.0.0.1:9465"
            raise ValueError(message)
        return listen


class KubeSettings(Section):
    """Kubernetes as the source of truth: gateways are nodes of a cluster."""

    kubeconfig: Annotated[str, Field(description="path of a kubeconfig; empty: none")] = ""
    context: Annotated[str, Field(description="of the kubeconfig; empty: its current one")] = ""
    in_cluster: Annotated[bool, Field(description="use the service account of the pod that the cloud runs in")] = False
    namespaces: Annotated[
        tuple[str, ...], JSON_IN_ENVIRONMENT, Field(description="that gateways take part in; none named: all")
    ] = ()
    node_prefix: Annotated[
        str, Field(pattern=r"^([a-z0-9][a-z0-9.-]{0,30})?$", description="before a gateway's name in that of its node")
    ] = ""
    taint: Annotated[bool, Field(description="keep pods away that do not tolerate node-role.kubernetes.io/edge")] = True
    secrets: Annotated[bool, Field(description="read the Secrets that pods name, and send them to their gateways")] = (
        True
    )
    writes_per_second: Annotated[
        float, Field(gt=0, le=1000, description="of pod and device status, at most; leases come on top")
    ] = 8.0

    @model_validator(mode="after")
    def _is_one_cluster(self) -> Self:
        if self.kubeconfig and self.in_cluster:
            message = "kube.kubeconfig and kube.in_cluster name two clusters; keep one of them"
            raise ValueError(message)
        return self

    @property
    def wanted(self) -> bool:
        """Whether there is a cluster."""
        return bool(self.kubeconfig) or self.in_cluster


class IdentitySettings(Section):
    """For how long certificates are good."""

    gateway_days: Annotated[int, Field(ge=1, le=825, description="of a gateway; renewed after two thirds")] = 30
    user_days: Annotated[int, Field(ge=1, le=825, description="of a user")] = 365
    grace_days: Annotated[int, Field(ge=0, le=365, description="after its end a gateway can still renew")] = 90

    @property
    def lives(self) -> Lives:
        """The same for what issues them."""
        return Lives(self.gateway_days, self.user_days, self.grace_days)


class LogSettings(Section):
    """What the cloud says."""

    level: Annotated[Literal["debug", "info", "warning", "error"], Field(description="least level that is logged")] = (
        "info"
    )


class CloudSettings(Section):
    """All settings of a cloud."""

    workers: Annotated[int, Field(ge=0, le=64, description="processes that serve gateways and requests")] = 1
    public: PublicSettings = PublicSettings()
    broker: BrokerSettings = BrokerSettings()
    store: StoreSettings = StoreSettings()
    sync: SyncSettings = SyncSettings()
    audit: AuditSettings = AuditSettings()
    web: WebSettings = WebSettings()
    identity: IdentitySettings = IdentitySettings()
    relay: RelaySettings = RelaySettings()
    kube: KubeSettings = KubeSettings()
    metrics: MetricsSettings = MetricsSettings()
    log: LogSettings = LogSettings()

    @property
    def host(self) -> str:
        """The name that is dialled."""
        return self.public.host or socket.gethostname().lower()

    @property
    def servers(self) -> Servers:
        """Where the cloud is reached from outside. Raises InvalidSettings for a port that nothing names."""
        gateways, apps, external = self.broker.gateways, self.broker.apps, urlsplit(self.broker.url)
        port = external.port or (MQTTS_PORT if external.scheme == "mqtts" else MQTT_PORT)
        mqtt_host = self.public.host or (external.hostname if self.broker.url else None) or self.host
        if self.broker.url:
            gateways = apps = f"{external.hostname}:{port}"
        return Servers(
            url=f"https://{bracketed(self.host)}:{_port(self.public.web_port, self.web.listen, 'web_port')}",
            gateways_host=mqtt_host,
            gateways_port=_port(self.public.gateways_port, gateways, "gateways_port"),
            apps_host=mqtt_host,
            apps_port=_port(self.public.apps_port, apps, "apps_port"),
        )


FILE: Final = SettingsFile(
    CloudSettings, "edgetwin-cloud.yaml", PREFIX, "EDGETWIN_CLOUD_CONFIG", RESERVED, "docs/cloud.md"
)


def load_settings(explicit: Path | None, environment: Mapping[str, str]) -> Loaded[CloudSettings]:
    """Find, read and check the settings. Raises InvalidSettings with every problem found."""
    return FILE.load(explicit, environment)


def bracketed(host: str) -> str:
    """A host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def checked_url(url: str) -> str:
    """A broker's address without a login. Raises ValueError."""
    if not is_broker(url, "mqtt", "mqtts"):
        message = f"{url.rpartition('@')[2]!r} is not a broker address; write mqtt://host:port or mqtts://host:port"
        raise ValueError(message)
    if urlsplit(url).username or urlsplit(url).password:
        message = "write the login into broker.username and broker.password, not into the address"
        raise ValueError(message)
    return url


def _port(public: int, listen: str, key: str) -> int:
    if public:
        return public
    if not listen:
        message = f"public.{key}: nothing here listens for that, so it must be said"
        raise InvalidSettings(message, remedy="Name the port of the machine that does.")
    return split_address(listen)[1]
