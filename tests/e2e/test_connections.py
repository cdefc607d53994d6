"""A connection is a twin like any other: status, get and query tell how it is, also when its process is gone."""

import asyncio
import os
import signal

BUS = "mapper/default/bench"


async def leaf(client, name: str, wanted, timeout_s: float = 20.0):
    """The property of the connection's twin as soon as it is as wanted."""
    async with asyncio.timeout(timeout_s), client.watch(kind="mapper") as events:
        async for event in events:
            found = event.body.reported.get(name) if event.twin == BUS and event.body is not None else None
            if found is not None and wanted(found):
                return found
    raise AssertionError("the watch ended")


async def test_a_connection_is_seen_by_status_get_and_query_and_is_bad_without_its_process(hub, plant) -> None:
    async with hub.client() as client:
        await leaf(client, "state", lambda one: one.value == "connected")
        await leaf(client, "requests", lambda one: one.value > 0)
        (shown,) = (await client.status()).connections
        assert (shown.name, shown.mapper, shown.state) == ("default/bench", "modbus", "connected")
        assert "connection default/bench connected, modbus" in hub.run("status").stdout
        assert "mapper/default/bench" in hub.run("get", "--kind", "mapper").stdout
        sql = "SELECT twin, reported.state FROM twins WHERE kind = 'mapper' AND reported.state = 'connected'"
        assert "mapper/default/bench" in hub.run("query", sql).stdout
        plant.server.stop()
        await leaf(client, "state", lambda one: one.value == "lost")
        (child,) = [child for child in (await client.status()).children if child.name == "mapper"]
        os.kill(child.pid, signal.SIGKILL)
        await leaf(client, "state", lambda one: one.reason == "mapper_down")
        await leaf(client, "state", lambda one: one.quality == "good" and one.value == "lost")
