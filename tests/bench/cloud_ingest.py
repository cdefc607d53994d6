"""What a worker takes in from gateways, on a PostgreSQL that syncs every commit; and whether two take in more."""

from __future__ import annotations

import asyncio
import contextlib
from statistics import median
from typing import Final

from cloudsync.store.opening import open_store
from tests.bench.cloud_worker import PROPERTIES, ROWS, TWINS, key_of
from tests.bench.figure import Figure, Scale
from tests.bench.quota import held_to
from tests.bench.rig import child, module
from tests.cloudsync.postgres_server import PostgresServer
from twin.clock import SystemClock
from twin.model import PropertySpec, TwinSpec, ValueType

_GATEWAYS: Final = 8
"""Of each worker."""
_FRAMES: Final = 60
"""Made for each gateway; a run that takes them all ends early."""
_SECONDS: Final = 4.0
_ROUNDS: Final = 3
_CORES: Final = 0.3


async def ingest(scale: Scale) -> list[Figure]:
    """One worker as fast as it goes; then one and two, each held to a part of a core, in turn."""
    scale.folder.chmod(0o755)  # PostgreSQL is another user
    with PostgresServer(durable=True, folder=scale.folder) as server:
        await _prepare(server.url())
        rates = [await _rate(server.url(), [0]) for _ in range(_ROUNDS)]
        ratios, singles = [], []
        for _ in range(_ROUNDS):
            one = await _rate(server.url(), [0], cores=_CORES)
            two = await _rate(server.url(), [0, _GATEWAYS], cores=_CORES)
            singles.append(one)
            ratios.append(two / one)
    return [
        Figure(
            "cloud.ingest.held",
            median(singles),
            "changes/s",
            f"the same with the worker held to {_CORES:g} of a core by the kernel",
        ),
        Figure(
            "cloud.ingest.scale",
            median(ratios),
            "x",
            f"two workers against one in the same round, each held to {_CORES:g} of a core, median of {_ROUNDS} rounds",
            reach=1.6,
        ),
        Figure(
            "cloud.ingest",
            median(rates),
            "changes/s",
            f"leaf changes acknowledged by one worker: frames of {ROWS} decoded, joined and committed for"
            f" {_GATEWAYS} gateways x {TWINS} twins on PostgreSQL beside it, fsync and synchronous_commit on",
            reach=20_000,
        ),
    ]


async def _prepare(url: str) -> None:
    """Make the store and the twins of all gateways."""
    store = open_store(url, SystemClock())
    await store.open()
    await store.begin_run("bench")
    properties = {f"p{n}": PropertySpec(f"p{n}", ValueType.DOUBLE) for n in range(PROPERTIES)}
    for gateway in range(2 * _GATEWAYS):
        async with store.transaction(f"gw{gateway}") as tx:
            for twin in range(TWINS):
                key = key_of(gateway, twin)
                labels = (("area", f"hall-{twin % 10}"),)
                spec = TwinSpec(key, f"u-{key.name}", "bench", f"gw{gateway}", labels=labels, properties=properties)
                await tx.define(spec)
    await store.close()


async def _rate(url: str, firsts: list[int], *, cores: float | None = None) -> float:
    """Changes a second of a worker for each first gateway, all at once."""
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(
                child(module("tests.bench.cloud_worker", url, *map(str, (first, _GATEWAYS, _FRAMES, _SECONDS))))
            )
            for first in firsts
        ]
        for worker in workers:
            assert await worker.line(60) == "ready"
        if cores is not None:
            stack.enter_context(held_to(cores, [worker.pid for worker in workers]))
        for worker in workers:
            worker.tell("go")
        found = await asyncio.gather(*(worker.line(60) for worker in workers))
    return sum(int(acked) / float(took) for acked, took in (one.split() for one in found))
