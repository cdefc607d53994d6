"""Where a DNS server is: an address and a port, as written in settings and in resolv.conf."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mesh.dns.names import address_of

PORT: Final = 53


@dataclass(frozen=True, slots=True)
class Place:
    """An address (IPv6 may name its interface: ``fe80::1%eth0``) and a port."""

    address: str
    port: int = PORT

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


def place_of(text: str) -> Place | None:
    """Read ``address``, ``address:port`` or ``[address]:port``; None if it is none of them."""
    if text.startswith("["):
        address, closed, port = text[1:].partition("]")
        port = port.removeprefix(":")
        if not closed:
            return None
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    else:
        address, port = text, ""
    if address_of(address) is None or (port and not (port.isascii() and port.isdigit() and int(port) < 65_536)):
        return None
    return Place(address, int(port) if port else PORT)


def nameservers(resolv_conf: str) -> list[Place]:
    """Read the nameservers of a resolv.conf; what cannot be read is passed over, as every resolver does."""
    lines = (line.split() for line in resolv_conf.splitlines())
    found = (place_of(words[1]) for words in lines if len(words) > 1 and words[0] == "nameserver")
    return list(dict.fromkeys(one for one in found if one is not None))
