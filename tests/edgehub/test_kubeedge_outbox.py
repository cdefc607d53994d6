"""The order in which the KubeEdge dialect speaks."""

import asyncio

import pytest

from edgehub.kubeedge_outbox import Outbox
from tests.edgehub.test_aws import KeepingLink
from twin.dialects.kubeedge import Answer, Sent

pytestmark = pytest.mark.fast


def answer(*names, cloud=""):
    return Answer(tuple(Sent(name, {"n": name}, cloud=name == cloud) for name in names))


def topics(link):
    return [topic for topic, _ in link.sent]


async def test_a_result_goes_at_once_and_what_follows_it_a_turn_later():
    link = KeepingLink()
    outbox = Outbox(link, None)
    outbox.send(answer("result", "document", "delta"))
    assert topics(link) == ["result"]
    await asyncio.sleep(0)
    assert topics(link) == ["result", "document", "delta"]


async def test_nothing_overtakes_what_waits():
    link, told = KeepingLink(), []
    outbox = Outbox(link, lambda sent: told.append((sent.resource, len(link.sent))))
    outbox.send(answer("a", "b", "c", cloud="c"))
    outbox.send(answer("d", "e"))
    outbox.send_one(Sent("f", {}))
    assert topics(link) == ["a"]
    await asyncio.sleep(0)
    assert topics(link) == ["a", "b", "d", "e", "f"]
    assert told == [("c", 2)]
    outbox.send(answer("g"))
    assert topics(link)[-1] == "g"


async def test_what_waits_goes_out_at_the_end():
    link = KeepingLink()
    outbox = Outbox(link, None)
    outbox.send(answer("a", "b"))
    outbox.flush()
    assert topics(link) == ["a", "b"]
