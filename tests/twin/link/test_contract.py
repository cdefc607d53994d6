"""What every Link promises: the same suite for the link in memory and the one over a real broker and a real cut."""

import asyncio
import contextlib

import pytest

from twin.errors import InvalidName, LinkError
from twin.link import LinkState, Message, Will


@pytest.fixture
async def pair(world):
    """Two open links, a and b."""
    async with await world.link() as a, await world.link() as b:
        await a.connected(10)
        await b.connected(10)
        yield a, b


async def in_order(link, inbox, marker: str = "end"):
    """Publish a marker and wait for it: all that was sent before has then arrived."""
    box = inbox()
    stop = await link.subscribe(f"marker/{marker}", box)
    link.publish(f"marker/{marker}", b"", qos=1)
    await box.holds(1)
    stop()


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_message_reaches_the_other_link(pair, inbox, qos):
    a, b = pair
    box = inbox()
    await b.subscribe("x/y", box, qos=qos)
    a.publish("x/y", b"\x00\xff binary", qos=qos)
    await box.holds(1)
    assert box[0] == Message("x/y", b"\x00\xff binary")


@pytest.mark.parametrize(
    ("topic_filter", "topics", "expected"),
    [
        ("a/+/c", ["a/b/c", "a/b", "a/b/c/d", "a//c"], ["a/b/c", "a//c"]),
        ("a/#", ["a", "a/b", "a/b/c", "b"], ["a", "a/b", "a/b/c"]),
        ("#", ["a", "$hw/x", "b/c"], ["a", "b/c"]),
        ("+/x", ["$hw/x", "a/x"], ["a/x"]),
        ("$hw/#", ["$hw/x", "a"], ["$hw/x"]),
    ],
)
async def test_wildcards_match_as_mqtt_says(pair, inbox, topic_filter, topics, expected):
    a, _ = pair
    box = inbox()
    await a.subscribe(topic_filter, box)
    for topic in topics:
        a.publish(topic, b"1", qos=1)
    await box.holds(len(expected))
    await in_order(a, inbox)
    assert [message.topic for message in box if not message.topic.startswith("marker")] == expected


async def test_a_retained_message_comes_with_the_subscription_until_it_is_cleared(pair, inbox):
    a, b = pair
    a.publish("keep", b"v", qos=1, retain=True)
    await in_order(a, inbox)
    box, later, none = inbox(), inbox(), inbox()
    await b.subscribe("keep", box)
    await box.holds(1)
    assert box[0] == Message("keep", b"v", retain=True)
    await b.subscribe("+", later)
    await later.holds(1)
    assert len(box) == 1
    a.publish("keep", b"", qos=1, retain=True)
    await box.holds(2)
    assert box[1].retain is False
    await a.subscribe("keep", none)
    await in_order(a, inbox)
    assert len(none) == 0


async def test_request_properties_are_carried(pair, inbox):
    a, b = pair
    box = inbox()
    await b.subscribe("ask", box)
    a.publish("ask", b"q", response_topic="answer/ä", correlation=b"\x00\x01")
    await box.holds(1)
    assert box[0] == Message("ask", b"q", response_topic="answer/ä", correlation=b"\x00\x01")


async def test_who_sends_what_nobody_hears_is_told(pair, inbox):
    a, b = pair
    told, box = [], inbox()
    stop = await b.subscribe("asked/#", box)
    a.publish("asked/x", b"1", qos=1, unheard=lambda: told.append("heard"))
    a.publish("other/x", b"2", qos=1, unheard=lambda: told.append("other"))
    a.publish("other/x", b"3", unheard=lambda: told.append("qos 0"))
    await box.holds(1)
    stop()
    await in_order(b, inbox, "stopped")
    a.publish("asked/x", b"4", qos=1, unheard=lambda: told.append("stopped"))
    await in_order(a, inbox)
    assert told == ["other", "stopped"]


async def test_two_handlers_share_a_filter(pair, inbox):
    a, b = pair
    one, two = inbox(), inbox()
    stop_one = await b.subscribe("f", one)
    await b.subscribe("f", two)
    a.publish("f", b"1", qos=1)
    await two.holds(1)
    stop_one()
    a.publish("f", b"2", qos=1)
    await two.holds(2)
    assert one.texts == ["1"]
    assert two.texts == ["1", "2"]


async def test_overlapping_filters_reach_each_handler_once(pair, inbox):
    a, b = pair
    both, wide = inbox(), inbox()
    await b.subscribe("o/#", both)
    await b.subscribe("o/x", both)
    await b.subscribe("o/+", wide)
    for text in (b"1", b"2"):
        a.publish("o/x", text, qos=1)
    await wide.holds(2)
    await both.holds(2)
    await in_order(a, inbox)
    await in_order(b, inbox)
    assert both.texts == wide.texts == ["1", "2"]


