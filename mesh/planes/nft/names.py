"""What our things in nftables are called. A name never is a word of nft's own, nor can it end what it stands in."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

from mesh.model.services import PortKey

FAMILY: Final = "inet"
TABLE: Final = "edgetwin_mesh"
"""The one table that is ours."""

_STRANGE: Final = re.compile(r"[^A-Za-z0-9.-]")
_LONGEST: Final = 150
"""The kernel takes 255; what is added to a name needs room too."""


def port_name(key: PortKey, version: int) -> str:
    """The name of a port, for one version of IP: plant/web/80/tcp, plant/web/80/tcp6."""
    parts = (key.service.namespace, key.service.name, str(key.port), key.transport.lower())
    return _safe(parts) + ("" if version == 4 else str(version))


def place_name(address: str, port: int) -> str:
    """The name of an endpoint: 10.0.0.1/80, fd00..1/80."""
    return f"{address.replace(':', '.')}/{port}"


def _safe(parts: tuple[str, ...]) -> str:
    name = "/".join(_STRANGE.sub("_", part) for part in parts)
    if name == "/".join(parts) and len(name) <= _LONGEST:
        return name
    # Two names that look alike now must not become one.
    return f"{name[:_LONGEST]}/{blake2b('/'.join(parts).encode(), digest_size=8).hexdigest()}"
