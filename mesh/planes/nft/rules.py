"""From a frontend to what the kernel has to hold for it: chains, sets and elements. Pure; the text is nft's own.

    base chain ──> services ──verdict map: address . protocol . port──> to/NAMESPACE/NAME/PORT/tcp
                                                                             │ bounds (rate, connections)
                             more than one backend: by weight ───────────────┤
                                                                             ▼
                                        dnat to a map of endpoints, by turns, by chance, or by a hash of the client

One lookup finds the chain, however many services there are; only the first packet of a connection comes here at all.
What the kernel counts (a bound, a client's endpoint) stands in a chain or set that a change of endpoints leaves alone.

A packet that is on its way through the rules at the very moment of a change goes by the old rules to their end, but by
the new state of maps: the map of a rule that is gone is empty then. So a map is never the last word of a chain, one of
its values stands below it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from hashlib import blake2b
from ipaddress import IPv4Network, IPv6Network
from itertools import accumulate, groupby
from math import ceil, gcd, log
from typing import Final

from mesh.balance import turns
from mesh.model.policies import Balance, KeyKind, RateLimit
from mesh.model.services import Transport
from mesh.planes.nft.names import place_name, port_name
from mesh.planes.nft.shares import Front, Member, Pool, split

BY_ADDRESS: Final = {4: "services4", 6: "services6"}
BY_NODE_PORT: Final = {4: "ports4", 6: "ports6"}
DOORS: Final = {4: "doors4", 6: "doors6"}
PORT_DOORS: Final = {4: "port-doors4", 6: "port-doors6"}
OPENED: Final = {4: "opened4", 6: "opened6"}
PORT_OPENED: Final = {4: "port-opened4", 6: "port-opened6"}
OPENED_NEAR: Final = {4: "opened-near4", 6: "opened-near6"}
PORT_OPENED_NEAR: Final = {4: "port-opened-near4", 6: "port-opened-near6"}
CLIENTS: Final = "clients/"
"""Begins the names of the sets that say which client stays with which endpoint."""
LINKS: Final = {4: "links4", 6: "links6"}

MOST_SLOTS: Final = 4096
"""Longest map of shares; finer weights are rounded to it."""
HASH_SLOTS: Final = 1021
"""Slots of a consistent hash: each goes to one endpoint, and moves only if that one goes or a new one wins it."""
_EVEN_TURNS: Final = 64
_UNITS: Final = (("second", 1), ("minute", 60), ("hour", 3600), ("day", 86_400), ("week", 604_800))
_IP: Final = {4: "ip", 6: "ip6"}
_ADDRESS_TYPE: Final = {4: "ipv4_addr", 6: "ipv6_addr"}
_MOST_CLIENTS: Final = 65_536


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain, rule by rule."""

    name: str
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Set:
    """A set that rules add to while packets come."""

    name: str
    spec: str
    kept_s: int = 0
    """How long what was added stays, also when the table is made anew; 0: it begins empty then."""


@dataclass(frozen=True, slots=True, order=True)
class Element:
    """An element of one of the sets and maps of the table; ``verdict`` of maps alone."""

    set: str
    key: str
    verdict: str = ""


@dataclass(frozen=True, slots=True)
class Piece:
    """All that the kernel holds for one frontend."""

    chains: tuple[Chain, ...] = ()
    sets: tuple[Set, ...] = ()
    elements: frozenset[Element] = frozenset()


def piece_of(front: Front) -> Piece:
    """What the kernel has to hold for a frontend."""
    chains: list[Chain] = []
    sets: list[Set] = []
    elements: set[Element] = set()
    for version in (4, 6):
        addresses = [one for one in front.addresses if (6 if ":" in one else 4) == version]
        if not addresses and not (front.node_port and _reached(front, version)):
            continue
        rules = _Rules(front, version)
        entry = rules.entry()
        chains += rules.chains
        sets += rules.sets
        elements |= set(_doors(front, version, addresses, entry))
        elements |= set(_counters(front, version, addresses))
    return Piece(tuple(chains), tuple(sets), frozenset(elements))


def links_of(networks: Iterable[IPv4Network | IPv6Network]) -> Piece:
    """The networks of this machine's own links: who is on one link with an endpoint is answered without us."""
    kept: list[IPv4Network | IPv6Network] = []
    for one in sorted(networks, key=lambda network: network.prefixlen):
        if not any(one.version == wider.version and one.overlaps(wider) for wider in kept):
            kept.append(one)
    return Piece(elements=frozenset(Element(LINKS[one.version], f"{one} . {one}") for one in kept))


