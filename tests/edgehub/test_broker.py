import asyncio
import os
import pwd
import shutil
import signal
import socket
import stat
from pathlib import Path

import pytest

from edgehub.broker import Broker
from edgehub.mosquitto_conf import BrokerPlan, mosquitto_conf
from twin.broker_accounts import (
    Account,
    Rule,
    TopicAccess,
    acl_text,
    full_access,
    new_password,
    password_hash,
    password_text,
)
from twin.clock import SystemClock
from twin.errors import InvalidName, LinkError
from twin.link.mqtt import MqttLink, MqttOptions
from twin.mosquitto import BrokerError, can_bind, choose_port, find_mosquitto, port_choices

USER = pwd.getpwuid(os.geteuid()).pw_name


def link_as(broker, account, client_id=""):
    options = MqttOptions(
        broker.host, broker.port, client_id or account.name, account.name, account.password, retry_base_s=0.02
    )
    return MqttLink(options)


def test_the_config_is_as_agreed():
    plan = BrokerPlan(1883, Path("/state/run/passwords"), Path("/state/run/acl"), "edgetwin")
    settings = [line for line in mosquitto_conf(plan).splitlines() if line and not line.startswith("#")]
    assert settings == [
        "user edgetwin",
        "per_listener_settings true",
        "listener 1883 127.0.0.1",
        "allow_anonymous false",
        "password_file /state/run/passwords",
        "acl_file /state/run/acl",
        "set_tcp_nodelay true",
        "persistence false",
        "max_inflight_messages 1000",
        "max_queued_messages 10000",
        "message_size_limit 16777216",
        "max_packet_size 16842752",
        "max_keepalive 600",
        "log_dest stderr",
        "log_timestamp false",
        "log_type error",
        "log_type warning",
        "log_type notice",
        "connection_messages false",
    ]


def test_the_acl_file_has_a_block_for_each_account():
    accounts = [
        Account("hub", "x", (Rule(TopicAccess.READ_WRITE, "#"),)),
        Account("m-1", "y", (Rule(TopicAccess.READ, "a/+"), Rule(TopicAccess.WRITE, "b/#"))),
    ]
    assert acl_text(accounts) == "user hub\ntopic readwrite #\n\nuser m-1\ntopic read a/+\ntopic write b/#\n"


@pytest.mark.parametrize("name", ["", "a:b", "a\nuser hub", "#x", "a b", "x" * 129])
def test_an_account_name_that_would_break_a_line_is_refused(name):
    for write in (acl_text, password_text):
        with pytest.raises(InvalidName):
            write([Account(name, "x")])


@pytest.mark.parametrize("topic", ["", "a\ntopic readwrite #", " a", "a\0"])
def test_an_acl_topic_that_would_break_a_line_is_refused(topic):
    with pytest.raises(InvalidName):
        acl_text([Account("a", "x", (Rule(TopicAccess.READ, topic),))])


def test_the_hash_has_mosquittos_own_form():
    text = password_text([Account("a", "pw")], lambda size: bytes(size))
    assert text == f"a:{password_hash('pw', bytes(12))}\n"
    assert text.startswith("a:$7$101$AAAAAAAAAAAAAAAA$")
    assert len(text.strip().rsplit("$", 1)[1]) == 88


async def test_the_hash_is_the_one_that_mosquitto_passwd_writes(tmp_path):
    program = shutil.which("mosquitto_passwd")
    if program is None:
        pytest.skip("mosquitto_passwd is not installed")
    file = tmp_path / "passwords"
    child = await asyncio.create_subprocess_exec(program, "-c", "-b", str(file), "a", "päss")
    assert await asyncio.wait_for(child.wait(), 10) == 0
    import base64

    written = file.read_text().strip().removeprefix("a:")
    _, _, iterations, salt, _ = written.split("$")
    assert password_hash("päss", base64.b64decode(salt), int(iterations)) == written


def test_two_passwords_share_nothing():
    assert new_password() != new_password()
    assert "secret" not in repr(Account("a", "secret"))


async def test_files_are_private_and_the_secret_goes_with_the_broker(broker):
    folder = broker.child._plan.acl_file.parent
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {"passwords": 0o600, "acl": 0o600, "mosquitto.conf": 0o600}
    assert broker.hub.password not in (folder / "passwords").read_text()
    await broker.child.__aexit__()
    assert not (folder / "passwords").exists()


