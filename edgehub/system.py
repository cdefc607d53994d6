"""What system a gateway has and where it is reached, for the gateway's own twin: a cluster shows it as a node."""

from __future__ import annotations

import fcntl
import platform
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from twin.model import Value

_SIOCGIFADDR: Final = 0x8915
_NAME_BYTES: Final = 15
_OWN_NETWORKS: Final = ("lo", "docker", "podman", "veth", "br-", "cni", "virbr", "tap", "tun")
"""Beginnings of the names of interfaces at which nobody outside reaches this machine."""


def system(release: Path = Path("/etc/os-release")) -> dict[str, Value]:
    """Kernel, name of the system, addresses. What cannot be read is left out."""
    found: dict[str, Value] = {"kernel": platform.release(), "addresses": list(addresses())}
    with suppress(OSError, IndexError):
        found["os"] = release.read_text().split("PRETTY_NAME=")[1].splitlines()[0].strip("\"'")
    return found


def addresses() -> Iterator[str]:
    """The IPv4 addresses at which others reach this machine, in the order of its interfaces."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            if name.startswith(_OWN_NETWORKS):
                continue
            asked = struct.pack("256s", name.encode()[:_NAME_BYTES])
            with suppress(OSError):  # an interface without an address
                yield socket.inet_ntoa(fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, asked)[20:24])
