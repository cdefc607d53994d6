"""Settings of further listeners: of the own Mosquitto, of the local Kubernetes API, and of the dashboard."""

from __future__ import annotations

import re
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from twin.errors import InvalidName
from twin.manifest.fields import parsed_duration_ms
from twin.model import TwinKey
from twin.setting_types import JSON_IN_ENVIRONMENT, LOOPBACK, address_as, seconds, split_address
from twin.settings_file import Section


class Listener(Section):
    """A section with an address to listen at."""

    listen: str = ""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the listener."""
        return split_address(self.listen)

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        return split_address(self.listen)[0] in LOOPBACK


class TlsSettings(Listener):
    """A further listener of the own Mosquitto, with TLS."""

    listen: Annotated[str, Field(description="host:port of the listener; empty: none"), address_as("0.0.0.0:8883")] = ""
    certfile: Annotated[str, Field(description="the broker's certificate, PEM")] = ""
    keyfile: Annotated[str, Field(description="the key of that certificate, PEM")] = ""
    cafile: Annotated[str, Field(description="the CA that signs the clients' certificates, PEM")] = ""
    require_certificate: Annotated[
        bool, Field(description="admit by certificate, its common name is the account; else by password")
    ] = True

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        needed = {"certfile": self.certfile, "keyfile": self.keyfile}
        if self.require_certificate:
            needed["cafile"] = self.cafile
        missing = [name for name, path in needed.items() if not path]
        if self.listen and missing:
            message = f"broker.tls.listen needs {', '.join(missing)} beside it"
            raise ValueError(message)
        return self


class LegacySettings(Listener):
    """A further listener of the own Mosquitto for KubeEdge's mappers that log in without a user."""

    listen: Annotated[
        str, Field(description="host:port of the listener; empty: none"), address_as("127.0.0.1:1884")
    ] = ""
    devices: Annotated[
        tuple[str, ...], JSON_IN_ENVIRONMENT, Field(description="namespace/name of the devices that it admits to")
    ] = ()

    @property
    def keys(self) -> tuple[TwinKey, ...]:
        """The devices."""
        return tuple(TwinKey.parse(device) for device in self.devices)

    @field_validator("devices")
    @classmethod
    def _are_devices(cls, devices: tuple[str, ...]) -> tuple[str, ...]:
        for device in devices:
            checked_device(device)
        return devices

    @model_validator(mode="after")
    def _is_of_use(self) -> Self:
        if self.listen and not self.devices:
            message = "broker.legacy.listen needs devices beside it; a client without a user may use no others"
            raise ValueError(message)
        return self


