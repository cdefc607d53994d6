"""Links to the brokers of gateways on the same network: each reads what the others say there, and writes nothing."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from ipaddress import ip_address
from types import MappingProxyType
from typing import Final

from edgehub.cloud_keys import CloudKeys
from edgehub.mesh.gossip import Gossip
from edgehub.mesh.learnt import Shape
from edgehub.mesh_settings import PeerSettings
from mesh.frames import Vote, Votes
from mesh.model.services import Endpoint, PortKey, Service
from mesh.registry import Said
from twin.clock import Clock
from twin.errors import EdgetwinError
from twin.link import Link, LinkState, Message
from twin.link.mqtt import MqttLink
from twin.link.options import MqttOptions, TlsOptions
from twin.wire import topics
from twin.wire.codec import encode
from twin.wire.enrolment import gateway_host

log = logging.getLogger(__name__)

KEEPALIVE_S: Final = 2
"""A machine that went dark is noticed within two of them."""
VOTES_S: Final = 3.0
"""Votes are said again within this time, for they are believed for fifteen seconds."""
TICK_S: Final = 0.5


class Peers:
    """One gateway's. ``publish`` speaks on the own broker. ``on_table`` and ``on_votes`` are told of what is other."""

    def __init__(
        self,
        own: str,
        run: str,
        peers: Sequence[PeerSettings],
        link: Callable[[PeerSettings], Link],
        publish: Callable[[str, bytes, bool], None],
        on_table: Callable[[], None],
        on_votes: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._own = own
        self._peers = peers
        self._link = link
        self._publish = publish
        self._on_table = on_table
        self._on_votes = on_votes
        self._clock = clock
        near = (one.name for one in peers if _is_loopback(one.host))
        self._gossip = Gossip(own, run, (one.name for one in peers), self._now_ms(), near)
        self._stack = AsyncExitStack()
        self._silent: tuple[str, ...] = ()
        self._told_s = float("-inf")
        self._strange: set[str] = set()

    async def open(self) -> None:
        """Begin to connect; peers that are not there are tried again and again."""
        for peer in self._peers:
            link = await self._stack.enter_async_context(self._link(peer))
            self._stack.callback(link.on_state(partial(self._on_state, peer.name)))
            await link.subscribe(topics.mesh_of(peer.name), partial(self._on_message, peer.name))
        ticking = asyncio.create_task(self._tick(), name="peers")
        self._stack.push_async_callback(_ended, ticking)

    async def close(self) -> None:
        """Leave them."""
        await self._stack.aclose()

    def said(self) -> list[Said]:
        """What they offer."""
        return self._gossip.said()

    def shapes(self) -> dict[PortKey, Shape]:
        """What the ports are like that they offer."""
        return self._gossip.shapes()

    def heard(self) -> tuple[str, ...]:
        """Those that are reached."""
        return self._gossip.heard()

    def ballots(self, services: Iterable[Service]) -> list[Votes]:
        """How each gateway votes on endpoints."""
        return self._gossip.ballots(services, self._now_ms())

    def judged(self, service: Service) -> Service:
        """A service as all that is heard and found makes it look."""
        return self._gossip.judged(service, self._now_ms())

    def alarms(self) -> list[str]:
        """Peers that are not reached."""
        return [f"gateway {name} on this network is not reached" for name in self._silent]

    def offer(
        self,
        endpoints: Mapping[PortKey, tuple[Endpoint, ...]],
        zone: str,
        shapes: Mapping[PortKey, Shape] = MappingProxyType({}),
    ) -> None:
        """Tell what this gateway offers, if it is other than before."""
        message = self._gossip.offer(endpoints, zone, shapes)
        if message is not None:
            self._publish(topics.mesh_endpoints(self._own), encode(message), True)

    def tell_again(self) -> None:
        """The own broker began anew: it has forgotten what it was told."""
        self._publish(topics.mesh_endpoints(self._own), encode(self._gossip.offered()), True)
        self._tell()

    def found(self, votes: Iterable[Vote]) -> None:
        """Tell what the mesh found when it reached for endpoints."""
        if self._gossip.found(votes):
            self._tell()

    def keep(self, services: Iterable[Service]) -> None:
        """Forget endpoints that are no more."""
        self._gossip.keep(services)

    async def _tick(self) -> None:
        while True:
            silent = self._gossip.silent(self._now_ms())
            if silent != self._silent:
                for name in sorted(set(silent) - set(self._silent)):
                    log.warning("gateway %s on this network is not reached", name)
                for name in sorted(set(self._silent) - set(silent)):
                    log.info("gateway %s on this network is reached again", name)
                self._silent = silent
                self._tell()
                self._on_votes()
            elif self._clock.monotonic_s() - self._told_s >= VOTES_S:
                self._tell()
                if silent:
                    self._on_votes()  # for what we miss is a vote of ours, too
            await asyncio.sleep(TICK_S)

    def _tell(self) -> None:
        self._told_s = self._clock.monotonic_s()
        self._publish(topics.mesh_votes(self._own), encode(self._gossip.votes(self._now_ms())), False)

    def _on_state(self, peer: str, state: LinkState) -> None:
        if self._gossip.reached(peer, self._now_ms(), reached=state is LinkState.UP):
            self._on_table()
            self._on_votes()

    def _on_message(self, peer: str, message: Message) -> None:
        try:
            news = self._gossip.took(peer, message.topic, message.payload, self._now_ms())
        except EdgetwinError as error:
            level = logging.DEBUG if peer in self._strange else logging.WARNING
            self._strange.add(peer)
            log.log(level, "gateway %s is not understood: %s", peer, error)
            return
        self._strange.discard(peer)
        if news and message.topic == topics.mesh_votes(peer):
            self._on_votes()
        elif news:
            self._on_table()

    def _now_ms(self) -> int:
        return int(self._clock.monotonic_s() * 1000)


def peer_link(own: str, keys: CloudKeys, rng: random.Random) -> Callable[[PeerSettings], Link]:
    """Links by the gateway's own certificate, to brokers that prove to be the gateways which the settings name."""

    def link(peer: PeerSettings) -> Link:
        tls = TlsOptions(keys.ca, keys.pair, keys.pair, gateway_host(peer.name))
        options = MqttOptions(
            peer.host,
            peer.port,
            own,
            tls=tls,
            keepalive_s=KEEPALIVE_S,
            connect_timeout_s=2.0,
            retry_base_s=0.2,
            retry_cap_s=2.0,
        )
        return MqttLink(options, rng=rng)

    return link


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
