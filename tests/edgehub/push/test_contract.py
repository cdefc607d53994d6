"""The contract of targets, for each of ours and for the example of the docs."""

import asyncio
import importlib.util
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from edgehub.push import http, influxdb2, mqtt, otel
from edgehub.push.contract import PushContract, Served
from tests.edgehub.push.collectors import Bucket, Collected, answering
from tests.edgehub.push.servers import Moody, moody_server
from tests.edgehub.push.test_mqtt import open_broker
from twin.link.mqtt import MqttLink
from twin.link.options import MqttOptions

ROOT = Path(__file__).resolve().parents[3]


class Coming:
    """A server that goes and comes back on its port."""

    def __init__(self, served) -> None:
        self._served = served
        self._stack = AsyncExitStack()
        self.moody: Moody | None = None
        self.port = 0
        self.taken: list = []

    async def come(self) -> None:
        self.moody = await self._stack.enter_async_context(self._served(self.port))
        self.moody.taken = self.taken
        self.port = self.moody.port

    async def go(self) -> None:
        await self._stack.aclose()
        self._stack = AsyncExitStack()


@asynccontextmanager
async def coming(served) -> AsyncIterator[Coming]:
    made = Coming(served)
    await made.come()
    try:
        yield made
    finally:
        await made.go()


class TestHttp(PushContract):
    @asynccontextmanager
    async def served(self) -> AsyncIterator[Served]:
        async with coming(moody_server) as server:

            def arrived():
                found = [one for request in server.taken for one in request.readings()]
                return [(one["device"], one["property"], one["value"]) for one in found]

            yield Served(http.PUSH, {"url": server.moody.url}, arrived, server.go, server.come)


class TestInfluxdb2(PushContract):
    @asynccontextmanager
    async def served(self) -> AsyncIterator[Served]:
        bucket = Bucket()
        async with coming(lambda port: answering(bucket, port)) as server:

            def arrived():
                points = [one for one in bucket.points if "level" in one["fields"]]
                return [(one["tags"]["device"], one["tags"]["property"], one["fields"]["level"]) for one in points]

            url = f"http://127.0.0.1:{server.port}"
            config = {"url": url, "org": "plant", "bucket": "readings", "token": {"file": str(self.token)}}
            yield Served(influxdb2.PUSH, config, arrived, server.go, server.come)

    @pytest.fixture(autouse=True)
    def _token(self, tmp_path):
        self.token = tmp_path / "token"
        self.token.write_text("not-a-secret\n")


class TestOtel(PushContract):
    @asynccontextmanager
    async def served(self) -> AsyncIterator[Served]:
        collected = Collected()
        async with coming(lambda port: answering(collected, port)) as server:
            url = f"http://127.0.0.1:{server.port}"
            yield Served(otel.PUSH, {"url": url}, collected.points, server.go, server.come)


class TestMqtt(PushContract):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path, free_port):
        self.folder, self.port = tmp_path, free_port()

    @asynccontextmanager
    async def served(self) -> AsyncIterator[Served]:
        found: dict[str, tuple] = {}
        stack = AsyncExitStack()

        def take(message):
            body = json.loads(message.payload)
            found[body["id"]] = (body["device"], body["property"], body["value"])

        async def come():
            await stack.enter_async_context(open_broker(self.port, self.folder))
            link = await stack.enter_async_context(MqttLink(MqttOptions("127.0.0.1", self.port, "listener")))
            await link.subscribe("edgetwin/#", take)
            await link.connected(10)

        await come()
        try:
            config = {"url": f"mqtt://127.0.0.1:{self.port}"}
            yield Served(mqtt.PUSH, config, lambda: list(found.values()), stack.aclose, come)
        finally:
            await stack.aclose()


class TestExample(PushContract):
    """The file of docs/examples: its server is a folder, which goes and comes."""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path / "there"
        self.folder.mkdir()

    @asynccontextmanager
    async def served(self) -> AsyncIterator[Served]:
        spec = importlib.util.spec_from_file_location("file_push", ROOT / "docs/examples/file_push.py")
        module = importlib.util.module_from_spec(spec)
        module.__dict__["__name__"] = "file_push"
        import sys

        sys.modules["file_push"] = module
        spec.loader.exec_module(module)
        path = self.folder / "readings.txt"
        away = self.folder.with_name("away")

        def arrived():
            lines = path.read_text().splitlines() if path.exists() else []
            parts = [line.split(" ", 3) for line in lines]
            return [(device, name, json.loads(value)) for _, device, name, value in parts]

        async def go():
            await asyncio.to_thread(self.folder.rename, away)

        async def come():
            await asyncio.to_thread(away.rename, self.folder)

        yield Served(module.PUSH, {"path": str(path)}, arrived, go, come)