async def test_the_acl_lets_an_account_use_its_own_topics_only(broker):
    narrow = broker.account("narrow", ("read", "own/#"), ("write", "out"), ("readwrite", "end"))
    seen, told, end = [], [], asyncio.Event()
    async with link_as(broker, broker.hub) as hub, link_as(broker, narrow) as link:
        await hub.connected(10)
        await link.connected(10)
        await hub.subscribe("#", lambda message: seen.append(message.topic))
        await link.subscribe("#", lambda message: told.append(message.topic))
        await link.subscribe("end", lambda message: end.set())
        for topic in ("own/x", "other/x"):
            hub.publish(topic, b"", qos=1)
        for topic in ("out", "forbidden", "end"):
            link.publish(topic, b"1", qos=1)
        await asyncio.wait_for(end.wait(), 10)
    assert "out" in seen
    assert "forbidden" not in seen
    assert "other/x" not in told


async def test_accounts_change_while_the_broker_runs(broker):
    first = broker.account("first", ("readwrite", "x"))
    async with link_as(broker, first) as link:
        await link.connected(10)
    broker.accounts.clear()
    broker.account("second", ("readwrite", "x"))
    async with link_as(broker, broker.accounts[0]) as link:
        await link.connected(10)
    async with link_as(broker, first) as link:
        with pytest.raises(LinkError, match="Not authorized"):
            await link.connected(0.5)


async def test_a_killed_broker_comes_back_on_its_port(broker):
    async with link_as(broker, broker.hub) as link:
        await link.connected(10)
        down = asyncio.Event()
        link.on_state(lambda state: down.set())
        os.kill(broker.child.pid, signal.SIGKILL)
        await asyncio.wait_for(down.wait(), 10)
        await link.connected(10)


async def test_a_port_that_another_broker_holds_is_not_taken_for_ours(supervisor, tmp_path, broker):
    binary = await find_mosquitto(["mosquitto"])
    other = Broker(
        binary=binary.path,
        folder=tmp_path / "other",
        port=broker.port,
        hub=full_access("hub", new_password()),
        accounts=(),
        user=USER,
        supervisor=supervisor,
        start_timeout_s=0.5,
    )
    with pytest.raises(BrokerError, match="did not answer") as caught:
        await other.__aenter__()
    assert "mosquitto.conf" in caught.value.remedy


async def test_the_wanted_port_is_taken_or_the_next_free_one(free_port):
    wanted = free_port()
    clock = SystemClock()
    assert await choose_port(wanted, clock=clock) == wanted
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", wanted))
        holder.listen()
        assert not can_bind("127.0.0.1", wanted)
        other = await choose_port(wanted, clock=clock)
        assert wanted < other < wanted + 100
    assert await choose_port(0, clock=clock) > 0
    assert list(port_choices(65534)) == [65534, 65535]


async def test_the_port_of_the_last_run_is_waited_for(free_port):
    previous = free_port()
    holder = socket.socket()
    holder.bind(("127.0.0.1", previous))
    holder.listen()
    asyncio.get_running_loop().call_later(0.1, holder.close)
    assert await choose_port(free_port(), clock=SystemClock(), previous=previous) == previous


async def test_a_port_that_stays_taken_is_given_up(free_port):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        previous = holder.getsockname()[1]
        wanted = free_port()
        assert await choose_port(wanted, clock=SystemClock(), previous=previous) != previous


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


async def test_the_first_usable_binary_is_found(tmp_path):
    old = script(tmp_path / "old", "echo mosquitto version 1.6.9")
    mute = script(tmp_path / "mute", "exit 1")
    new = script(tmp_path / "new", "echo mosquitto version 2.0.18; exit 3")
    found = await find_mosquitto(["/nowhere/mosquitto", old, mute, new])
    assert found.path == new
    assert found.version == (2, 0, 18)
    with pytest.raises(BrokerError, match=r"not found.*1\.6\.9 is older.*does not run") as caught:
        await find_mosquitto(["/nowhere/mosquitto", old, mute])
    assert "apt-get install mosquitto" in caught.value.remedy