def rate_of(limit: RateLimit) -> str:
    """A token bucket in nft's words: the smallest unit in which the rate is a whole number."""
    bucket = limit.bucket
    tokens, interval_ms = bucket.tokens_per_fill, bucket.fill_interval_ms
    unit, seconds = next((one for one in _UNITS if tokens * one[1] * 1000 % interval_ms == 0), _UNITS[-1])
    number = max(1, round(tokens * seconds * 1000 / interval_ms))
    return f"limit rate over {number}/{unit} burst {max(1, bucket.max_tokens)} packets"


def slots_of(members: Sequence[Member], slots: int = HASH_SLOTS) -> list[int]:
    """For each slot the member that has it: that which draws the highest lot for it, heavier ones higher lots."""
    drawn = [(_lots(one.place, slots), one.weight) for one in members]
    return [max(range(len(drawn)), key=lambda at: drawn[at][0][slot] / drawn[at][1]) for slot in range(slots)]


@lru_cache(maxsize=256)
def _lots(place: str, slots: int) -> array[float]:
    """What an endpoint draws for each slot: logarithms of numbers between 0 and 1, so that weights divide them."""
    start = blake2b(place.encode(), digest_size=8)
    lots = array("d")
    for slot in range(slots):
        one = start.copy()
        one.update(slot.to_bytes(4, "big"))
        lots.append(log((int.from_bytes(one.digest(), "big") + 1) / (2**64 + 1)))
    return lots


