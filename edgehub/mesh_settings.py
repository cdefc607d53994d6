"""Settings of the mesh: when it runs, its addresses and planes, DNS, other gateways, what is measured."""

from __future__ import annotations

import os
from enum import StrEnum
from ipaddress import IPv4Network, ip_address, ip_network
from typing import Annotated, Final

from pydantic import Field, field_validator

from twin.model import NAME, NAME_RULE
from twin.setting_types import JSON_IN_ENVIRONMENT, address_as, checked_address, split_address
from twin.settings_file import Section

ROOT_ADDRESSES: Final = "10.96.0.0/16"
"""Kubernetes' own default: one route makes all of them this machine's."""
USER_ADDRESSES: Final = "127.96.0.0/16"
"""Loopback addresses can be bound without any route, and by anyone."""
_DNS_HOST: Final = 10
_DNS_PORT: Final = 53
_USER_DNS_PORT: Final = 10_053
_LEAST_HOST_BITS: Final = 8
_MOST_HOST_BITS: Final = 20
_UPSTREAM_PORT: Final = 53
PEER_PORT: Final = 8884


class Enabled(StrEnum):
    """When the mesh runs."""

    AUTO = "auto"
    """While there is a Service or a route."""
    ON = "on"
    OFF = "off"


class PlaneChoice(StrEnum):
    """What carries the bytes of services that ask for nothing else."""

    AUTO = "auto"
    """nftables where the machine has it and nothing more is asked than it can do, else userspace."""
    USERSPACE = "userspace"
    NFTABLES = "nftables"


class DnsSettings(Section):
    """The mesh's DNS server; the host's own resolv.conf is never touched."""

    listen: Annotated[str, Field(description="host:port, UDP and TCP; empty: .10 of mesh.addresses; none: no DNS")] = ""
    domain: Annotated[str, Field(description="what the names of services end in")] = "cluster.local"
    upstreams: Annotated[
        tuple[str, ...],
        JSON_IN_ENVIRONMENT,
        Field(description="servers for all other names, host or host:port; empty: the machine's own"),
    ] = ()

    @field_validator("listen")
    @classmethod
    def _is_address(cls, listen: str) -> str:
        return listen if listen == _NONE else checked_number(listen, example="127.0.0.1:10053")

    @field_validator("domain")
    @classmethod
    def _is_domain(cls, domain: str) -> str:
        if NAME.fullmatch(domain) is None:
            message = f"{domain!r} is not a domain; write cluster.local"
            raise ValueError(message)
        return domain

    @field_validator("upstreams")
    @classmethod
    def _are_servers(cls, upstreams: tuple[str, ...]) -> tuple[str, ...]:
        for server in upstreams:
            _server(server)
        return upstreams

    @property
    def servers(self) -> tuple[tuple[str, int], ...]:
        """The upstreams as address and port."""
        return tuple(_server(one) for one in self.upstreams)


class TunnelSettings(Section):
    """What other gateways' services come through, encrypted and mutually authenticated."""

    listen: Annotated[str, Field(description="host:port of the listener; empty: none"), address_as("0.0.0.0:20006")] = (
        ""
    )
    advertise: Annotated[
        str, Field(description="host:port by which others reach it; empty: as listen"), address_as("0.0.0.0:20006")
    ] = ""


class MetricsSettings(Section):
    """Prometheus metrics of the mesh."""

    listen: Annotated[str, Field(description="host:port, served as /metrics; empty: none")] = ""

    @field_validator("listen")
    @classmethod
    def _is_address(cls, listen: str) -> str:
        return checked_number(listen, example="127.0.0.1:9915")


class AccessLogSettings(Section):
    """Requests in the log, as JSON lines."""

    sample: Annotated[float, Field(ge=0, le=1, description="share of the requests that is logged")] = 0.0


class PeerSettings(Section):
    """Another gateway on the same network."""

    name: Annotated[str, Field(description="the gateway's name, as in its certificate")]
    host: Annotated[str, Field(min_length=1, description="name or address by which it is reached")]
    port: Annotated[int, Field(ge=1, le=65535, description="its mesh.peer_listen")] = PEER_PORT

    @field_validator("name")
    @classmethod
    def _is_name(cls, name: str) -> str:
        if NAME.fullmatch(name) is None:
            message = f"{name!r} is not the name of a gateway; use {NAME_RULE}"
            raise ValueError(message)
        return name


