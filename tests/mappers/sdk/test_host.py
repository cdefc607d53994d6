"""The host as a real child against a real broker, with a plugin installed for it alone."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mappers.sdk.config import HostSettings
from twin.link import Message
from twin.link.mqtt import MqttLink, MqttOptions
from twin.model import TwinKey
from twin.wire import codec, topics
from twin.wire.messages import Ack, Delta, DesiredValue, MapperState, Report

ACCOUNT = "mappers"
TANK = TwinKey.parse("tank")

PLUGIN = """
from mappers.sdk import ConnectionConfig, DeviceConfig, Mapper, PointConfig, Readings

class Driver:
    def __init__(self, config):
        self.held = {}
    async def connect(self): ...
    async def close(self): ...
    def plan(self, device, points):
        return [point.name for point in points]
    async def read(self, plan):
        return Readings({name: self.held.get(name, 1) for name in plan})
    async def write(self, device, point, value):
        self.held[point.name] = value

MAPPER = Mapper("tiny", ConnectionConfig, DeviceConfig, PointConfig, Driver)
"""

SETTINGS = {
    "connections": [
        {
            "name": "default/bus",
            "mapper": "tiny",
            "config": {},
            "devices": [
                {
                    "twin": "device/default/tank",
                    "address": {},
                    "points": [{"property": "level", "type": "INT", "access": "ReadWrite", "visitor": {}}],
                }
            ],
        }
    ]
}


class Hub:
    """What the child tells the broker."""

    def __init__(self, link: MqttLink) -> None:
        self.link = link
        self.values: dict[str, object] = {}
        self.online: bool | None = None
        self.changed = asyncio.Event()

    async def open(self) -> None:
        await self.link.subscribe(topics.ALL_REPORTS, self.on_report)
        await self.link.subscribe(topics.mapper_state(ACCOUNT), self.on_state)

    def on_report(self, message: Message) -> None:
        report = codec.decode(Report, message.payload, what="report")
        self.values |= report.values
        self.link.publish(topics.ack(ACCOUNT), codec.encode(Ack(stored=[report.id])))
        self.changed.set()

    def on_state(self, message: Message) -> None:
        self.online = codec.decode(MapperState, message.payload, what="state").online
        self.changed.set()

    async def until(self, condition) -> None:
        async with asyncio.timeout(15):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """A folder with an installed distribution that offers the mapper ``tiny``."""
    (tmp_path / "tiny.py").write_text(PLUGIN)
    dist = tmp_path / "tiny-1.0.dist-info"
    dist.mkdir()
    (dist / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
    (dist / "entry_points.txt").write_text("[edgetwin.mappers]\ntiny = tiny:MAPPER\n")
    return tmp_path


@pytest.fixture
async def hub(broker) -> AsyncIterator[Hub]:
    options = MqttOptions(broker.host, broker.port, "hub", broker.hub.name, broker.hub.password)
    async with MqttLink(options) as link:
        made = Hub(link)
        await made.open()
        await link.connected(10)
        yield made


@pytest.fixture
async def child(broker, hub, plugins) -> AsyncIterator[asyncio.subprocess.Process]:
    account = broker.account(ACCOUNT, ("readwrite", "et/1/#"))
    paths = [str(plugins), str(Path(__file__).parents[3])]
    line = {"host": broker.host, "port": broker.port, "account": account.name, "password": account.password}
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mappers.sdk.host"),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    started.stdin.write(json.dumps({**line, "client_id": "mappers-1", "mapper": "tiny"}).encode() + b"\n")
    yield started
    if started.returncode is None:
        started.kill()
    await started.communicate()


async def test_a_value_goes_up_and_a_desired_one_down_and_the_end_is_clean(hub, child) -> None:
    settings = HostSettings.model_validate(SETTINGS)
    hub.link.publish(topics.mapper_config(ACCOUNT), codec.encode(settings), qos=1, retain=True)
    await hub.until(lambda: hub.online is True)
    await hub.until(lambda: hub.values.get("level") == 1)
    delta = Delta(version=1, desired={"level": DesiredValue(value=42, tick=1)})
    hub.link.publish(topics.delta(TANK), codec.encode(delta), qos=1, retain=True)
    await hub.until(lambda: hub.values.get("level") == 42)
    began_s = time.monotonic()
    child.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(child.wait(), 5) == 0
    assert time.monotonic() - began_s < 2
    await hub.until(lambda: hub.online is False)


async def test_a_killed_host_is_offline_by_its_will(hub, child) -> None:
    await hub.until(lambda: hub.online is True)
    child.kill()
    await child.wait()
    await hub.until(lambda: hub.online is False)


async def test_no_secret_is_in_arguments_or_environment(hub, child, broker) -> None:
    await hub.until(lambda: hub.online is True)
    proc = Path(f"/proc/{child.pid}")
    password = broker.accounts[0].password.encode()
    assert password not in proc.joinpath("cmdline").read_bytes()
    assert password not in proc.joinpath("environ").read_bytes()


async def test_a_host_dies_with_its_parent(hub, child, broker, plugins) -> None:
    """A shell starts the host and is killed; the kernel ends the host, whose will or goodbye says so."""
    await hub.until(lambda: hub.online is True)
    child.kill()
    await hub.until(lambda: hub.online is False)
    account = broker.accounts[0]
    line = {"host": broker.host, "port": broker.port, "account": account.name, "password": account.password}
    code = (
        "import subprocess, sys, time\n"
        "host = subprocess.Popen([sys.executable, '-m', 'mappers.sdk.host'], stdin=subprocess.PIPE)\n"
        "host.stdin.write(sys.stdin.buffer.readline()); host.stdin.flush(); time.sleep(60)\n"
    )
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code),
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    parent.stdin.write(json.dumps({**line, "client_id": "mappers-2"}).encode() + b"\n")
    await hub.until(lambda: hub.online is True)
    parent.kill()
    await parent.communicate()
    await hub.until(lambda: hub.online is False)


async def test_a_wrong_line_says_what_is_wanted(plugins) -> None:
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mappers.sdk.host"),
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, text = await started.communicate(b'{"host": "127.0.0.1", "port": 70000}\n')
    assert started.returncode == 1
    assert b"port: Input should be less than 65536" in text
    assert b"Traceback" not in text
