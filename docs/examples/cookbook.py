"""Recipes of docs/cookbook.md in Python.

cookbook.py CREDENTIALS      the file of `edgetwin cloud user add NAME --role operator --out CREDENTIALS`
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from cloudsync.ask.session import cloud_client
from twin.client import TwinClient


async def level_of(client: TwinClient, twin: str) -> object:
    """One value of one twin."""
    return (await client.get(twin)).reported["level"].value


async def warm_tanks(client: TwinClient, celsius: float) -> list[list[object]]:
    """Rows of a query; values go into its text as numbers, never as what somebody typed."""
    where = f"model = 'tank' AND reported.temperature > {celsius:g}"
    return (await client.query(f"SELECT name, reported.temperature FROM twins WHERE {where}")).rows


async def first_warm(client: TwinClient) -> object:
    """Wait until some tank is warmer than 10 °C."""
    where = "model = 'tank' AND reported.temperature > 10"
    async with client.watch(query=f"SELECT name, reported.temperature FROM twins WHERE {where}") as events:
        async for event in events:
            if event.row is not None:
                return event.row["name"]
    return None


async def set_valve(client: TwinClient, percent: float) -> int:
    """Raises InvalidValue with the rule if the model does not allow it."""
    return await client.set("plant/tank", {"valve": percent})


async def followed(client: TwinClient, version: int) -> None:
    """Wait until the device has what was set with this version."""
    async with client.watch("plant/tank") as events:
        async for event in events:
            if event.body is not None and event.body.version >= version and "valve" not in event.body.delta:
                return


async def main(credentials: str) -> None:
    """Try them all on the plant of the demo."""
    async with cloud_client(Path(credentials)) as client:
        level = await level_of(client, "plant/tank")
        assert isinstance(level, float)
        assert [name for name, _ in await warm_tanks(client, 10)] == ["tank"]
        print("warm:", await first_warm(client))  # noqa: T201  what the reader came for
        await followed(client, await set_valve(client, 35))
        print("the valve is at", (await client.get("plant/tank")).reported["valve"].value)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
