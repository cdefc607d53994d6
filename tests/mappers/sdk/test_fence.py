"""A mapper of others publishes on its own topics only."""

import asyncio

import pytest

from mappers.sdk.config import ConnectionSettings, DeviceSettings, HostSettings
from mappers.sdk.fence import FencedLink
from twin.errors import LinkError
from twin.link import Message
from twin.link.memory import MemoryBroker
from twin.model import TwinKey
from twin.wire import codec, topics

pytestmark = pytest.mark.fast

OWN, OTHER = TwinKey.parse("own"), TwinKey.parse("other")
ACCOUNT = "mapper.odd"


def settings(*twins: str) -> Message:
    devices = tuple(DeviceSettings(twin=twin, address={}, points=()) for twin in twins)
    connections = (ConnectionSettings(name="default/line", mapper="odd", config={}, devices=devices),)
    return Message(topics.mapper_config(ACCOUNT), codec.encode(HostSettings(connections=connections)))


async def test_only_reports_of_its_own_twins_go_through_and_each_other_try_is_told_once():
    broker = MemoryBroker()
    heard, told = [], []
    async with broker.link() as hub, FencedLink(broker.link(), ACCOUNT, told.append) as fence:
        for link in (hub, fence):
            await link.connected(1)
        await hub.subscribe("#", lambda message: heard.append(message.topic))
        fence.learn(settings(str(OWN)))
        for topic in (
            topics.report(ACCOUNT, OWN),
            topics.report(topics.simulated_reporter(ACCOUNT), OWN),
            topics.report(ACCOUNT, TwinKey.parse("mapper/default/line")),
            topics.mapper_state(ACCOUNT),
        ):
            fence.publish(topic, b"{}")
        for topic in (
            topics.report(ACCOUNT, OTHER),
            topics.report("mapper", OWN),
            topics.mapper_state("mapper"),
            topics.mapper_config(ACCOUNT),
            topics.request("set"),
            topics.delta(OWN),
        ):
            for _ in range(2):
                with pytest.raises(LinkError, match="may not publish on"):
                    fence.publish(topic, b"{}")
        for _ in range(10):
            await asyncio.sleep(0)  # the memory broker delivers by call_soon
    assert len(heard) == 4
    assert len(told) == 6


async def test_what_was_its_own_stays_so_for_a_last_report():
    broker = MemoryBroker()
    async with FencedLink(broker.link(), ACCOUNT, pytest.fail) as fence:
        fence.learn(settings(str(OWN)))
        fence.learn(Message(topics.mapper_config(ACCOUNT), b""))
        fence.publish(topics.report(ACCOUNT, OWN), b"{}")
