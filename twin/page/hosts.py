"""Under which names a page answers. Pure.

A browser that was lured to a stranger's page sends that page's name, also when the name was made to lead here (DNS
rebinding). So a name must be one of ours. A bare address cannot be made to lead elsewhere, and is always well.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address


def host_of(header: str) -> str:
    """The host of a Host header, without port and brackets, in small letters; empty if it is none."""
    host, bracket, rest = header.strip().lower().rpartition("]")
    if bracket:
        return host.removeprefix("[") if host.startswith("[") and (not rest or rest.startswith(":")) else ""
    name, _, port = header.strip().lower().partition(":")
    return name.removesuffix(".") if not port or port.isdecimal() else ""


def is_own(header: str, names: Iterable[str]) -> bool:
    """Whether a request means us: by an address, as localhost, or by one of these names."""
    host = host_of(header)
    if not host:
        return False
    try:
        ip_address(host)
    except ValueError:
        return host == "localhost" or host in {name.lower() for name in names}
    return True