async def test_nothing_comes_after_unsubscribe(pair, inbox):
    a, b = pair
    gone, stays = inbox(), inbox()
    stop = await b.subscribe("u/x", gone)
    await b.subscribe("u/y", stays)
    stop()
    stop()
    a.publish("u/x", b"1", qos=1)
    a.publish("u/y", b"2", qos=1)
    await stays.holds(1)
    assert len(gone) == 0


async def test_subscriptions_outlive_a_cut(world, pair, inbox, reaches):
    a, b = pair
    box = inbox()
    await b.subscribe("s/+", box)
    world.cut(b)
    await reaches(b, LinkState.DOWN)
    world.restore(b)
    await b.connected(10)
    a.publish("s/1", b"1", qos=1)
    await box.holds(1)


async def test_a_subscription_made_while_down_holds_after_the_restore(world, pair, inbox, reaches):
    a, b = pair
    world.cut(b)
    await reaches(b, LinkState.DOWN)
    box = inbox()
    await b.subscribe("d", box)
    world.restore(b)
    await b.connected(10)
    a.publish("d", b"1", qos=1)
    await box.holds(1)


async def test_while_down_qos_1_waits_in_order_and_qos_0_is_dropped(world, pair, inbox, reaches):
    a, b = pair
    box = inbox()
    await b.subscribe("w", box)
    world.cut(a)
    await reaches(a, LinkState.DOWN)
    for number in range(50):
        a.publish("w", b"lost", qos=0)
        a.publish("w", str(number).encode(), qos=1)
    world.restore(a)
    await a.connected(10)
    await box.holds(50)
    assert box.texts == [str(number) for number in range(50)]


async def test_what_waits_while_down_is_bounded(world, pair, inbox, reaches):
    a, b = pair
    box = inbox()
    await b.subscribe("w", box)
    world.cut(a)
    await reaches(a, LinkState.DOWN)
    for number in range(1000):
        a.publish("w", str(number).encode(), qos=1)
    with pytest.raises(LinkError, match="1000 messages wait"):
        a.publish("w", b"1001", qos=1)
    world.restore(a)
    await box.holds(1000)
    assert box.texts == [str(number) for number in range(1000)]


async def test_qos_1_sent_around_a_cut_arrives_at_least_once(world, pair, inbox, reaches):
    a, b = pair
    box = inbox()
    await b.subscribe("r", box)
    for number in range(300):
        if number == 150:
            world.cut(a)
            await reaches(a, LinkState.DOWN)
            world.restore(a)
        a.publish("r", str(number).encode(), qos=1)
    async with asyncio.timeout(10):
        while {int(text) for text in box.texts} != set(range(300)):
            await box.holds(len(box) + 1)


async def test_the_will_comes_after_a_cut_but_not_after_a_goodbye(world, inbox):
    async with await world.link() as watcher:
        box = inbox()
        await watcher.subscribe("will/#", box)
        await watcher.connected(10)
        async with await world.link(Will("will/polite", b"dead")) as polite:
            await polite.connected(10)
        async with await world.link(Will("will/cut", b"dead")) as victim:
            await victim.connected(10)
            world.cut(victim)
            await box.holds(1)
        later = inbox()
        await watcher.subscribe("will/cut", later)
        await later.holds(1)
        assert [message.topic for message in box if not message.retain] == ["will/cut"]
        assert later[0].retain


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_thousand_messages_keep_their_order(pair, inbox, qos):
    a, b = pair
    box = inbox()
    await b.subscribe("n", box, qos=qos)
    for number in range(1000):
        a.publish("n", str(number).encode(), qos=qos)
    await box.holds(1000)
    assert box.texts == [str(number) for number in range(1000)]


async def test_a_megabyte_passes(pair, inbox):
    a, b = pair
    box = inbox()
    payload = bytes(range(256)) * 4096
    await b.subscribe("big", box)
    a.publish("big", payload, qos=1)
    await box.holds(1)
    assert box[0].payload == payload


async def test_a_handler_that_raises_harms_nobody(pair, inbox, caplog):
    a, b = pair
    box = inbox()

    def broken(message):
        raise RuntimeError("broken handler")

    await b.subscribe("h", broken)
    await b.subscribe("h", box)
    a.publish("h", b"1", qos=1)
    a.publish("h", b"2", qos=1)
    await box.holds(2)
    assert "broken handler" in caplog.text


async def test_a_handler_may_publish(pair, inbox):
    a, b = pair
    box = inbox()
    await a.subscribe("answer", box)
    await b.subscribe("question", lambda message: b.publish("answer", message.payload, qos=1))
    a.publish("question", b"42", qos=1)
    await box.holds(1)