class _Rules:
    """Writes the chains of one frontend for one version of IP."""

    def __init__(self, front: Front, version: int) -> None:
        self.front = front
        self.version = version
        self.chains: list[Chain] = []
        self.sets: list[Set] = []
        self._name = port_name(front.key, version)
        self._tcp = front.key.transport is Transport.TCP
        self._reject = "reject with tcp reset" if self._tcp else "reject"

    def entry(self) -> str:
        """The chain that new connections are sent to; all chains and sets are written then."""
        front = self.front
        name = f"to/{self._name}"
        bounds = self._rate(front.rate_limit, "route")
        if len(front.pools) == 1:
            pool = front.pools[0]
            self._guarded(name, [*bounds, *self._bounds(pool, "0")], self._choice(pool, "0"))
            return name
        shares = [pool.weight for pool in front.pools]
        unit = reduce(gcd, shares, 0) or 1
        counts = [share // unit for share in shares]
        targets = []
        for number, pool in enumerate(front.pools):
            target = f"{name}/{number}"
            self._guarded(target, self._bounds(pool, str(number)), self._choice(pool, str(number)))
            targets.append(f"goto {target}")
        chosen = [f"numgen random mod {sum(counts)} vmap {_map(counts, targets)}", *targets[:1]]
        if not targets:
            chosen = [self._reject]
        self._guarded(name, bounds, chosen)
        return name

    def _guarded(self, name: str, bounds: list[str], choice: list[str]) -> None:
        if bounds:
            self.chains.append(Chain(name, (*bounds, f"goto {name}/in")))
            name = f"{name}/in"
        self.chains.append(Chain(name, tuple(choice)))

    def _bounds(self, pool: Pool, tag: str) -> list[str]:
        bounds = self._rate(pool.rate_limit, tag)
        if pool.max_connections:
            proto = self.front.key.transport.lower()
            bounds.append(f"meta l4proto {proto} ct count over {pool.max_connections} {self._reject}")
        return bounds

    def _rate(self, limit: RateLimit | None, tag: str) -> list[str]:
        if limit is None:
            return []
        if limit.per.kind is not KeyKind.SOURCE:
            return [f"{rate_of(limit)} {self._reject}"]
        bucket = limit.bucket
        full_s = ceil(bucket.max_tokens * bucket.fill_interval_ms / 1000 / max(1, bucket.tokens_per_fill)) + 1
        name = f"rate/{self._name}/{tag}"
        self.sets.append(Set(name, self._clients(full_s, limit.max_keys)))
        return [f"update @{name} {{ {self._source} {rate_of(limit)} }} {self._reject}"]

    def _choice(self, pool: Pool, tag: str) -> list[str]:
        """The rules that send a connection to one of the members; without any it is refused."""
        members = [one for one in pool.members if one.version == self.version and one.weight > 0]
        if not members:
            return [self._reject]
        if self.front.affinity_s:
            return self._faithful(pool, members, tag)
        proto, ip = self.front.key.transport.lower(), _IP[self.version]
        if len(members) == 1:
            return [f"meta l4proto {proto} dnat {ip} to {members[0].place}"]
        places = [f"{one.address} . {one.port}" for one in members]
        start = f"meta l4proto {proto} dnat {ip} to"
        return [f"{start} {self._selector(pool, members, 'map', places)}", f"{start} {members[0].place}"]

    def _faithful(self, pool: Pool, members: list[Member], tag: str) -> list[str]:
        """A client that was here before goes where it went then."""
        proto, ip = self.front.key.transport.lower(), _IP[self.version]
        known, targets = [], []
        for member in members:
            place = f"{self._name}/{tag}/{place_name(member.address, member.port)}"
            clients, chain = f"{CLIENTS}{place}", f"at/{place}"
            stay_s = self.front.affinity_s
            self.sets.append(Set(clients, self._clients(stay_s, _MOST_CLIENTS), stay_s))
            rules = (
                f"update @{clients} {{ {self._source} }}",
                f"meta l4proto {proto} dnat {ip} to {member.place}",
            )
            self.chains.append(Chain(chain, rules))
            known.append(f"{self._source} @{clients} goto {chain}")
            targets.append(f"goto {chain}")
        if len(targets) == 1:
            return [targets[0]]
        return [*known, self._selector(pool, members, "vmap", targets), targets[0]]

    def _selector(self, pool: Pool, members: list[Member], word: str, values: list[str]) -> str:
        """The expression that chooses among the values, and the map of them."""
        balance = pool.balancer.balance
        if balance is Balance.CONSISTENT_HASH:
            owners = slots_of(members)
            seed = "seed 0x6d657368"
            return f"jhash {self._source} mod {len(owners)} {seed} {word} {_runs(owners, values)}"
        counts = _counts(members)
        if balance is Balance.ROUND_ROBIN:
            if sum(counts) <= _EVEN_TURNS:
                in_turn = turns(counts)
                return f"numgen inc mod {len(in_turn)} {word} {_runs(in_turn, values)}"
            return f"numgen inc mod {sum(counts)} {word} {_map(counts, values)}"
        return f"numgen random mod {sum(counts)} {word} {_map(counts, values)}"

    def _clients(self, timeout_s: int, size: int) -> str:
        return f"type {_ADDRESS_TYPE[self.version]}; flags dynamic,timeout; timeout {timeout_s}s; size {size};"

    @property
    def _source(self) -> str:
        return f"{_IP[self.version]} saddr"


def _doors(front: Front, version: int, addresses: Sequence[str], entry: str) -> Iterator[Element]:
    proto = front.key.transport.lower()
    for address in addresses:
        key = f"{address} . {proto} . {front.key.port}"
        yield Element(BY_ADDRESS[version], key, f"goto {entry}")
        yield Element(DOORS[version], key)
    if front.node_port and _reached(front, version):
        key = f"{proto} . {front.node_port}"
        yield Element(BY_NODE_PORT[version], key, f"goto {entry}")
        yield Element(PORT_DOORS[version], key)


def _counters(front: Front, version: int, addresses: Sequence[str]) -> Iterator[Element]:
    """Connections are counted by where they came in and where they went."""
    proto = front.key.transport.lower()
    members = {one.place: one for pool in front.pools for one in pool.members if one.version == version}
    for member in members.values():
        to = f"{member.address} . {member.port}"
        opened, port_opened = (OPENED_NEAR, PORT_OPENED_NEAR) if member.near else (OPENED, PORT_OPENED)
        for address in addresses:
            yield Element(opened[version], f"{address} . {proto} . {front.key.port} . {to}")
        if front.node_port:
            yield Element(port_opened[version], f"{proto} . {front.node_port} . {to}")


def _reached(front: Front, version: int) -> bool:
    """Whether a node port has anything behind it in this version of IP."""
    return any(one.version == version for pool in front.pools for one in pool.members)


def _counts(members: Sequence[Member]) -> list[int]:
    """Whole shares."""
    weights = [one.weight for one in members]
    if all(weight == int(weight) for weight in weights):
        unit = reduce(gcd, (int(weight) for weight in weights))
        if sum(weights) // unit <= MOST_SLOTS:
            return [int(weight) // unit for weight in weights]
    return split(weights, MOST_SLOTS)


def _map(counts: Sequence[int], values: Sequence[str]) -> str:
    """A map whose keys are ranges of these lengths."""
    ends = accumulate(counts)
    return _ranges((end - count, end - 1, value) for end, count, value in zip(ends, counts, values, strict=True))


def _runs(owners: Sequence[int], values: Sequence[str]) -> str:
    """A map from each place in the sequence to its owner's value; neighbours with one owner are one range."""
    runs, start = [], 0
    for owner, group in groupby(owners):
        end = start + sum(1 for _ in group)
        runs.append((start, end - 1, values[owner]))
        start = end
    return _ranges(runs)


def _ranges(ranges: Iterable[tuple[int, int, str]]) -> str:
    parts = (f"{first if first == last else f'{first}-{last}'} : {value}" for first, last, value in ranges)
    return f"{{ {', '.join(parts)} }}"
