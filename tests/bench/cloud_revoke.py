"""How long a gateway that is shut out still has its live session."""

from __future__ import annotations

import asyncio
import time
from statistics import median
from typing import Final

from tests.bench.figure import Figure, Scale
from tests.cloudsync.mqtt5 import Client, tls
from tests.cloudsync.process import CloudProcess
from twin.wire.enrolment import JoinToken

TRIES: Final = 15


async def revocation(scale: Scale) -> list[Figure]:
    """From the start of the command to the end of the live session; the worst of some tries."""
    from edgehub.cloud_keys import CloudKeys
    from edgehub.enrolment import join

    cloud = CloudProcess(scale.folder / "cloud")
    cloud.environment["EDGETWIN_CLOUD_WORKERS"] = "1"
    await asyncio.to_thread(cloud.run, "cloud", "init")
    await asyncio.to_thread(cloud.start)
    took_s = []
    try:
        for number in range(TRIES):
            name = f"gw-{number}"
            token = (await asyncio.to_thread(cloud.run, "cloud", "token", "create", "--gateway", name)).stdout.strip()
            keys = CloudKeys(scale.folder / name)
            await join(JoinToken.read(token), name, keys)
            context = tls(cloud.ca, keys.pair.read_text())
            async with await Client.connect(cloud.gateways_port, name, context=context) as client:
                assert await client.publish(f"et/1/sync/{name}/up") < 0x80
                await asyncio.sleep(number / TRIES)  # the cloud looks in turns; any moment of one is as good
                began_s = time.monotonic()
                command = asyncio.create_task(asyncio.to_thread(cloud.run, "cloud", "gateway", "revoke", name))
                await client.until_ended(30.0)
                took_s.append(time.monotonic() - began_s)
                await command
    finally:
        await asyncio.to_thread(cloud.stop)
    says = f"`edgetwin cloud gateway revoke` typed until the live TLS session on a real Mosquitto is cut, of {TRIES}"
    return [
        Figure("cloud.revoke.median", median(took_s), "s", f"median: {says}", reach=5, at_most=True),
        Figure("cloud.revoke", max(took_s), "s", f"worst: {says}", reach=5, at_most=True),
    ]
