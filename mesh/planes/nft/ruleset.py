"""The whole table, and what has to be said to nft to get from what it holds to what it should hold. Pure.

A change is one transaction: either all of it is in force, from one packet to the next, or nothing of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from heapq import nlargest
from math import ceil
from typing import Final

from mesh.planes.nft.kernel import Client
from mesh.planes.nft.names import FAMILY, TABLE
from mesh.planes.nft.rules import (
    BY_ADDRESS,
    BY_NODE_PORT,
    DOORS,
    LINKS,
    OPENED,
    OPENED_NEAR,
    PORT_DOORS,
    PORT_OPENED,
    PORT_OPENED_NEAR,
    Chain,
    Element,
    Piece,
    Set,
)

MOST_STAYING: Final = 20_000
"""Clients whose endpoint is kept when the table is made anew; of more those that were here last."""
_T: Final = f"{FAMILY} {TABLE}"
_ADDRESS: Final = {4: "ipv4_addr", 6: "ipv6_addr"}
_IP: Final = {4: ("ipv4", "ip"), 6: ("ipv6", "ip6")}

# Ours comes just before what others translate: a published port of a container is not taken from it, nor ours from us.
_BEFORE_DNAT: Final = -110
_BEFORE_SNAT: Final = 90


def frame() -> str:
    """The table without any service: base chains, maps and sets. Said again it changes nothing but the base rules."""
    lines = [f"add table {_T}"]
    for version, address in _ADDRESS.items():
        to = f"{address} . inet_service"
        lines += [
            f"add map {_T} {BY_ADDRESS[version]} {{ type {address} . inet_proto . inet_service : verdict; }}",
            f"add map {_T} {BY_NODE_PORT[version]} {{ type inet_proto . inet_service : verdict; }}",
            f"add set {_T} {DOORS[version]} {{ type {address} . inet_proto . inet_service; }}",
            f"add set {_T} {PORT_DOORS[version]} {{ type inet_proto . inet_service; }}",
            f"add set {_T} {OPENED[version]} {{ type {address} . inet_proto . inet_service . {to}; counter; }}",
            f"add set {_T} {OPENED_NEAR[version]} {{ type {address} . inet_proto . inet_service . {to}; counter; }}",
            f"add set {_T} {PORT_OPENED[version]} {{ type inet_proto . inet_service . {to}; counter; }}",
            f"add set {_T} {PORT_OPENED_NEAR[version]} {{ type inet_proto . inet_service . {to}; counter; }}",
            f"add set {_T} {LINKS[version]} {{ type {address} . {address}; flags interval; }}",
        ]
    for chain in _BASE:
        lines.append(f"add chain {_T} {chain.name} {_HOOKS.get(chain.name, '')}".rstrip())
    for chain in _BASE:
        lines += [f"flush chain {_T} {chain.name}", *(f"add rule {_T} {chain.name} {rule}" for rule in chain.rules)]
    return _text(lines)


def removal() -> str:
    """Take the table away, whether it is there or not; nothing else is touched."""
    return _text([f"add table {_T}", f"delete table {_T}"])


def whole(pieces: Iterable[Piece], clients: Iterable[Client] = ()) -> str:
    """The table anew, whatever it holds now, but for clients that stay with an endpoint which is still there."""
    pieces = list(pieces)
    return removal() + frame() + change([(Piece(), piece) for piece in pieces]) + _stay(pieces, clients)


def change(pieces: Iterable[tuple[Piece, Piece]]) -> str:
    """From the pieces that the table holds to those that it should hold; empty if they are the same."""
    changed = [(old, new) for old, new in pieces if old != new]
    old_chains, new_chains = _chains(old for old, _ in changed), _chains(new for _, new in changed)
    old_sets, new_sets = _sets(old for old, _ in changed), _sets(new for _, new in changed)
    old_elements = {one for old, _ in changed for one in old.elements}
    new_elements = {one for _, new in changed for one in new.elements}
    gone_chains = [name for name in old_chains if name not in new_chains]
    # A set that is to be another one goes before it comes; the rules that use it are gone by then.
    gone_sets = [name for name, one in old_sets.items() if new_sets.get(name) != one]
    rewritten = [one for name, one in new_chains.items() if old_chains.get(name) != one or _uses(one, gone_sets)]
    lines = [f"add chain {_T} {name}" for name in new_chains if name not in old_chains]
    lines += [f"flush chain {_T} {one.name}" for one in rewritten if one.name in old_chains]
    lines += [f"flush chain {_T} {name}" for name in gone_chains]
    lines += _elements("delete", old_elements - new_elements)
    lines += [f"delete set {_T} {name}" for name in gone_sets]
    lines += [f"add set {_T} {name} {{ {one.spec} }}" for name, one in new_sets.items() if old_sets.get(name) != one]
    lines += [f"add rule {_T} {one.name} {rule}" for one in rewritten for rule in one.rules]
    lines += _elements("add", new_elements - old_elements)
    lines += [f"delete chain {_T} {name}" for name in gone_chains]
    return _text(lines)


def chains_of(pieces: Iterable[Piece]) -> Mapping[str, int]:
    """How many rules each chain of the table holds, those of the frame among them."""
    return {one.name: len(one.rules) for one in (*_BASE, *_chains(pieces).values())}


def _base() -> tuple[Chain, ...]:
    # Only what opens a connection is sent anywhere: the middle of one that another plane carries stays with it.
    services = ["tcp flags & (fin | syn | rst | ack) != syn return"]
    outgoing: list[str] = []
    incoming: list[str] = []
    for version, (family, ip) in _IP.items():
        services.append(f"{ip} daddr . meta l4proto . th dport vmap @{BY_ADDRESS[version]}")
        for proto in ("tcp", "udp"):
            start = f"meta nfproto {family} meta l4proto {proto}"
            door = f"ct original {ip} daddr . meta l4proto . ct original proto-dst"
            by_port = "meta l4proto . ct original proto-dst"
            to = f"ct reply {ip} saddr . ct reply proto-src"
            incoming += [
                f"{start} {door} . {to} @{OPENED_NEAR[version]} accept",
                f"{start} {door} . {to} @{OPENED[version]} accept",
                f"{start} {by_port} . {to} @{PORT_OPENED_NEAR[version]} accept",
                f"{start} {by_port} . {to} @{PORT_OPENED[version]} accept",
            ]
            outgoing += [
                f"{start} {door} . {to} @{OPENED_NEAR[version]} goto leave-near",
                f"{start} {door} . {to} @{OPENED[version]} goto leave",
                f"{start} {by_port} . {to} @{PORT_OPENED_NEAR[version]} goto leave-near",
                f"{start} {by_port} . {to} @{PORT_OPENED[version]} goto leave",
                # Nor is the set of endpoints the last word, see rules.py.
                f"{start} {door} @{DOORS[version]} goto leave",
                f"{start} {by_port} @{PORT_DOORS[version]} goto leave",
            ]
    near = [f"{ip} saddr . {ip} daddr @{LINKS[version]} masquerade" for version, (_, ip) in _IP.items()]
    local = "fib daddr type local meta l4proto . th dport vmap"
    services += [f"meta nfproto {family} {local} @{BY_NODE_PORT[version]}" for version, (family, _) in _IP.items()]
    return (
        Chain("prerouting", ("goto services",)),
        Chain("output", ("goto services",)),
        Chain("services", tuple(services)),
        Chain("postrouting", ("ct status & dnat != dnat accept", *outgoing)),
        Chain("input", ("ct status & dnat != dnat accept", *incoming)),
        # The answer has to come back through here, so an endpoint elsewhere has to see an address of ours. From one
        # on this gateway it does so by itself, unless the client is its neighbour on a bridge, or the gateway itself.
        Chain("leave", ('oifname "lo" accept', "masquerade")),
        # What came in nowhere (iif 0) is the gateway's own; older kernels say so of everything, which does no harm.
        Chain("leave-near", ('oifname "lo" accept', "iif 0 masquerade", *near)),
    )


_BASE: Final = _base()
_HOOKS: Final = {
    "prerouting": f"{{ type nat hook prerouting priority {_BEFORE_DNAT}; policy accept; }}",
    "output": f"{{ type nat hook output priority {_BEFORE_DNAT}; policy accept; }}",
    "postrouting": f"{{ type nat hook postrouting priority {_BEFORE_SNAT}; policy accept; }}",
    "input": f"{{ type nat hook input priority {_BEFORE_SNAT}; policy accept; }}",
}


def _chains(pieces: Iterable[Piece]) -> dict[str, Chain]:
    return {one.name: one for piece in pieces for one in piece.chains}


def _sets(pieces: Iterable[Piece]) -> dict[str, Set]:
    return {one.name: one for piece in pieces for one in piece.sets}


def _stay(pieces: Iterable[Piece], clients: Iterable[Client]) -> str:
    kept_s = {name: one.kept_s for name, one in _sets(pieces).items() if one.kept_s}
    staying = nlargest(MOST_STAYING, (one for one in clients if one.set in kept_s), key=lambda one: one.left_ms)
    left = ((one, min(max(1, ceil(one.left_ms / 1000)), kept_s[one.set])) for one in staying)
    return _text(_elements("add", (Element(one.set, f"{one.address} expires {left_s}s") for one, left_s in left)))


def _uses(chain: Chain, sets: Iterable[str]) -> bool:
    return any(f"@{name} " in f"{rule} " for name in sets for rule in chain.rules)


def _elements(verb: str, elements: Iterable[Element]) -> list[str]:
    by_set: defaultdict[str, list[str]] = defaultdict(list)
    for one in sorted(elements):
        by_set[one.set].append(f"{one.key} : {one.verdict}" if one.verdict else one.key)
    return [f"{verb} element {_T} {name} {{ {', '.join(keys)} }}" for name, keys in by_set.items()]


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
