"""Which frontend a connection came in by, and where it may go: what the kernel's counts are told apart by. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Final

from mesh.model.services import PortKey, Transport
from mesh.planes.nft.rules import OPENED, OPENED_NEAR, PORT_OPENED, PORT_OPENED_NEAR
from mesh.planes.nft.shares import Front

_PROTO: Final = {"tcp": b"\x06\0\0\0", "udp": b"\x11\0\0\0"}
COUNTED: Final = tuple(name for one in (OPENED, OPENED_NEAR, PORT_OPENED, PORT_OPENED_NEAR) for name in one.values())


@dataclass(frozen=True, slots=True)
class Spot:
    """An endpoint of a port behind a frontend."""

    port: PortKey
    place: str
    frontend: PortKey
    route: str = ""


@dataclass(frozen=True, slots=True)
class Carried:
    """What one connection has carried."""

    spot: Spot
    packets: int
    bytes_in: int
    bytes_out: int


class Doors:
    """Looks up by where a client thinks it goes where it may have been sent."""

    def __init__(self, fronts: Iterable[Front]) -> None:
        self._by_address: dict[tuple[Transport, str, int], Mapping[str, Spot]] = {}
        self._by_node_port: dict[tuple[Transport, int], Mapping[str, Spot]] = {}
        for front in fronts:
            spots: dict[str, Spot] = {}
            for pool in front.pools:
                for member in pool.members:
                    spots.setdefault(member.place, Spot(pool.key, member.place, front.key, front.route))
            transport = front.key.transport
            for address in front.addresses:
                self._by_address[transport, str(ip_address(address)), front.key.port] = spots
            if front.node_port:
                self._by_node_port[transport, front.node_port] = spots

    def spots(self, transport: Transport, address: str, port: int) -> Mapping[str, Spot] | None:
        """The endpoints behind it by place; None: that is no door of ours."""
        found = self._by_address.get((transport, address, port))
        return self._by_node_port.get((transport, port)) if found is None else found


def counted_by(front: Front) -> Mapping[tuple[str, bytes], Spot]:
    """The keys under which the kernel counts the connections of each endpoint of a frontend, by set."""
    found: dict[tuple[str, bytes], Spot] = {}
    proto = front.key.transport.lower()
    for pool in front.pools:
        for member in pool.members:
            to = f"{member.address} . {member.port}"
            spot, version = Spot(pool.key, member.place, front.key, front.route), member.version
            opened, port_opened = (OPENED_NEAR, PORT_OPENED_NEAR) if member.near else (OPENED, PORT_OPENED)
            for address in front.addresses:
                if (6 if ":" in address else 4) == version:
                    key = key_bytes(f"{address} . {proto} . {front.key.port} . {to}")
                    found.setdefault((opened[version], key), spot)
            if front.node_port:
                found.setdefault((port_opened[version], key_bytes(f"{proto} . {front.node_port} . {to}")), spot)
    return found


def key_bytes(key: str) -> bytes:
    """A key of a set as the kernel has it: each part padded to four bytes; of a range where it begins."""
    return b"".join(map(_part, key.split(" . ")))


def _part(text: str) -> bytes:
    if text.isdecimal():
        return int(text).to_bytes(2, "big") + b"\0\0"
    if "/" in text:
        return ip_network(text).network_address.packed
    return _PROTO.get(text) or ip_address(text).packed
