"""The route that makes a whole network of service addresses local, so that pods reach them and sockets bind them.

It is `ip route add local NETWORK dev lo`, marked as ours, so that only ours is ever taken away. Needs CAP_NET_ADMIN.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

from mesh.errors import PlaneError
from mesh.netlink import CREATE_NEW, ROUTE, Ask, Netlink, attribute, attributes

Network: TypeAlias = IPv4Network | IPv6Network

MARK: Final = 109
"""Who made the route; `ip route show table local` says `proto 109`."""
_NEW: Final = 24
_DELETE: Final = 25
_GET: Final = 26
_MAIN_TABLE: Final = 254
_LOCAL_TABLE: Final = 255
_UNICAST: Final = 1
_LOCAL: Final = 2
_SCOPE_HOST: Final = 254
_DESTINATION: Final = 1
_DEVICE: Final = 4
_FURTHER: Final = frozenset({5, 9, 18})
"""Attributes of routes that lead to a gateway: RTA_GATEWAY, RTA_MULTIPATH, RTA_VIA."""
_ROUTE: Final = struct.Struct("=BBBBBBBBI")


def add_route(network: Network) -> bool:
    """Make the network local; whether that was new. Raises PlaneError if the kernel does not let us."""
    if present(network):
        return False
    try:
        with Netlink(ROUTE) as kernel:
            kernel.tell(Ask(_NEW, _body(network), CREATE_NEW))
    except OSError as error:
        if error.errno == errno.EEXIST:
            return False
        raise _refused(network, "made local", error) from error
    return True


def remove_route(network: Network) -> bool:
    """Take our route away; whether there was one. Raises PlaneError if the kernel does not let us."""
    try:
        with Netlink(ROUTE) as kernel:
            kernel.tell(Ask(_DELETE, _body(network)))
    except OSError as error:
        if error.errno == errno.ESRCH:
            return False
        raise _refused(network, "given back", error) from error
    return True


def our_routes() -> list[Network]:
    """All networks that carry our mark."""
    return [one.network for one in _routes() if one.maker == MARK and one.is_local]


def present(network: Network) -> bool:
    """Whether the network is local, by our route or by another's."""
    return any(one.is_local and one.network == network for one in _routes())


def is_local(address: str) -> bool:
    """Whether an address leads to this machine itself."""
    parsed = ip_address(address)
    return any(one.is_local and parsed in one.network for one in _routes() if one.network.version == parsed.version)


def overlaps(network: Network) -> list[str]:
    """Networks and addresses that this machine has or reaches otherwise, and that share addresses with this one."""
    others = {one.network for one in _routes() if one.maker != MARK and not (one.is_local and one.network == network)}
    return sorted(
        str(one) for one in others if one.version == network.version and one.prefixlen and one.overlaps(network)
    )


def links() -> set[Network]:
    """The networks of this machine's own links: bridges of pods, the LAN."""
    direct = {one.network for one in _routes() if one.is_direct}
    return {one for one in direct if not one.is_link_local and one.num_addresses > 1}


@dataclass(frozen=True, slots=True)
class _Route:
    network: Network
    maker: int
    is_local: bool
    """It leads to this machine itself."""
    is_direct: bool
    """It leads to the neighbours on a link, not to a gateway."""


def _routes() -> Iterator[_Route]:
    """All routes of all tables."""
    with Netlink(ROUTE) as kernel:
        for family in (socket.AF_INET, socket.AF_INET6):
            for body in kernel.dump(Ask(_GET, _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0))):
                of_family, length, _, _, table, maker, _, kind, _ = _ROUTE.unpack_from(body)
                said = attributes(body, _ROUTE.size)
                if of_family == family and (address := said.get(_DESTINATION)):
                    is_direct = (table, kind) == (_MAIN_TABLE, _UNICAST) and said.keys().isdisjoint(_FURTHER)
                    is_local = (table, kind) == (_LOCAL_TABLE, _LOCAL)
                    yield _Route(ip_network((address, length)), maker, is_local, is_direct)


def _body(network: Network) -> bytes:
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    head = _ROUTE.pack(family, network.prefixlen, 0, 0, _LOCAL_TABLE, MARK, _SCOPE_HOST, _LOCAL, 0)
    loopback = struct.pack("=I", socket.if_nametoindex("lo"))
    return head + attribute(_DESTINATION, network.network_address.packed) + attribute(_DEVICE, loopback)


def _refused(network: Network, what: str, error: OSError) -> PlaneError:
    return PlaneError(
        f"{network} cannot be {what}: {error.strerror}",
        remedy=f"Run as root or with CAP_NET_ADMIN; by hand it is: ip route add local {network} dev lo",
    )
