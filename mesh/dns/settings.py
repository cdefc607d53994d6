"""What the DNS server is told when it starts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mesh.model.services import DEFAULT_DOMAIN


class PodNames(StrEnum):
    """Which of the names ``1-2-3-4.namespace.pod.domain`` exist."""

    NONE = "none"
    ANY = "any"
    """Every one: the address is in the name. What CoreDNS calls insecure."""
    KNOWN = "known"
    """Those of addresses that some endpoint of the namespace has. What CoreDNS calls verified."""


@dataclass(frozen=True, slots=True)
class DnsSettings:
    """Where the server listens, what it knows of itself, and whom it asks.

    ``listen`` holds ``address`` or ``address:port`` (``[address]:port`` for IPv6); the port is that of UDP and TCP. An
    address that this machine does not have yet, such as that of a bridge of pods, is fine: it is bound ahead.
    """

    listen: tuple[str, ...] = ("127.0.0.1:53",)
    domain: str = DEFAULT_DOMAIN
    node: str = ""
    """The gateway we are on: its endpoints come first."""
    zone: str = ""
    networks: tuple[str, ...] = ("127.96.0.0/16", "10.96.0.0/16")
    """Where virtual addresses are from: their reverse names are ours alone."""
    pod_names: PodNames = PodNames.ANY
    ttl_s: int = 5
    stale_ttl_s: int = 30
    """Of addresses that were heard of too long ago."""
    forward: bool = True
    """Whether names that are not ours are asked of others; else they are refused."""
    upstreams: tuple[str, ...] = ()
    """Whom to ask, best first; none: the nameservers of ``resolv_conf``, read again when it changes, never written."""
    resolv_conf: Path = Path("/etc/resolv.conf")
    cached_names: int = 4096
    """Of other people's names."""
    shared: bool = False
    """Whether other processes listen on the same ports (SO_REUSEPORT)."""
