"""The whole gateway: how fast it is back after a SIGKILL, and what memory it takes."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import AsyncExitStack
from statistics import median
from typing import Final

from tests.bench import modbus_plant, plant
from tests.bench.figure import Figure, Scale
from tests.bench.open_page import Dashboard
from tests.bench.rig import EDGETWIN, Hub, api, child, free_port, hub, hub_environment, modbus_server, pss_mb
from twin.wire.api import DocumentSource

_DEVICES: Final = 100
_KILLS: Final = 5
_WAIT_S: Final = 20.0
_POINTS: Final = 10
_SETTLE_S: Final = 15.0
_LOOK_S: Final = 8.0
_LONG_SETTLE_S: Final = 60.0


async def restart(scale: Scale) -> list[Figure]:
    """From the SIGKILL of the hub to the first accepted write of a new one."""
    state = scale.folder / "hub"
    took_s: list[float] = []
    env = hub_environment(state, port=free_port())
    async with AsyncExitStack() as children:
        process = children.enter_context(child([*EDGETWIN, "run"], env=env, log=state.with_suffix(".log")))
        async with api(state, process) as client:
            text = plant.documents(_DEVICES)
            await client.apply([DocumentSource(name="plant.yaml", text=text)])
        for turn in range(_KILLS + 1):
            began_s = time.perf_counter()
            os.kill(process.pid, signal.SIGKILL)
            process.process.wait(_WAIT_S)
            process = children.enter_context(child([*EDGETWIN, "run"], env=env, log=state.with_suffix(".log")))
            async with api(state, process) as client:
                await client.set(_twin(), {"count": turn})
                took_s.append(time.perf_counter() - began_s)
                body = await client.get(_twin())
            assert body.desired["count"].value == turn
    says = (
        f"SIGKILL of the hub -> new hub and broker started at once -> first accepted `set`, {_DEVICES} devices,"
        f" median of {_KILLS}"
    )
    return [Figure("gateway.restart", median(took_s[1:]), "s", says, reach=2, at_most=True)]


async def memory(scale: Scale) -> list[Figure]:
    """Memory of hub and mapper host under a steady small load."""
    settle_s = _LONG_SETTLE_S if scale.long else _SETTLE_S
    async with (
        modbus_server(scale.folder, "--counting") as port,
        hub(scale.folder / "hub") as running,
    ):
        text = modbus_plant.documents(port, devices=_DEVICES, points=_POINTS, cycle="1s")
        await running.client.apply([DocumentSource(name="plant.yaml", text=text)])
        last = modbus_plant.twin(_DEVICES - 1)
        async with running.client.watch(last) as events, asyncio.timeout(_WAIT_S):
            async for event in events:
                if event.body is not None and event.body.reported:
                    break
        before = (await running.client.status()).updates
        await asyncio.sleep(settle_s)
        status = await running.client.status()
        rate = (status.updates - before) / settle_s
        mapper = next(one.pid for one in status.children if one.name == "mapper")
        hub_mb, mapper_mb = pss_mb(running.pid), pss_mb(mapper)
        looked_at_mb = await _looked_at(running, mapper)
        others = [one.name for one in status.children if one.name not in ("mapper", "mosquitto")]
    assert not others, f"processes that are not counted: {others}"
    wanted = _DEVICES * (_POINTS - 1)
    assert rate > 0.9 * wanted, f"only {rate:.0f} of {wanted} updates/s flowed"
    says = (
        f"sum of PSS of hub and mapper host, {_DEVICES} Modbus devices x {_POINTS} points at 1 Hz, of which"
        f" {_POINTS - 1} change, after {settle_s:g} s; broker not counted."
        " PSS shares library pages with the bench's own Python: on a gateway with nothing else it is some MB more"
    )
    looked_at = "the same with a page of the dashboard open, and the process that serves it"
    return [
        Figure("gateway.memory.dashboard", looked_at_mb, "MB", looked_at, reach=110, at_most=True),
        Figure("gateway.memory.hub", hub_mb, "MB", "PSS of the hub, same run", reach=80, at_most=True),
        Figure("gateway.memory.mapper", mapper_mb, "MB", "PSS of the mapper host, same run", reach=80, at_most=True),
        Figure("gateway.memory", hub_mb + mapper_mb, "MB", says, reach=80, at_most=True),
    ]


async def _looked_at(running: Hub, mapper: int) -> float:
    """Memory of all three while somebody looks."""
    dashboard = await Dashboard.of(running)
    await dashboard.login()
    async with dashboard.read() as read:
        await asyncio.sleep(_LOOK_S)
        pid = next(one.pid for one in (await running.client.status()).children if one.name == "dashboard")
        found = sum(map(pss_mb, (running.pid, mapper, pid)))
    assert read.events > _LOOK_S / 2, f"the page was told {read.events} times only"
    return found


def _twin() -> str:
    return f"device/{plant.NAMESPACE}/{plant.name(0)}"
