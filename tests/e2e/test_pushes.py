"""Pushes from the outside: documents, the commands, and a gateway that is killed in the midst of it."""

import asyncio
import json

from tests.e2e.rig import DOCUMENTS
from tests.e2e.test_gateway import twin_when, value_is
from tests.edgehub.push.servers import moody_server
from tests.edgehub.push.site import until
from twin.sqlite_progress import read_progress
from twin.wire.api import DocumentSource

PUSH = """
---
apiVersion: edgetwin.dev/v1
kind: Push
metadata: {name: collector}
spec:
  type: http
  config: {url: 'URL', token: {env: PUSH_TOKEN}}
  select: {matchLabels: {area: hall-1}, properties: [flow]}
  batch: {wait: 50ms}
"""
TURNS = 4


async def test_readings_reach_the_collector_through_kills_and_the_commands_tell_of_it(stopped_hub, device):
    hub = stopped_hub
    hub.environment["PUSH_TOKEN"] = "not-to-be-seen-17"
    device.set_input(0, 17)
    async with moody_server() as moody:
        hub.start()
        await hub.ready()
        text = DOCUMENTS.replace("${PORT}", str(device.port)) + PUSH.replace("URL", moody.url)
        async with hub.client() as client:
            await client.apply([DocumentSource(name="bench.yaml", text=text)])
            await twin_when(client, "v1", value_is("flow", 17))
        for value in range(18, 18 + TURNS):
            device.set_input(0, value)
            async with hub.client() as client:
                await twin_when(client, "v1", value_is("flow", value))
            if value == 18 + TURNS // 2:
                hub.kill()
                hub.start()
                await hub.ready()
        seen = list(range(17, 18 + TURNS))
        await until(lambda: set(seen) <= {one["value"] for one in moody.readings()})
        assert {one.headers["authorization"] for one in moody.requests} == {"Bearer not-to-be-seen-17"}
        assert {one["property"] for one in moody.readings()} == {"flow"}
        good = [one["value"] for one in moody.readings() if one["quality"] == "good"]
        assert list(dict.fromkeys(good)) == seen

        def run(*arguments):
            return asyncio.to_thread(hub.run, *arguments)  # the server must answer meanwhile

        (shown,) = json.loads((await run("pushes", "--json")).stdout)["pushes"]
        assert (shown["name"], shown["type"], shown["target"]) == ("default/collector", "http", moody.url)
        tried = await run("pushes", "test", "collector")
        assert (tried.returncode, tried.stdout.startswith("default/collector: delivered in")) == (0, True)
        assert moody.readings()[-1]["device"] == "edgetwin-test"
        moody.moods.append((400, {}, b"no thanks"))
        tried = await run("pushes", "test", "collector")
        assert (tried.returncode, "HTTP 400: no thanks" in tried.stdout) == (1, True)
        assert (await run("pushes", "test", "nobody")).returncode == 4
        moody.refuses = lambda request: True
        device.set_input(0, 99)
        await until(lambda: any(one.aside for one in read_progress(hub.folder.pushes).values()))
        (aside,) = json.loads((await run("pushes", "aside", "collector", "--json")).stdout)["aside"]
        assert (aside["reading"]["value"], aside["why"]) == (99, "HTTP 422: no such unit")
        for path in (hub.log, hub.folder.registry, hub.folder.health):
            assert "not-to-be-seen" not in path.read_text()
        assert hub.stop() == 0
