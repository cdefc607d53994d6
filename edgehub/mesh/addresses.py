"""Virtual addresses of services: the one that a document asks for, else one that stays the same for as long as it can.

Drawn from the name, so that it is most often the same on every gateway and after a loss of all notes. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Set
from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import Final

from mesh.model.services import ServiceKey

_KEPT_FREE: Final = 16
"""Addresses at the beginning of the network: for DNS, and for people."""


class Addresses:
    """Who has which address."""

    def __init__(self, network: IPv4Network, taken: Set[str], known: dict[ServiceKey, str]) -> None:
        self._network = network
        self._taken = taken
        self._known = known
        self._owners = {address: key for key, address in known.items()}
        self._noted = False

    @classmethod
    def read(cls, text: str, network: str, taken: Set[str] = frozenset()) -> Addresses:
        """From a note; what is not of this network is left out, and so is what cannot be read."""
        inside = IPv4Network(network)
        known: dict[ServiceKey, str] = {}
        for line in text.splitlines():
            name, _, address = line.partition(" ")
            namespace, _, service = name.partition("/")
            if service and _is_in(address, inside) and address not in {*taken, *known.values()}:
                known[ServiceKey(namespace, service)] = address
        return cls(inside, taken, known)

    def note(self) -> str:
        """What ``read`` reads."""
        return "".join(f"{key} {address}\n" for key, address in sorted(self._known.items()))

    def of(self, key: ServiceKey, wanted: str) -> str:
        """The address of a service; ``wanted`` by its document, if that can be."""
        if wanted and self._is_free(wanted, key) and wanted != self._known.get(key):
            self._give(key, wanted)
        if key not in self._known:
            self._give(key, self._drawn(key))
        return self._known[key]

    def forget(self, but: Container[ServiceKey]) -> bool:
        """Take back the addresses of services that are gone; whether there is anything new to note."""
        for key in [key for key in self._known if key not in but]:
            del self._owners[self._known.pop(key)]
            self._noted = False
        news, self._noted = not self._noted, True
        return news

    def _give(self, key: ServiceKey, address: str) -> None:
        self._owners.pop(self._known.get(key, ""), None)
        self._known[key] = address
        self._owners[address] = key
        self._noted = False

    def _drawn(self, key: ServiceKey) -> str:
        """From the name; if another has it, the next that is free. A network that is full gives one twice."""
        size = self._network.num_addresses - _KEPT_FREE - 1
        start = int.from_bytes(hashlib.sha256(str(key).encode()).digest()[:8], "big") % size
        for step in range(size):
            address = str(self._network[_KEPT_FREE + (start + step) % size])
            if self._is_free(address, key):
                return address
        return str(self._network[_KEPT_FREE + start])

    def _is_free(self, address: str, key: ServiceKey) -> bool:
        return _is_in(address, self._network) and address not in self._taken and self._owners.get(address, key) == key


def _is_in(address: str, network: IPv4Network) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    ends = (network.network_address, network.broadcast_address)
    return isinstance(parsed, IPv4Address) and parsed in network and parsed not in ends
