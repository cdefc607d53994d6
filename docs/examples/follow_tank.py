"""A program of yours: set a desired value, then follow the twin until the device has it.

follow_tank.py HOST PORT ACCOUNT PASSWORD      `edgetwin account create NAME` gives the last two
"""

from __future__ import annotations

import asyncio
import random
import sys

from twin.client import TwinClient
from twin.link.mqtt import MqttLink
from twin.link.options import MqttOptions


async def main(host: str, port: str, account: str, password: str) -> None:
    """Follow the tank of the demo plant."""
    options = MqttOptions(host, int(port), "follow-tank", account, password)
    async with MqttLink(options, rng=random.Random()) as link:
        await link.connected(timeout_s=5)
        async with (
            TwinClient(link, account=account, client="follow-tank") as client,
            client.watch("plant/tank") as events,
        ):
            version = await client.set("plant/tank", {"valve": 35})
            async for event in events:
                body = event.body
                if body is not None and body.version >= version and "valve" not in body.delta:
                    print("the valve is at", body.reported["valve"].value)  # noqa: T201  what the reader came for
                    return


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
