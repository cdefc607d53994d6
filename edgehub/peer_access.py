"""Where gateways on the same network are admitted to the own broker: only with what the cloud gave this gateway."""

from __future__ import annotations

from edgehub import accounts
from edgehub.broker import PeerAccess
from edgehub.cloud_keys import CloudKeys
from edgehub.mesh_settings import Enabled, MeshSettings
from twin.setting_types import split_address

NO_KEYS = (
    "mesh.peers: gateways prove themselves with the certificate of their cloud, and this one has none: "
    "join a cloud (`edgetwin join TOKEN`); it is noticed within seconds"
)


def peer_access(settings: MeshSettings, keys: CloudKeys, own: str) -> PeerAccess | None:
    """The listener for peers; None: there is none, for want of a setting or of a certificate."""
    if settings.enabled is Enabled.OFF or not settings.peer_listen or lacks_keys(settings, keys):
        return None
    made = tuple(accounts.peer_account(peer.name, own) for peer in settings.peers if peer.name != own)
    return PeerAccess(*split_address(settings.peer_listen), keys.pair, keys.ca, made)


def lacks_keys(settings: MeshSettings, keys: CloudKeys) -> bool:
    """Whether peers are wanted, and the certificate for it is not there."""
    wanted = settings.enabled is not Enabled.OFF and bool(settings.peers or settings.peer_listen)
    return wanted and not (keys.pair.exists() and keys.ca.exists())