class KubeApiSettings(Section):
    """The local Kubernetes API."""

    listen: Annotated[
        str,
        Field(description="host:port on loopback, KubeEdge's is 127.0.0.1:10550; empty: none"),
        address_as("127.0.0.1:10550"),
    ] = ""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the listener, the host as a number."""
        host, port = split_address(self.listen)
        return LOOPBACK[host], port

    @field_validator("listen")
    @classmethod
    def _is_on_loopback(cls, listen: str) -> str:
        if listen and split_address(listen)[0] not in LOOPBACK:
            message = f"{listen!r} is not on loopback; write 127.0.0.1:10550"
            raise ValueError(message)
        return listen


class WebSettings(Listener):
    """The dashboard."""

    listen: Annotated[
        str,
        Field(description="host:port; on loopback the next free port if taken; elsewhere with TLS; empty: none"),
        address_as("127.0.0.1:8730"),
    ] = "127.0.0.1:8730"
    hosts: Annotated[
        tuple[str, ...],
        JSON_IN_ENVIRONMENT,
        Field(description="further names under which browsers may reach it, as a list"),
    ] = ()
    certfile: Annotated[str, Field(description="its certificate, PEM; empty: an own one, beyond loopback")] = ""
    keyfile: Annotated[str, Field(description="the key of that certificate, PEM")] = ""

    @property
    def secure(self) -> bool:
        """Whether it has TLS."""
        return bool(self.certfile) or not self.local

    @field_validator("hosts")
    @classmethod
    def _are_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if _HOST.fullmatch(host) is None:
                message = f"{host!r} is not the name of a host; write gateway.example.org, without a port"
                raise ValueError(message)
        return hosts

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if bool(self.certfile) is not bool(self.keyfile):
            message = "web.certfile and web.keyfile go together"
            raise ValueError(message)
        return self


class OtlpSettings(Section):
    """Metrics for OpenTelemetry."""

    url: Annotated[
        str, Field(description="the collector that gets them, http://collector:4318; empty: none; needs edgetwin[push]")
    ] = ""
    every: Annotated[str, Field(description="how often, 1s or more")] = "30s"
    headers: Annotated[dict[str, str], JSON_IN_ENVIRONMENT] = Field({}, description="sent with each request, by name")
    token_file: Annotated[str, Field(description="path of the file with the collector's bearer token")] = ""
    ca: Annotated[str, Field(description="PEM of the collector's CAs; empty: the system's")] = ""

    @property
    def every_s(self) -> float:
        """The interval as a number."""
        return seconds(self.every)

    @field_validator("url")
    @classmethod
    def _is_url(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # of a port that is none
            good = False
        if url and not good:
            message = f"{url!r} is not the address of a collector; write http://collector:4318"
            raise ValueError(message)
        return url

    @field_validator("every")
    @classmethod
    def _is_duration(cls, every: str) -> str:
        if (parsed_duration_ms(every) or 0) < _LEAST_EXPORT_MS:
            message = f"{every!r} is no interval of an export; write 1s, 30s or 5m"
            raise ValueError(message)
        return every

    @field_validator("headers")
    @classmethod
    def _are_headers(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if not (name and (name + value).isascii() and (name + value).isprintable()):
                message = f"{name!r} with {value!r} is no header; use printable ASCII"
                raise ValueError(message)
        return headers

    @field_validator("token_file", "ca")
    @classmethod
    def _is_path(cls, path: str) -> str:
        if path and not path.startswith("/"):
            message = f"{path!r} is not a whole path; write /etc/edgetwin/{path}"
            raise ValueError(message)
        return path


class MetricsSettings(Listener):
    """Metrics for Prometheus."""

    listen: Annotated[
        str,
        Field(description="host:port of /metrics; beyond loopback with TLS and the token; empty: none"),
        address_as("127.0.0.1:9464"),
    ] = ""
    certfile: Annotated[str, Field(description="its certificate, PEM")] = ""
    keyfile: Annotated[str, Field(description="the key of that certificate, PEM")] = ""
    otlp: OtlpSettings = OtlpSettings()

    @model_validator(mode="after")
    def _is_protected(self) -> Self:
        if bool(self.certfile) is not bool(self.keyfile):
            message = "metrics.certfile and metrics.keyfile go together"
            raise ValueError(message)
        if self.listen and not self.local and not self.certfile:
            message = (
                f"{self.listen!r} is not on loopback; name metrics.certfile and metrics.keyfile, or write 127.0.0.1"
            )
            raise ValueError(message)
        if self.otlp.url and (not self.listen or not self.local or self.certfile):
            message = (
                "metrics.otlp reads what is served on loopback without a certificate; "
                "write 127.0.0.1:9464 for metrics.listen, or run `edgetwin metrics export` beside the hub"
            )
            raise ValueError(message)
        return self


def checked_device(device: str) -> None:
    """Raise ValueError if a setting does not name a device."""
    if device.count("/") > 1:
        message = f"{device!r} is not a device; write name or namespace/name"
        raise ValueError(message)
    try:
        TwinKey.parse(device)
    except InvalidName as error:
        raise ValueError(error.message) from None


_LEAST_EXPORT_MS: Final = 1000
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
