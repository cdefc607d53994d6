"""Several brokers as one link, over links in memory."""

import asyncio

import pytest

from cloudsync.links import HEARD_S, CloudLinks
from twin.errors import LinkError
from twin.link import LinkState
from twin.link.memory import MemoryBroker

pytestmark = pytest.mark.fast

UP, DOWN = "et/1/sync/gw-1/up", "et/1/sync/gw-1/down"


class Cloud:
    """Two shards and the apps' broker, with someone on each who hears all."""

    def __init__(self):
        self.brokers = [MemoryBroker(), MemoryBroker(), MemoryBroker()]
        self.now_s = 0.0
        self.links = [broker.link() for broker in self.brokers]
        self.cloud = CloudLinks(self.links[:2], self.links[2:], monotonic_s=lambda: self.now_s)
        self.peers = [broker.link() for broker in self.brokers]
        self.heard = [[], [], []]

    async def __aenter__(self):
        for peer, heard in zip(self.peers, self.heard, strict=True):
            await peer.__aenter__()
            await peer.connected(1)
            await peer.subscribe("#", lambda message, heard=heard: heard.append(message.topic))
        await self.cloud.__aenter__()
        await self.cloud.connected(1)
        return self

    async def __aexit__(self, *exc):
        await self.cloud.__aexit__(*exc)
        for peer in self.peers:
            await peer.__aexit__(*exc)

    async def told(self, topic):
        for heard in self.heard:
            heard.clear()
        self.cloud.publish(topic, b"x", qos=1)
        await settle()
        return [number for number, heard in enumerate(self.heard) if topic in heard]


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


async def test_each_topic_goes_to_the_brokers_that_it_belongs_to():
    async with Cloud() as world:
        assert await world.told(DOWN) == [0, 1]
        assert await world.told("et/1/reply/anna/cli") == [2]
        assert await world.told("et/1/cloud/changed") == [0]


async def test_messages_come_from_wherever_they_are():
    async with Cloud() as world:
        seen = []
        for topic_filter in ("et/1/sync/+/up", "et/1/api/+/+", "et/1/cloud/#"):
            await world.cloud.subscribe(topic_filter, lambda message: seen.append(message.topic))
        for peer, topic in zip(world.peers, (UP, UP, "et/1/api/get/anna"), strict=True):
            peer.publish(topic, b"", qos=1)
        await settle()
        assert sorted(seen) == ["et/1/api/get/anna", UP, UP]


async def test_what_a_gateway_is_told_goes_to_the_shard_where_it_was_heard_lately():
    async with Cloud() as world:
        stop = await world.cloud.subscribe("et/1/sync/+/up", lambda _: None)
        world.peers[1].publish(UP, b"", qos=1)
        await settle()
        assert await world.told(DOWN) == [1]
        assert await world.told("et/1/sync/gw-2/down") == [0, 1]
        world.now_s += HEARD_S
        assert await world.told(DOWN) == [0, 1]
        stop()
        world.peers[0].publish(UP, b"", qos=1)
        await settle()
        assert await world.told(DOWN) == [0, 1]


async def test_it_is_up_when_all_are_and_a_shard_that_is_down_keeps_nobody_else_from_hearing():
    async with Cloud() as world:
        states = []
        stop = world.cloud.on_state(states.append)
        assert world.cloud.state is LinkState.UP
        world.brokers[1].cut(world.links[1])
        assert world.cloud.state is not LinkState.UP
        for number in range(3000):
            world.cloud.publish(f"et/1/sync/gw-{number}/down", b"", qos=1)
        await settle()
        assert len(world.heard[0]) == 3000
        world.brokers[1].restore(world.links[1])
        await world.cloud.connected(1)
        assert states[0] is not LinkState.UP
        assert states[-1] is LinkState.UP
        stop()
    assert world.cloud.state is LinkState.CLOSED


async def test_waiting_for_a_link_that_does_not_come_up_ends():
    broker = MemoryBroker()
    link = broker.link()
    cloud = CloudLinks([link], [link], monotonic_s=lambda: 0.0)
    with pytest.raises(LinkError):
        await cloud.connected(0.01)


async def test_a_shared_subscription_goes_where_its_filter_belongs():
    async with Cloud() as world:
        of = world.cloud._links_of
        assert list(of("$share/cloud/et/1/sync/+/up")) == world.links[:2]
        assert list(of("$share/cloud/et/1/api/+/+")) == world.links[2:]
        assert list(of("$aws/things/tank/shadow/get")) == world.links[2:]
        assert list(of("et/1/cloud/changed")) == world.links[:1]
