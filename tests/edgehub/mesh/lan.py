"""Gateways on one network, as far as peers need them: certificates of one cloud, a broker, the links."""

import os
import pwd
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cloudsync.identity.ca import Authority
from edgehub.accounts import peer_account
from edgehub.broker import Broker, PeerAccess
from edgehub.cloud_keys import CloudKeys
from edgehub.mesh.peers import Peers, peer_link
from edgehub.mesh_settings import PeerSettings
from twin.broker_accounts import full_access, new_password
from twin.certificates import new_key, request
from twin.clock import SystemClock
from twin.link.mqtt import MqttLink
from twin.link.options import MqttOptions
from twin.mosquitto import CANDIDATES, find_mosquitto
from twin.supervisor import Supervisor
from twin.wire.enrolment import Enrolled, JoinToken

NOWHERE = JoinToken(url="https://127.0.0.1:1", host="127.0.0.1", port=1, ca="0" * 64, secret="x" * 20)


def authority(now_ms: int | None = None) -> Authority:
    return Authority.create("gateways", now_ms or SystemClock().now_us() // 1000)


def join(folder: Path, gateway: str, cloud: Authority) -> CloudKeys:
    """Give a gateway what it has after it joined a cloud, which is not there any more."""
    key = new_key()
    certificate, _ = cloud.issue_gateway(request(key, gateway), gateway, now=SystemClock().now_us() // 1000, days=30)
    keys = CloudKeys(folder)
    keys.keep_joined(NOWHERE, Enrolled(gateway=gateway, certificate=certificate, ca=cloud.certificate), key)
    return keys


@dataclass
class Station:
    """A gateway's broker and its peers. ``news`` counts what it was told of."""

    name: str
    keys: CloudKeys
    broker: Broker
    peers: Peers
    link: MqttLink
    news: list[int] = field(default_factory=lambda: [0])


@asynccontextmanager
async def station(
    name: str, folder: Path, keys: CloudKeys, port: int, others: dict[str, int], local_port: int
) -> AsyncIterator[Station]:
    """Run one; ``others`` are its peers with their ports on loopback."""
    clock = SystemClock()
    hub = full_access("hub", new_password())
    settings = [PeerSettings(name=other, host="127.0.0.1", port=there) for other, there in others.items()]
    access = PeerAccess("127.0.0.1", port, keys.pair, keys.ca, tuple(peer_account(one, name) for one in others))
    mosquitto = await find_mosquitto(CANDIDATES)
    user = pwd.getpwuid(os.geteuid()).pw_name
    async with (
        Supervisor(clock=clock, rng=random.Random(1)) as supervisor,
        Broker(
            binary=mosquitto.path,
            folder=folder / name,
            port=local_port,
            hub=hub,
            accounts=(),
            user=user,
            supervisor=supervisor,
            peers=access,
        ) as broker,
        MqttLink(MqttOptions("127.0.0.1", local_port, f"hub-{name}", hub.name, hub.password)) as link,
    ):
        await link.connected(10)
        news = [0]

        def publish(topic: str, payload: bytes, retain: bool) -> None:
            link.publish(topic, payload, qos=int(retain), retain=retain)

        def told() -> None:
            news[0] += 1

        peers = Peers(
            name, os.urandom(4).hex(), settings, peer_link(name, keys, random.Random()), publish, told, told, clock
        )
        await peers.open()
        try:
            yield Station(name, keys, broker, peers, link, news)
        finally:
            await peers.close()
