"""Gateways that read each other's brokers: real Mosquittos, real certificates, on loopback."""

import asyncio
import os
import random
import signal
from contextlib import AsyncExitStack

import pytest

from edgehub.mesh.peers import peer_link
from edgehub.mesh_settings import PeerSettings
from mesh.frames import Vote
from mesh.model.services import Endpoint, PortKey, Service, ServiceKey, ServicePort
from tests.edgehub.mesh.lan import authority, join, station
from twin.errors import LinkError
from twin.link import LinkState
from twin.link.mqtt import MqttLink
from twin.link.options import MqttOptions, TlsOptions
from twin.model import TwinKey
from twin.wire import topics
from twin.wire.enrolment import gateway_host

WEB = PortKey(ServiceKey("default", "web"), 80)


def offered(address="127.0.0.2", node="a"):
    return {WEB: (Endpoint(address, 8080, node=node),)}


def places(of, peer):
    found = next(one for one in of.peers.said() if one.node == peer)
    return [one.place for ones in found.endpoints.values() for one in ones]


async def until(condition, timeout_s=15.0):
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 what is waited for has no event
            await asyncio.sleep(0.01)


class Lan:
    """Gateways a, b, c of one cloud; started one by one."""

    def __init__(self, folder, free_port):
        self.folder = folder
        self.ports = {name: free_port() for name in "abc"}
        self.local = {name: free_port() for name in "abc"}
        self.cloud = authority()
        self.keys = {name: join(folder / f"keys-{name}", name, self.cloud) for name in "abc"}
        self.stack = AsyncExitStack()

    async def start(self, name, among="abc"):
        others = {other: self.ports[other] for other in among if other != name}
        one = station(name, self.folder, self.keys[name], self.ports[name], others, self.local[name])
        return await self.stack.enter_async_context(one)


@pytest.fixture
async def lan(tmp_path, free_port):
    made = Lan(tmp_path, free_port)
    async with made.stack:
        yield made


async def test_gateways_tell_each_other_what_they_offer_and_what_they_found(lan):
    a, b = await lan.start("a"), await lan.start("b")
    a.peers.offer(offered(), "hall-1")
    await until(lambda: places(b, "a") == ["127.0.0.2:8080"])
    assert b.peers.heard() == ("a",)
    a.peers.found([Vote(port=WEB, place="192.0.2.9:80", healthy=False)])
    await until(lambda: any(one.votes for one in b.peers.ballots([]) if one.node == "a"))
    a.peers.offer({}, "hall-1")
    await until(lambda: places(b, "a") == [])


async def test_who_comes_later_learns_what_was_told_before(lan):
    a = await lan.start("a")
    a.peers.offer(offered(), "")
    b = await lan.start("b")
    await until(lambda: places(b, "a") == ["127.0.0.2:8080"])


async def test_a_broker_that_was_killed_is_missed_at_once_by_the_others_and_used_again_when_it_is_back(lan):
    a, b, c = await lan.start("a"), await lan.start("b"), await lan.start("c")
    c.peers.offer(offered("127.0.0.3"), "")
    web = Service(WEB.service, ports=(ServicePort(80, endpoints=(Endpoint("127.0.0.3", 8080, node="c"),)),))

    def against(gateway):
        voters = [one.node for one in gateway.peers.ballots([web]) if any(not vote.healthy for vote in one.votes)]
        return sorted(voters)

    await until(lambda: places(a, "c") and places(b, "c"))
    await until(lambda: set(a.peers.heard()) == {"b", "c"} and set(b.peers.heard()) == {"a", "c"})
    assert against(a) == []
    began_s = asyncio.get_running_loop().time()
    os.kill(c.broker.pid, signal.SIGSTOP)  # a machine without power says nothing; its broker does not even hang up
    await until(lambda: against(a) == ["a", "b"] and against(b) == ["a", "b"])
    assert asyncio.get_running_loop().time() - began_s < 10
    assert places(a, "c") == ["127.0.0.3:8080"]
    assert a.peers.alarms() == ["gateway c on this network is not reached"]
    os.kill(c.broker.pid, signal.SIGCONT)
    await until(lambda: against(a) == [] and against(b) == [] and "c" in a.peers.heard())
    assert a.peers.alarms() == []


