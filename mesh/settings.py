"""What the mesh's own process is told once, when it starts."""

from __future__ import annotations

from dataclasses import dataclass

from mesh.model.services import DEFAULT_DOMAIN, Plane


@dataclass(frozen=True, slots=True)
class TunnelFiles:
    """The listener for other gateways, and the files that prove who we are; ``listen`` empty: none is opened."""

    listen: str = ""
    certificate: str = ""
    key: str = ""
    authority: str = ""
    """The certificate that signed those of all gateways."""
    revoked: str = ""
    """Its list of revoked certificates; empty: none is kept here."""
    peers: tuple[tuple[str, str], ...] = ()
    """Gateways, and the ``host:port`` by which the tunnel of each is reached."""
    relay: str = ""
    """``host:port`` where gateways meet that do not reach each other; empty: nowhere."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the mesh's own process is told once, when it starts. Addresses are ``host:port``; empty: not at all."""

    node: str = ""
    """The gateway that it runs on; empty: none, as in a stand-alone mesh."""
    zone: str = ""
    domain: str = DEFAULT_DOMAIN
    dns_listen: tuple[str, ...] = ()
    dns_upstreams: tuple[str, ...] = ()
    """Whom names of others are asked of; none: those of the machine's resolv.conf."""
    network: str = "127.96.0.0/16"
    """Where virtual addresses come from."""
    plane: Plane | None = None
    """What carries services that ask for nothing else; None: nftables if this machine can, else userspace."""
    workers: int = 1
    hung_s: float = 15.0
    """How long a worker may give no sign of life before it is killed and started again."""
    metrics_listen: str = ""
    access_log: float = 0.0
    """Share of the requests that is logged."""
    tunnel: TunnelFiles = TunnelFiles()
