"""Who gets which share of the new connections of a frontend: what the rules are made from. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from mesh.model.policies import Balance, LoadBalancer, RateLimit
from mesh.model.programme import Frontend
from mesh.model.services import Origin, PortKey, Transport
from mesh.upstream import Upstream

_NO_BALANCER: Final = LoadBalancer()


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """An endpoint by its numbers, with its weight among the others; 0: it is there, but gets nothing new."""

    address: str
    port: int
    weight: float = 1.0
    leaving: bool = False
    """It is about to end, and may finish what it has."""
    near: bool = False
    """It is on this gateway, which its answers pass in any case."""

    @property
    def place(self) -> str:
        """``address:port``, as endpoints are called elsewhere."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    @property
    def version(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.address else 4


@dataclass(frozen=True, slots=True)
class Pool:
    """The endpoints of one backend of a frontend, and the bounds of what they get."""

    key: PortKey
    weight: int = 1
    members: tuple[Member, ...] = ()
    balancer: LoadBalancer = _NO_BALANCER
    max_connections: int = 0
    rate_limit: RateLimit | None = None

    @property
    def bounded(self) -> bool:
        """Whether the kernel counts something for it, which a change of endpoints must not forget."""
        return self.max_connections > 0 or self.rate_limit is not None


@dataclass(frozen=True, slots=True)
class Front:
    """A frontend with all that its rules depend on."""

    key: PortKey
    addresses: tuple[str, ...]
    node_port: int = 0
    affinity_s: int = 0
    rate_limit: RateLimit | None = None
    pools: tuple[Pool, ...] = ()
    route: str = ""
    """The route that it goes by; empty: none was written."""


@dataclass(frozen=True, slots=True, order=True)
class Cut:
    """Connections to an endpoint that are to end."""

    transport: Transport
    to: Member


def pool_of(upstream: Upstream, now_s: float) -> Pool:
    """What is behind a port right now: all its endpoints, and who of them gets new connections."""
    group = upstream.group
    in_use = {target.endpoint.place: target.weight for target in upstream.in_use(now_s)}
    members = tuple(
        Member(one.address, one.port, in_use.get(one.place, 0.0), one.terminating, one.origin is Origin.HERE)
        for one in group.endpoints
    )
    policy = group.policy
    return Pool(group.key, 1, members, policy.balancer, policy.pool.max_connections, policy.rate_limit)


def front_of(frontend: Frontend, pools: Mapping[PortKey, Pool]) -> Front:
    """A frontend over the pools of the ports behind it; one that is not known has no endpoint."""
    rule = frontend.rules[0] if frontend.rules else None
    backends = rule.rule.backends if rule else ()
    return Front(
        frontend.key,
        frontend.addresses,
        frontend.node_port,
        frontend.affinity_s,
        rule.rate_limit if rule else None,
        tuple(_weighted(pools.get(one.port) or Pool(one.port), one.weight) for one in backends if one.weight > 0),
        str(rule.route) if rule and rule.route else "",
    )


def unable(front: Front) -> str:
    """Why the kernel cannot carry it; empty: it can. What is said of routes and policies has been looked at before."""
    addresses = [*front.addresses, *(one.address for pool in front.pools for one in pool.members)]
    for address in addresses:
        try:
            parsed = ip_address(address)
        except ValueError:
            return f"{address} is no address, and the kernel resolves no names. Ask for userspace"
        if parsed.is_loopback:
            return f"only this machine itself reaches {address}. Ask for userspace, or give it another address"
    versions = {6 if ":" in address else 4 for address in front.addresses}
    if odd := next((one for one in addresses if versions and (6 if ":" in one else 4) not in versions), ""):
        return f"the kernel does not translate between IPv4 and IPv6 ({odd}). Ask for userspace"
    if any(pool.balancer.balance is Balance.LEAST_REQUEST for pool in front.pools):
        return "the kernel does not know LEAST_REQUEST. Ask for userspace"
    return ""


def cuts_of(before: Front, after: Front | None) -> Iterator[Cut]:
    """Whose connections are dead by a change: those of endpoints that are gone, and what has no end of its own.

    A TCP connection to an endpoint that is only left out may well live, and ends by itself if not. Datagrams would go
    there for as long as somebody sends them. None: the service is gone, and what is open may end as it likes.
    """
    transport = before.key.transport
    now = {one.place: one for pool in after.pools for one in pool.members} if after else {}
    for member in dict.fromkeys(one for pool in before.pools for one in pool.members):
        known = now.get(member.place)
        if transport is Transport.UDP:
            dead = known is None or (known.weight <= 0 and not known.leaving)
        else:
            dead = known is None and after is not None
        if dead:
            yield Cut(transport, Member(member.address, member.port))


def split(weights: Sequence[float], slots: int) -> list[int]:
    """Shares of a whole number of slots, close to the weights; each weight over 0 gets one at least."""
    total = sum(weights)
    shares = [int(weight > 0) for weight in weights]
    rest = slots - sum(shares)
    more = [max(0.0, weight * slots / total - 1) if weight > 0 else 0.0 for weight in weights]
    if rest <= 0 or not any(more):
        return shares
    owed = [part * rest / sum(more) for part in more]
    shares = [share + int(part) for share, part in zip(shares, owed, strict=True)]
    for at in sorted(range(len(owed)), key=lambda at: int(owed[at]) - owed[at])[: slots - sum(shares)]:
        shares[at] += 1
    return shares


def _weighted(pool: Pool, weight: int) -> Pool:
    return Pool(pool.key, weight, pool.members, pool.balancer, pool.max_connections, pool.rate_limit)
