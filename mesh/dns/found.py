"""What we say to a question of ours, and what that follows from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address

from mesh.dns.message import ASKED, Answer, Rcode, Type, record
from mesh.dns.names import Address
from mesh.dns.order import Turns
from mesh.model.services import ServiceKey


@dataclass(frozen=True, slots=True)
class Found:
    """An answer of ours. ``owner`` is the service it follows from, there or not; None: from any.

    ``turns`` says in which order the records of each answer go. ``onward`` is the name that a CNAME leads to.
    """

    answer: Answer
    owner: ServiceKey | None = None
    turns: Turns | None = None
    onward: bytes | None = None


NXDOMAIN = Answer(Rcode.NXDOMAIN)
NODATA = Answer()


def type_of(address: Address) -> Type:
    """The type of the record that holds an address."""
    return Type.A if isinstance(address, IPv4Address) else Type.AAAA


def address_record(name: bytes, address: Address, ttl_s: int) -> bytes:
    """Write the record of an address."""
    return record(name, type_of(address), ttl_s, address.packed)


def of_addresses(addresses: Iterable[Address], kind: int, ttl_s: int) -> Answer:
    """Answer with those of one family; there may be none (NODATA)."""
    return Answer(answers=tuple(address_record(ASKED, one, ttl_s) for one in addresses if type_of(one) == kind))
