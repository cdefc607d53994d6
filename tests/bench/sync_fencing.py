"""Two gateways with one id, over a real Mosquitto and real workers: how long until exactly one of them writes."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Final

from tests.bench.figure import Figure, Scale
from tests.bench.rig import broker
from tests.bench.sync_herd import RETRY_BASE_S, RETRY_CAP_S
from tests.cloudsync.sync.real import RealWorld
from tests.sim.gateway import Gateway
from tests.sim.plant import device, model, request

NAME: Final = "gw"
WATCHED_S: Final = 25.0
SETTLED_S: Final = 10.0


class _Twice(RealWorld):
    def options(self, client_id, **more):
        return super().options(client_id, **{"retry_base_s": RETRY_BASE_S, "retry_cap_s": RETRY_CAP_S, **more})


async def fencing(scale: Scale) -> list[Figure]:
    """When the writer changed last after a second gateway came, and how many wrote after ten seconds."""
    async with (
        broker(scale.folder) as on,
        _Twice("127.0.0.1", on.port, on.account.name, on.account.password, scale.folder) as world,
    ):
        await world.serve()
        await world.start_worker()
        first = await world.add_gateway(NAME)
        await world.agree()
        second = Gateway(world, NAME, scale.folder / "second")
        (scale.folder / "second").mkdir()
        writers = [
            asyncio.create_task(_write(first, world, "first")),
            asyncio.create_task(_write(second, world, "second")),
        ]
        await second.start()
        await second.apply(request(model(NAME), device(NAME, 1)))
        seen = await _watch(world)
        for task in writers:
            task.cancel()
        await asyncio.gather(*writers, return_exceptions=True)
        await second.stop()
    swaps = [at for (_, before), (at, now) in pairwise(seen) if before != now]
    settled = {who for at, who in seen if at > SETTLED_S}
    assert settled, "nobody wrote any more"
    says = f"two gateways with one id and stores of their own, both writing for {WATCHED_S:g} s; a real Mosquitto"
    return [
        Figure(
            "sync.fencing.writers", len(settled), "count", f"who wrote after {SETTLED_S:g} s: {says}", 1, at_most=True
        ),
        Figure(
            "sync.fencing", max(swaps, default=0.0), "s", f"last change of the writer: {says}", SETTLED_S, at_most=True
        ),
    ]


async def _write(gateway: Gateway, world: RealWorld, who: str) -> None:
    number = 0
    while True:
        number += 1
        await gateway.edit(_report(world, who, number))
        await asyncio.sleep(0.1)


def _report(world: RealWorld, who: str, number: int):
    return lambda engine: engine.report(world.key(NAME), {"r": [who, number]}, {}, at=number, by=who).commit


async def _watch(world: RealWorld) -> list[tuple[float, str]]:
    """Who wrote each change that the cloud got, and when."""
    loop = asyncio.get_running_loop()
    began_s, last, seen = loop.time(), None, []
    while (now_s := loop.time() - began_s) < WATCHED_S:
        slot = (await world.store.twin(world.key(NAME))).reported.get("r")
        if slot is not None and slot.value != last:
            last = slot.value
            seen.append((now_s, slot.by))
        await asyncio.sleep(0.05)
    return seen