async def test_a_broker_that_began_anew_is_told_everything_again(lan):
    a, b = await lan.start("a"), await lan.start("b")
    a.peers.offer(offered(), "")
    await until(lambda: places(b, "a") == ["127.0.0.2:8080"])
    states = []
    a.link.on_state(states.append)
    os.kill(a.broker.pid, signal.SIGKILL)
    await until(lambda: states[-1:] == [LinkState.UP])
    a.peers.tell_again()
    heard = []
    reader = peer_link("b", lan.keys["b"], random.Random(1))
    async with reader(PeerSettings(name="a", host="127.0.0.1", port=lan.ports["a"])) as link:
        await link.subscribe(topics.mesh_of("a"), heard.append)
        await until(lambda: any(one.topic == topics.mesh_endpoints("a") and one.retain for one in heard))
    await until(lambda: b.peers.heard() == ("a",))


async def test_a_peer_may_read_what_is_for_peers_and_nothing_else_and_write_nothing(lan):
    a = await lan.start("a")
    link = peer_link("b", lan.keys["b"], random.Random(1))(
        PeerSettings(name="a", host="127.0.0.1", port=lan.ports["a"])
    )
    async with link:
        await link.connected(10)
        heard, refused, local = [], [], []
        await link.subscribe("#", heard.append)
        await link.subscribe(topics.mesh_of("a"), heard.append)
        await a.link.subscribe("#", local.append)
        secret = topics.report("modbus", TwinKey.parse("device/default/tank"))
        a.link.publish(secret, b"{}", qos=1)
        for topic in (topics.mesh_endpoints("a"), topics.mesh_votes("a"), topics.mesh_endpoints("b"), secret):
            link.publish(topic, b"forged", qos=1, refused=refused.append)
        a.peers.offer(offered(), "")
        await until(lambda: topics.mesh_endpoints("a") in [one.topic for one in heard])
        await until(lambda: len(refused) == 4)
        assert {one.topic for one in heard} <= {topics.mesh_endpoints("a"), topics.mesh_votes("a")}
        assert b"forged" not in [one.payload for one in local]


async def test_a_gateway_that_is_no_peer_hears_nothing(lan, tmp_path):
    a = await lan.start("a", among="ab")
    keys = join(tmp_path / "stranger", "x", lan.cloud)
    heard = []
    place = PeerSettings(name="a", host="127.0.0.1", port=lan.ports["a"])
    async with (
        peer_link("x", keys, random.Random(1))(place) as link,
        peer_link("b", lan.keys["b"], random.Random(1))(place) as good,
    ):
        await link.connected(10)
        await link.subscribe("#", heard.append)
        await link.subscribe(topics.mesh_of("a"), heard.append)
        a.peers.offer(offered(), "")
        told = []
        await good.subscribe(topics.mesh_of("a"), told.append)
        await until(lambda: len(told) > 1)
        assert heard == []


@pytest.mark.parametrize("who", ["another cloud", "no certificate", "another gateway's name"])
async def test_who_cannot_prove_who_it_is_does_not_connect(lan, tmp_path, who):
    a = await lan.start("a")
    keys = lan.keys["b"]
    ca, pair, host = keys.ca, keys.pair, gateway_host("a")
    if who == "another cloud":
        pair = join(tmp_path / "other", "b", authority()).pair
    elif who == "no certificate":
        pair = None
    else:
        host = gateway_host("c")  # we asked for c, and a answers
    options = MqttOptions("127.0.0.1", lan.ports["a"], "b", tls=TlsOptions(ca, pair, pair, host), retry_base_s=0.05)
    async with MqttLink(options) as link:
        with pytest.raises(LinkError):
            await link.connected(1.0)
    assert a.peers.heard() == ()


async def test_a_renewed_certificate_is_used_without_a_restart(lan):
    a, b = await lan.start("a"), await lan.start("b")
    await until(lambda: b.peers.heard() == ("a",))
    join(lan.keys["a"].folder, "a", lan.cloud)
    a.broker.reread()
    link = peer_link("b", lan.keys["b"], random.Random(1))
    async with link(PeerSettings(name="a", host="127.0.0.1", port=lan.ports["a"])) as again:
        await again.connected(10)