async def test_each_change_of_state_is_told(world, reaches):
    link = await world.link()
    seen = []
    link.on_state(seen.append)
    assert link.state is LinkState.CLOSED
    async with link:
        await link.connected(10)
        world.cut(link)
        await reaches(link, LinkState.DOWN)
        world.restore(link)
        await link.connected(10)
    assert seen[:3] == [LinkState.CONNECTING, LinkState.UP, LinkState.DOWN]
    assert seen[-2:] == [LinkState.UP, LinkState.CLOSED]


async def test_waiting_for_a_link_that_stays_down_ends(world):
    link = await world.link()
    world.cut(link)
    async with link:
        with pytest.raises(LinkError):
            await link.connected(0.2)


@pytest.mark.parametrize("topic", ["", "a/+", "#", "a\0b", "x" * 65536, "\ud800"])
async def test_a_topic_that_cannot_be_published_to_is_refused(world, topic):
    link = await world.link()
    with pytest.raises(InvalidName):
        link.publish(topic, b"")


@pytest.mark.parametrize("topic_filter", ["", "a#", "a/#/b", "a+/b", "a\0b", "$share/a", "$share/+/a", "$share//a"])
async def test_a_filter_outside_the_grammar_is_refused(world, topic_filter):
    link = await world.link()
    with pytest.raises(InvalidName):
        await link.subscribe(topic_filter, lambda message: None)


async def test_a_link_can_be_opened_again(world, inbox):
    link = await world.link()
    box = inbox()
    for round_number in range(2):
        async with link:
            await link.subscribe(f"again/{round_number}", box)
            await link.connected(10)
            link.publish(f"again/{round_number}", b"1", qos=1)
            await box.holds(round_number + 1)
    with contextlib.suppress(LinkError):
        link.publish("again/0", b"", qos=0)


async def test_a_shared_subscription_gives_each_message_to_one_of_its_members(world, inbox):
    async with await world.link() as a, await world.link() as b, await world.link() as sender:
        one, two, all_of_them = inbox(), inbox(), inbox()
        await a.subscribe("$share/workers/up/+/x", one)
        await b.subscribe("$share/workers/up/+/x", two)
        await b.subscribe("up/#", all_of_them)
        for link in (a, b, sender):
            await link.connected(10)
        for number in range(40):
            sender.publish(f"up/{number}/x", str(number).encode(), qos=1)
        await all_of_them.holds(40)
        async with asyncio.timeout(10):
            while len(one) + len(two) < 40:  # noqa: ASYNC110 two lists of messages announce nothing
                await asyncio.sleep(0.01)
        assert sorted(map(int, [*one.texts, *two.texts])) == list(range(40))
        assert len(one) >= 10
        assert len(two) >= 10
        assert one[0].topic.startswith("up/")


async def test_groups_of_other_names_get_messages_of_their_own(world, inbox):
    async with await world.link() as a, await world.link() as b:
        one, two = inbox(), inbox()
        await a.subscribe("$share/first/t", one)
        await b.subscribe("$share/second/t", two)
        await a.connected(10)
        await b.connected(10)
        for number in range(10):
            a.publish("t", str(number).encode(), qos=1)
        await one.holds(10)
        await two.holds(10)
        assert one.texts == two.texts == [str(number) for number in range(10)]


async def test_a_member_that_leaves_leaves_the_rest_to_the_others(world, inbox, reaches):
    async with await world.link() as a, await world.link() as b, await world.link() as sender:
        one, two = inbox(), inbox()
        await a.subscribe("$share/workers/t", one)
        await b.subscribe("$share/workers/t", two)
        for link in (a, b, sender):
            await link.connected(10)
        world.cut(a)
        await reaches(a, LinkState.DOWN)
        async with asyncio.timeout(10):  # a broker may need a moment to notice
            number = 0
            while "now" not in two.texts or two.texts[-1] != str(number):
                number += 1
                sender.publish("t", b"now", qos=1)
                sender.publish("t", str(number).encode(), qos=1)
                await asyncio.sleep(0.02)
        began = len(two)
        for later in range(10):
            sender.publish("t", f"later {later}".encode(), qos=1)
        await two.holds(began + 10)
        assert two.texts[-10:] == [f"later {later}" for later in range(10)]


async def test_a_shared_subscription_gets_no_retained_message(world, inbox):
    async with await world.link() as a:
        await a.connected(10)
        a.publish("keep", b"v", qos=1, retain=True)
        await in_order(a, inbox)
        shared, own = inbox(), inbox()
        await a.subscribe("$share/workers/keep", shared)
        await a.subscribe("keep", own)
        await own.holds(1)
        await in_order(a, inbox)
        assert len(shared) == 0
