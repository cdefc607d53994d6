"""What gateways on one network know of each other, and what follows from it. Pure.

A peer speaks of its own endpoints alone, and says which endpoints of others it reaches: a vote. A peer that cannot be
reached is a vote of ours against all that is on it. How votes are weighed is the mesh's (mesh/judging.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from types import MappingProxyType
from typing import Final

from edgehub.mesh.learnt import Shape
from mesh.frames import Vote, Votes
from mesh.judging import Heard, Known, Spot, judged
from mesh.model.policies import StaleRule
from mesh.model.services import AppProtocol, Endpoint, Origin, PortKey, Service, ServiceKey, Transport
from mesh.registry import Said
from twin.errors import InvalidMessage
from twin.model import NAME, checked_name
from twin.wire import topics
from twin.wire.codec import decode
from twin.wire.peers import MAX_BYTES, MOST_VOTES, MeshEndpoint, MeshEndpoints, MeshOffer, MeshPort, MeshVote, MeshVotes

SILENT_MS: Final = 2_000
"""A peer that is not reached for so long counts as gone; its hub may only have been started again."""
_NOTHING: Final[Mapping[PortKey, tuple[Endpoint, ...]]] = MappingProxyType({})


@dataclass(slots=True)
class _Peer:
    """What is known of one. Times are milliseconds of the monotonic clock."""

    near: bool
    """Whether it is on this very machine, so that it may name loopback addresses."""
    lost_ms: int | None
    """Since when it is not reached; None: it is."""
    endpoints: Mapping[PortKey, tuple[Endpoint, ...]] = field(default_factory=lambda: _NOTHING)
    shapes: Mapping[PortKey, Shape] = field(default_factory=dict)
    said: tuple[str, int] = ("", -1)
    votes: MeshVotes | None = None
    voted: tuple[str, int] = ("", -1)
    voted_ms: int = 0


class Gossip:
    """One gateway's. ``own`` is its name, ``run`` drawn at this start; ``near`` are peers on the same machine."""

    def __init__(self, own: str, run: str, peers: Iterable[str], now_ms: int, near: Iterable[str] = ()) -> None:
        self._own = own
        self._run = run
        near = set(near)
        self._peers = {name: _Peer(name in near, now_ms) for name in peers}
        self._found: dict[Spot, bool] = {}
        self._offers: tuple[str, tuple[MeshOffer, ...]] | None = None
        self._offer_number = 0
        self._vote_number = 0

    # -- what is heard ---------------------------------------------------------------------------------------------

    def reached(self, peer: str, now_ms: int, *, reached: bool) -> bool:
        """Whether a peer is reached from now on. Whether that is news."""
        known = self._peers[peer]
        if reached == (known.lost_ms is None):
            return False
        known.lost_ms = None if reached else now_ms
        if not reached:
            known.votes = None  # who cannot be heard does not vote
        return True

    def took(self, peer: str, topic: str, payload: bytes, now_ms: int) -> bool:
        """What a peer says on its own broker; whether it is news. Raises InvalidMessage: what it said before holds."""
        known = self._peers[peer]
        if topic == topics.mesh_endpoints(peer):
            return self._took_endpoints(peer, known, payload)
        if topic == topics.mesh_votes(peer):
            return self._took_votes(peer, known, payload, now_ms)
        return False

    def _took_endpoints(self, peer: str, known: _Peer, payload: bytes) -> bool:
        message = decode(MeshEndpoints, payload, what=f"endpoints of {peer}", max_bytes=MAX_BYTES)
        _check_speaker(message.gateway, peer)
        if message.run == known.said[0] and message.number <= known.said[1]:
            return False
        offered = {
            _key(offer.of): tuple(_endpoint(one, peer, message.zone, near=known.near) for one in offer.endpoints)
            for offer in message.offers
        }
        shapes = {_key(one.of): Shape(one.name, AppProtocol(one.app), one.headless) for one in message.offers}
        known.said = message.run, message.number
        if (offered, shapes) == (known.endpoints, known.shapes):
            return False
        known.endpoints, known.shapes = MappingProxyType(offered), shapes
        return True

    def _took_votes(self, peer: str, known: _Peer, payload: bytes, now_ms: int) -> bool:
        message = decode(MeshVotes, payload, what=f"votes of {peer}", max_bytes=MAX_BYTES)
        _check_speaker(message.gateway, peer)
        if message.run == known.voted[0] and message.number <= known.voted[1]:
            return False
        for vote in message.votes:
            _key(vote.of)
        known.voted, known.votes, known.voted_ms = (message.run, message.number), message, now_ms
        return True

    # -- what follows from it --------------------------------------------------------------------------------------

    def said(self) -> list[Said]:
        """What the peers offer, for the table."""
        return [
            Said(Origin.PEER, peer.endpoints, name, heard=peer.lost_ms is None)
            for name, peer in sorted(self._peers.items())
        ]

    def shapes(self) -> dict[PortKey, Shape]:
        """What the ports are like that peers offer; of two that differ the first by name counts."""
        return {key: one for _, peer in sorted(self._peers.items(), reverse=True) for key, one in peer.shapes.items()}

    def heard(self) -> tuple[str, ...]:
        """Peers that are reached."""
        return tuple(sorted(name for name, peer in self._peers.items() if peer.lost_ms is None))

    def silent(self, now_ms: int) -> tuple[str, ...]:
        """Peers that are not, and have not been for a while."""
        return tuple(
            sorted(
                name
                for name, peer in self._peers.items()
                if peer.lost_ms is not None and now_ms - peer.lost_ms >= SILENT_MS
            )
        )

    def ballots(self, services: Iterable[Service], now_ms: int) -> list[Votes]:
        """How each gateway votes, for the mesh: the peers that are heard, and this one by whom it does not reach."""
        silent = self.silent(now_ms)
        asked = bool(silent) or any(one.votes and one.votes.silent for one in self._peers.values())
        on = _by_node(services) if asked else {}
        ballots = [Votes(node=self._own, votes=tuple(_against(on, silent, {})))]
        for name, peer in sorted(self._peers.items()):
            if peer.votes is None:
                ballots.append(Votes(node=name, votes=()))
                continue
            votes = {(_key(one.of), one.place): one.alive for one in peer.votes.votes}
            given = (Vote(port=key, place=place, healthy=alive) for (key, place), alive in votes.items())
            against = _against(on, peer.votes.silent, votes)
            ballots.append(Votes(node=name, votes=(*given, *against), age_ms=max(now_ms - peer.voted_ms, 0)))
        return ballots

    def judged(self, service: Service, now_ms: int) -> Service:
        """A service as the mesh sees it by these votes and findings, for people to see; age is not looked at."""
        others = {
            ballot.node: Heard({(one.port, one.place): one.healthy for one in ballot.votes}, now_ms - ballot.age_ms)
            for ballot in self.ballots([service], now_ms)
        }
        known = Known(dict(self._found), others, peers=frozenset(self._peers))
        return judged(service, StaleRule(), known, now_ms)

    # -- what is told ----------------------------------------------------------------------------------------------

    def offer(
        self,
        endpoints: Mapping[PortKey, tuple[Endpoint, ...]],
        zone: str,
        shapes: Mapping[PortKey, Shape] = MappingProxyType({}),
    ) -> MeshEndpoints | None:
        """What this gateway offers now; None: that has been told."""
        offers = tuple(_offer(key, ones, shapes.get(key, Shape())) for key, ones in sorted(endpoints.items()) if ones)
        if (zone, offers) == self._offers:
            return None
        self._offers = zone, offers
        self._offer_number += 1
        return self.offered()

    def offered(self) -> MeshEndpoints:
        """What was told last."""
        zone, offers = self._offers or ("", ())
        return MeshEndpoints(
            gateway=self._own, run=self._run, number=self._offer_number, zone=zone, offers=list(offers)
        )

    def found(self, votes: Iterable[Vote]) -> bool:
        """What the mesh of this gateway found anew when it reached for endpoints. Whether it is other than before."""
        news = False
        for vote in votes:
            spot = vote.port, vote.place
            news |= self._found.get(spot) != vote.healthy
            self._found[spot] = vote.healthy
        return news

    def keep(self, services: Iterable[Service]) -> None:
        """Forget what was found of endpoints that are no more."""
        if not self._found:
            return
        there = {spot for spots in _by_node(services).values() for spot in spots}
        self._found = {spot: alive for spot, alive in self._found.items() if spot in there}

    def votes(self, now_ms: int) -> MeshVotes:
        """What this gateway found of all endpoints, to be told again and again."""
        self._vote_number += 1
        votes = [
            MeshVote(of=_port(key), place=place, alive=alive) for (key, place), alive in sorted(self._found.items())
        ]
        return MeshVotes(
            gateway=self._own,
            run=self._run,
            number=self._vote_number,
            votes=votes[:MOST_VOTES],
            silent=list(self.silent(now_ms)),
        )


