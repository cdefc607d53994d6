"""What the mesh's process is told first: the gateway's settings in the mesh's own words. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edgehub.mesh_settings import PlaneChoice
from mesh.model.services import Plane
from mesh.settings import Settings, TunnelFiles

if TYPE_CHECKING:
    from edgehub.mesh.home import Place

_PLANES: Final = {PlaneChoice.USERSPACE: Plane.USERSPACE, PlaneChoice.NFTABLES: Plane.NFTABLES}


def settings_of(place: Place) -> Settings:
    """What the process is told of the gateway's settings."""
    said, dns = place.settings, place.settings.dns_address
    keys = place.keys
    return Settings(
        node=place.gateway,
        zone=said.zone,
        domain=said.dns.domain,
        dns_listen=(joined(*dns),) if dns is not None else (),
        dns_upstreams=tuple(joined(*one) for one in said.dns.servers),
        network=said.network,
        plane=_PLANES.get(said.plane),
        workers=said.workers,
        metrics_listen=said.metrics.listen,
        access_log=said.access_log.sample,
        tunnel=TunnelFiles(
            listen=said.tunnel.listen,
            certificate=str(keys.pair),
            key=str(keys.pair),
            authority=str(keys.ca),
            revoked=str(keys.revoked),
            relay=said.relay,
        ),
    )


def joined(host: str, port: int) -> str:
    """``host:port``, as settings have it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