class MeshSettings(Section):
    """The mesh of the gateway."""

    enabled: Annotated[Enabled, Field(description="auto: while there is a Service, a route or a peer; on; off")] = (
        Enabled.AUTO
    )
    plane: Annotated[PlaneChoice, Field(description="what carries the bytes: auto, userspace or nftables")] = (
        PlaneChoice.AUTO
    )
    workers: Annotated[int, Field(ge=1, le=16, description="processes of the userspace plane")] = 1
    addresses: Annotated[
        str, Field(description="IPv4 network of the services; empty: 10.96.0.0/16 as root, else 127.96.0.0/16")
    ] = ""
    zone: Annotated[str, Field(description="where the gateway stands; endpoints of the same zone come first")] = ""
    dns: DnsSettings = DnsSettings()
    tunnel: TunnelSettings = TunnelSettings()
    relay: Annotated[
        str,
        Field(description="host:port of the cloud's relay, where nothing else leads to other gateways; empty: none"),
        address_as("cloud.example.com:8445"),
    ] = ""
    peer_listen: Annotated[
        str,
        Field(description="host:port where gateways on the same network are admitted by certificate; empty: none"),
        address_as(f"0.0.0.0:{PEER_PORT}"),
    ] = ""
    peers: Annotated[
        tuple[PeerSettings, ...],
        JSON_IN_ENVIRONMENT,
        Field(description="name, host and port of gateways on the same network"),
    ] = ()
    metrics: MetricsSettings = MetricsSettings()
    access_log: AccessLogSettings = AccessLogSettings()

    @field_validator("addresses")
    @classmethod
    def _is_network(cls, addresses: str) -> str:
        if addresses:
            try:
                bits = 32 - IPv4Network(addresses).prefixlen
            except ValueError:
                bits = 0
            if not _LEAST_HOST_BITS <= bits <= _MOST_HOST_BITS:
                message = f"{addresses!r} is not an IPv4 network from /12 to /24; write {ROOT_ADDRESSES}"
                raise ValueError(message)
        return addresses

    @field_validator("zone")
    @classmethod
    def _is_name(cls, zone: str) -> str:
        if zone and NAME.fullmatch(zone) is None:
            message = f"{zone!r} is not a name; use {NAME_RULE}"
            raise ValueError(message)
        return zone

    @field_validator("peers")
    @classmethod
    def _are_different(cls, peers: tuple[PeerSettings, ...]) -> tuple[PeerSettings, ...]:
        names = [one.name for one in peers]
        for name in names:
            if names.count(name) > 1:
                message = f"{name!r} stands twice; give each gateway once"
                raise ValueError(message)
        return peers

    @property
    def network(self) -> str:
        """The network of the services' virtual addresses on this machine."""
        return self.addresses or (ROOT_ADDRESSES if os.geteuid() == 0 else USER_ADDRESSES)

    @property
    def dns_address(self) -> tuple[str, int] | None:
        """Where DNS is served; None: nowhere."""
        if self.dns.listen == _NONE:
            return None
        if self.dns.listen:
            return split_address(self.dns.listen)
        network = ip_network(self.network)
        return str(network[_DNS_HOST]), _DNS_PORT if os.geteuid() == 0 else _USER_DNS_PORT


def checked_number(listen: str, *, example: str) -> str:
    """Return the setting if it is host:port with the host as a number, or empty. Raises ValueError."""
    checked_address(listen, example=example)
    if listen:
        try:
            ip_address(split_address(listen)[0])
        except ValueError:
            message = f"{listen!r} has no IP address as its host; write {example}"
            raise ValueError(message) from None
    return listen


def _server(text: str) -> tuple[str, int]:
    with_port = split_address(text) if text.rpartition(":")[2].isdecimal() else ("", 0)
    for address, port in ((text, _UPSTREAM_PORT), with_port):  # an IPv6 address may look like one with a port
        try:
            return str(ip_address(address)), port
        except ValueError:
            continue
    message = f"{text!r} is not a DNS server; write 192.0.2.53 or 192.0.2.53:53"
    raise ValueError(message)


_NONE: Final = "none"