def _check_speaker(said: str, peer: str) -> None:
    if said != peer:
        message = f"the broker of {peer} told something in the name of {said}"
        raise InvalidMessage(message, remedy="Each gateway speaks for itself alone; see mesh.peers on both.")


def _key(of: MeshPort) -> PortKey:
    for name, what in ((of.namespace, "namespace"), (of.service, "service")):
        if NAME.fullmatch(name) is None:
            checked_name(name, what)
    return PortKey(ServiceKey(of.namespace, of.service), of.port, Transport(of.transport))


def _port(key: PortKey) -> MeshPort:
    return MeshPort(
        namespace=key.service.namespace, service=key.service.name, port=key.port, transport=key.transport.value
    )


def _offer(key: PortKey, endpoints: Iterable[Endpoint], shape: Shape) -> MeshOffer:
    return MeshOffer(
        of=_port(key),
        name=shape.name,
        app=shape.app.value,
        headless=shape.headless,
        endpoints=[_written(one) for one in endpoints],
    )


def _endpoint(said: MeshEndpoint, peer: str, zone: str, *, near: bool) -> Endpoint:
    try:
        address = ip_address(said.address)
    except ValueError:
        address = None
    if address is None or address.is_unspecified or address.is_multicast or (address.is_loopback and not near):
        message = f"{peer} offers an endpoint at {said.address!r}, which is no address of its own"
        raise InvalidMessage(message, remedy="Only addresses that others reach are offered.")
    return Endpoint(
        str(address),
        said.port,
        node=peer,
        zone=zone,
        hostname=said.hostname,
        weight=said.weight,
        ready=said.ready,
        serving=said.ready,
        terminating=said.terminating,
        origin=Origin.PEER,
    )


def _written(endpoint: Endpoint) -> MeshEndpoint:
    return MeshEndpoint(
        address=endpoint.address,
        port=endpoint.port,
        hostname=endpoint.hostname,
        weight=endpoint.weight,
        ready=endpoint.ready,
        terminating=endpoint.terminating,
    )


def _by_node(services: Iterable[Service]) -> dict[str, list[Spot]]:
    found: dict[str, list[Spot]] = {}
    for service in services:
        for port in service.ports:
            key = PortKey(service.key, port.port, port.transport)
            for endpoint in port.endpoints:
                found.setdefault(endpoint.node, []).append((key, endpoint.place))
    return found


def _against(on: Mapping[str, list[Spot]], silent: Iterable[str], known: Mapping[Spot, bool]) -> Iterator[Vote]:
    for node in silent:
        for spot in on.get(node, ()):
            if spot not in known:
                yield Vote(port=spot[0], place=spot[1], healthy=False)
