"""What only a link over a network meets: a dead broker, refused logins, half-open lines, foreign bytes."""

import asyncio
import logging
import os
import signal

import pytest

from twin.errors import InvalidName, LinkError, TooLarge
from twin.link import LinkState
from twin.link.mqtt import MqttLink, MqttOptions, options_from_url


def direct(broker, client_id, account=None, **options) -> MqttLink:
    account = account or broker.hub
    return MqttLink(
        MqttOptions(
            broker.host,
            broker.port,
            client_id,
            account.name,
            account.password,
            retry_base_s=0.02,
            retry_cap_s=0.2,
            **options,
        )
    )


async def test_the_link_heals_when_the_broker_is_killed_and_started_again(broker, inbox, reaches, caplog):
    caplog.set_level(logging.INFO, "twin.link")
    async with direct(broker, "a") as a, direct(broker, "b") as b:
        box = inbox()
        await b.subscribe("x", box)
        await a.connected(10)
        await b.connected(10)
        os.kill(broker.child.pid, signal.SIGKILL)
        await reaches(a, LinkState.DOWN)
        await reaches(b, LinkState.DOWN)
        await b.connected(10)
        a.publish("x", b"1", qos=1)
        await box.holds(1)
    assert "link a to" in caplog.text
    assert "is up again" in caplog.text
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING and "link a" in record.message]
    assert 1 <= len(warnings) <= 2  # lost, then refused


async def test_a_wrong_password_is_told_with_the_remedy_and_retried(broker, caplog):
    link = MqttLink(MqttOptions(broker.host, broker.port, "c", "hub", "wrong", retry_base_s=0.01, retry_cap_s=0.02))
    async with link:
        with pytest.raises(LinkError, match="Not authorized") as caught:
            await link.connected(0.5)
    assert "password" in caught.value.remedy
    assert "wrong" not in caplog.text
    assert "wrong" not in repr(link._options)
    assert sum("refuses the login" in record.message for record in caplog.records if record.levelname == "WARNING") == 1


async def test_a_half_open_line_is_noticed_by_the_keepalive(mqtt_world, reaches):
    async with await mqtt_world.link(keepalive_s=1) as link:
        await link.connected(10)
        mqtt_world.proxy(link).swallow()
        await reaches(link, LinkState.DOWN)
        mqtt_world.restore(link)
        await link.connected(10)


async def test_a_broker_that_never_answers_the_connect_is_left(mqtt_world):
    link = await mqtt_world.link(connect_timeout_s=0.2)
    mqtt_world.proxy(link).swallow()
    async with link:
        with pytest.raises(LinkError, match="no answer to CONNECT"):
            await link.connected(0.5)
        mqtt_world.restore(link)
        await link.connected(10)


async def test_a_message_the_acl_denies_is_told_once_a_topic(broker, inbox, caplog):
    account = broker.account("reader", ("read", "r/#"), ("readwrite", "end"))
    box = inbox()
    async with direct(broker, "reader", account) as link:
        await link.connected(10)
        await link.subscribe("end", box)
        link.publish("r/x", b"1", qos=1)
        link.publish("r/x", b"2", qos=1)
        link.publish("end", b"", qos=1)
        await box.holds(1)
    told = [record.message for record in caplog.records if "refuses messages" in record.message]
    assert len(told) == 1
    assert "r/x" in told[0]
    assert "Not authorized" in told[0]


async def test_a_topic_that_is_not_utf_8_is_dropped_and_counted(inbox):
    """A broker of one answer each: CONNACK, SUBACK, then a PUBLISH with a bad topic and one with a good one."""

    async def serve(reader, writer):
        async def packet():
            kind = (await reader.readexactly(1))[0] & 0xF0
            size = (await reader.readexactly(1))[0]
            return kind, await reader.readexactly(size)

        await packet()
        writer.write(b"\x20\x03\x00\x00\x00")
        _, body = await packet()
        writer.write(b"\x90\x04" + body[:2] + b"\x00\x01")
        writer.write(b"\x30\x06\x00\x02\xff\xfe\x00x" + b"\x30\x05\x00\x01t\x00y")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        box = inbox()
        async with MqttLink(MqttOptions("127.0.0.1", port, "d")) as link:
            await link.subscribe("#", box)
            await box.holds(1)
            assert box.texts == ["y"]
            assert link.dropped == 1


async def test_an_address_without_a_broker_gives_a_clear_error(free_port):
    async with MqttLink(MqttOptions("127.0.0.1", free_port(), "e")) as link:
        with pytest.raises(LinkError, match="refused") as caught:
            await link.connected(0.3)
    assert "Check that the broker runs" in caught.value.remedy


async def test_a_message_over_the_cap_is_refused_before_it_is_sent(free_port):
    link = MqttLink(MqttOptions("127.0.0.1", free_port(), "f", max_packet_bytes=100))
    with pytest.raises(TooLarge):
        link.publish("t", bytes(101), qos=1)


def test_options_come_from_a_url():
    options = options_from_url("mqtt://u%40x:p%3A@broker:1884", "me")
    assert options == MqttOptions("broker", 1884, "me", "u@x", "p:")
    assert options_from_url("mqtts://broker", "me").port == 8883
    for bad in ("http://x", "mqtt://", "mqtt://x:99999", "mqtt://h/path"):
        with pytest.raises(InvalidName):
            options_from_url(bad, "me")
    with pytest.raises(InvalidName) as caught:
        options_from_url("http://u:secret@x", "me")
    assert "secret" not in str(caught.value)
