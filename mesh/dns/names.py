"""Names as they are on the wire: labels with their lengths, in lower case, ending with a zero."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address

MAX_NAME: Final = 255
MAX_LABEL: Final = 63
IN_ADDR: Final = b"\x07in-addr\x04arpa\x00"
IP6: Final = b"\x03ip6\x04arpa\x00"


def wire(text: str) -> bytes | None:
    """Write a name, such as ``web.shop.svc.cluster.local``; None if it cannot be one."""
    try:
        labels = text.rstrip(".").lower().encode("ascii").split(b".")
    except UnicodeEncodeError:
        return None
    return joined(labels)


def joined(labels: list[bytes]) -> bytes | None:
    """Write labels one after the other; None if one of them or the whole is too long, or empty."""
    if not all(0 < len(label) <= MAX_LABEL for label in labels):
        return None
    name = b"".join(bytes((len(label),)) + label for label in labels) + b"\x00"
    return name if len(name) <= MAX_NAME else None


def labels_of(name: bytes) -> list[bytes]:
    """Take a well-formed name apart."""
    return list(_labels(name))


def _labels(name: bytes) -> Iterator[bytes]:
    at = 0
    while length := name[at]:
        yield name[at + 1 : at + 1 + length]
        at += 1 + length


def text_of(name: bytes) -> str:
    """Show a well-formed name to people."""
    return ".".join(label.decode("ascii", "backslashreplace") for label in _labels(name)) or "."


def address_of(text: str) -> Address | None:
    """Read an address; None if it is none, such as the host name that an endpoint may have."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def dashed(address: Address) -> bytes:
    """Write an address as one label: ``10-1-2-3``, ``fd00--1``. No dash may be at the ends, so ``::1`` is ``0--1``."""
    if isinstance(address, IPv4Address):
        return str(address).replace(".", "-").encode()
    text = str(address).replace(":", "-")
    return f"{'0' if text.startswith('-') else ''}{text}{'0' if text.endswith('-') else ''}".encode()


def undashed(label: bytes) -> Address | None:
    """Read such a label; None if it is none."""
    text = label.decode("ascii", "replace")
    parts = text.split("-")
    separator = "." if len(parts) == 4 and all(part.isdigit() for part in parts) else ":"
    return address_of(separator.join(parts))


def reverse(address: Address) -> bytes:
    """Name an address for a PTR query."""
    name = wire(address.reverse_pointer)
    assert name is not None  # such a name always fits
    return name


def reversed_address(name: bytes) -> Address | None:
    """Read the name of a whole address; None if it is another."""
    if name.endswith(IN_ADDR):
        labels = list(_labels(name))[-3::-1]
        if len(labels) == 4 and all(str(int(one)).encode() == one for one in labels if one.isdigit()):
            return address_of(b".".join(labels).decode("ascii", "replace"))
    elif name.endswith(IP6):
        labels = list(_labels(name))[-3::-1]
        if len(labels) == 32 and all(len(one) == 1 for one in labels):
            digits = b"".join(labels).decode("ascii", "replace")
            return address_of(":".join(digits[at : at + 4] for at in range(0, 32, 4)))
    return None
