"""What stands in our table, read from the kernel itself: cheap enough to be looked at every second.

libnftables only writes; reading through it would take half a second with 1 000 services, this takes a few milliseconds.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

from mesh.netlink import NETFILTER, Ask, Netlink, attribute, attributes, each_attribute
from mesh.planes.nft.names import FAMILY, TABLE

_NFTABLES: Final = 10 << 8
_GET_TABLE: Final = _NFTABLES | 1
_GET_CHAIN: Final = _NFTABLES | 4
_GET_RULE: Final = _NFTABLES | 7
_GET_SET: Final = _NFTABLES | 10
_GET_ELEMENTS: Final = _NFTABLES | 13
_GET_GENERATION: Final = _NFTABLES | 16
_HEAD: Final = struct.Struct("=BBH")
_INET: Final = 1
_U32: Final = struct.Struct(">I")
_U64: Final = struct.Struct(">Q")

# Numbers of attributes, as in linux/netfilter/nf_tables.h.
_OF_TABLE, _NAME, _RULE_CHAIN, _CHAIN_NAME = 1, 2, 2, 3
_ELEMENTS_TABLE, _ELEMENTS_SET, _ELEMENTS_LIST = 1, 2, 3
_KEY, _DATA, _EXPIRATION, _EXPRESSION = 1, 2, 5, 7
_VALUE, _VERDICT, _VERDICT_CHAIN = 1, 2, 2
_EXPRESSION_DATA, _BYTES, _PACKETS = 2, 1, 2

assert FAMILY == "inet"


@dataclass(frozen=True, slots=True)
class Standing:
    """What the kernel holds of our table: rules by chain, and the elements of its maps and sets by key."""

    chains: Mapping[str, int] = field(default_factory=dict)
    elements: Mapping[str, Mapping[bytes, str]] = field(default_factory=dict)
    """The verdict of each; empty for sets."""


@dataclass(frozen=True, slots=True)
class Client:
    """A client that stays with an endpoint, which the set is of, for so much longer."""

    set: str
    address: str
    left_ms: int


class Kernel:
    """Asks nf_tables. Bound to the network namespace of the thread that made it."""

    def __init__(self) -> None:
        self._netlink = Netlink(NETFILTER)

    def close(self) -> None:
        """Give the socket back."""
        self._netlink.close()

    def generation(self) -> int:
        """A number that each transaction of anybody raises by one."""
        body = self._netlink.get(Ask(_GET_GENERATION, _head()))
        return int(_U32.unpack(attributes(body, _HEAD.size)[1])[0])

    def has_table(self) -> bool:
        """Whether our table is there at all."""
        try:
            self._netlink.get(Ask(_GET_TABLE, _head() + attribute(1, _text(TABLE))))
        except FileNotFoundError:
            return False
        return True

    def standing(self, sets: tuple[str, ...]) -> Standing:
        """What is there now, elements of these sets only; nothing of what is not there."""
        if not self.has_table():
            return Standing()
        rules: Counter[str] = Counter()
        for found in self._dump(_GET_CHAIN):
            if found.get(_OF_TABLE) == _text(TABLE):
                rules[_name(found[_CHAIN_NAME])] = 0
        for found in self._dump(_GET_RULE, attribute(_OF_TABLE, _text(TABLE))):
            if found.get(_OF_TABLE) == _text(TABLE):
                rules[_name(found[_RULE_CHAIN])] += 1
        there = set(self._sets())
        elements = {name: dict(self._verdicts(name)) for name in sets if name in there}
        return Standing(rules, elements)

    def counts(self, name: str) -> Iterator[tuple[bytes, int]]:
        """How many packets each element of a set has counted. Raises OSError if the set is gone."""
        for element in self._elements(name):
            expression = element.get(_EXPRESSION)
            if expression is not None:
                counter = attributes(attributes(expression)[_EXPRESSION_DATA])
                yield _key(element), int(_U64.unpack(counter[_PACKETS])[0])

    def clients(self, prefix: str) -> Iterator[Client]:
        """The addresses in sets whose names begin so. Raises OSError."""
        for name in [one for one in self._sets() if one.startswith(prefix)]:
            for element in self._elements(name):
                if left := element.get(_EXPIRATION):
                    yield Client(name, str(ip_address(_key(element))), int(_U64.unpack(left)[0]))

    def _sets(self) -> Iterator[str]:
        for found in self._dump(_GET_SET):
            if found.get(_OF_TABLE) == _text(TABLE):
                yield _name(found[_NAME])

    def _verdicts(self, name: str) -> Iterator[tuple[bytes, str]]:
        for element in self._elements(name):
            verdict = attributes(element.get(_DATA, b"")).get(_VERDICT, b"")
            yield _key(element), _name(attributes(verdict).get(_VERDICT_CHAIN, b""))

    def _elements(self, name: str) -> Iterator[dict[int, bytes]]:
        body = _head() + attribute(_ELEMENTS_TABLE, _text(TABLE)) + attribute(_ELEMENTS_SET, _text(name))
        for answer in self._netlink.dump(Ask(_GET_ELEMENTS, body)):
            for _, element in each_attribute(attributes(answer, _HEAD.size).get(_ELEMENTS_LIST, b"")):
                yield attributes(element)

    def _dump(self, type_: int, more: bytes = b"") -> Iterator[dict[int, bytes]]:
        for answer in self._netlink.dump(Ask(type_, _head() + more)):
            yield attributes(answer, _HEAD.size)


def _head() -> bytes:
    return _HEAD.pack(_INET, 0, 0)


def _key(element: Mapping[int, bytes]) -> bytes:
    return attributes(element[_KEY])[_VALUE]


def _text(name: str) -> bytes:
    return name.encode() + b"\0"


def _name(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")
