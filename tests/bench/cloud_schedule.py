"""One of 1 000 gateways is lost, with 10 000 pods in all: the scheduler's rules alone, and on a store."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from statistics import median
from typing import Final

from cloudsync.scheduler.keeper import Scheduler
from cloudsync.scheduler.model import Deployment, Gateway, Needs, Placed, Pod, PodName, World
from cloudsync.scheduler.plan import plan
from cloudsync.scheduler.replicas import Ids
from cloudsync.store.opening import open_store
from tests.bench.figure import Figure, Scale
from tests.bench.schedule_site import Site
from twin.clock import SystemClock
from twin.manifest.workloads import CutOff

GATEWAYS: Final = 1_000
DEPLOYMENTS: Final = 200
REPLICAS: Final = 50
_ROUNDS: Final = 5
_RULE: Final = CutOff(moves=True, after_ms=60_000)
_LOST: Final = "gw-0007"


async def figures(scale: Scale) -> list[Figure]:
    """Place all pods, lose one gateway, place again."""
    first_s, again_s, lost_s, moved = _rules()
    store = open_store(f"sqlite:///{scale.folder / 'cloud.db'}", SystemClock())
    await store.open()
    try:
        stored = await _on_a_store(Site(store, GATEWAYS, DEPLOYMENTS, REPLICAS, _RULE), _LOST)
    finally:
        await store.close()
    pods = DEPLOYMENTS * REPLICAS
    return [
        Figure("cloud.schedule.first", first_s, "s", f"{pods} pods placed on {GATEWAYS} empty gateways, rules alone"),
        Figure("cloud.schedule.idle", again_s, "s", "a look at the same when nothing is to be done, rules alone"),
        Figure("cloud.schedule.moved", moved, "count", "pods of the lost gateway, all with a new one", 1),
        Figure(
            "cloud.schedule.store",
            stored,
            "s",
            "the same on SQLite, from the moment that the silence is long enough: read, decided, on disk, and in the"
            " sets of the gateways",
        ),
        Figure(
            "cloud.schedule",
            lost_s,
            "s",
            f"{GATEWAYS} gateways, {pods} pods, one gateway lost: to the whole new placement, rules alone, median of"
            f" {_ROUNDS}",
            1,
            at_most=True,
        ),
    ]


def _rules() -> tuple[float, float, float, int]:
    numbers = itertools.count()
    ids = Ids(lambda: f"{next(numbers):06x}", lambda: f"u{next(numbers):x}")
    template = Pod(PodName("plant", "x"), "", Needs(100, 16 * 2**20), _RULE, made="t")
    gateways = {
        name: Gateway(name, {"hall": str(number % 7)}, cpu_milli=4_000, memory_bytes=2**31)
        for number in range(GATEWAYS)
        for name in [f"gw-{number:04}"]
    }
    deployments = {
        f"d{number}": Deployment(PodName("plant", f"shop-{number}"), f"d{number}", REPLICAS, template)
        for number in range(DEPLOYMENTS)
    }
    began_s = time.perf_counter()
    placed = plan(World({}, deployments, gateways, ()), 0, ids)
    first_s = time.perf_counter() - began_s
    world = World(placed.make, deployments, gateways, placed.place)
    began_s = time.perf_counter()
    assert plan(world, 1, ids).empty
    again_s = time.perf_counter() - began_s
    lost = replace(gateways[_LOST], online=False, silent_ms=_RULE.after_ms)
    world = replace(world, gateways={**gateways, _LOST: lost})
    took_s = []
    for _ in range(_ROUNDS):
        began_s = time.perf_counter()
        moved = plan(world, 1, ids)
        took_s.append(time.perf_counter() - began_s)
    assert _have_all_gone(moved.place, _LOST)
    return first_s, again_s, median(took_s), sum(one.state == 0 for one in moved.place)


def _have_all_gone(placed: tuple[Placed, ...], lost: str) -> bool:
    bound = {one.pod for one in placed if one.state == 0 and one.gateway != lost}
    return bound == {one.pod for one in placed if one.gateway == lost} != set()


async def _on_a_store(site: Site, lost: str) -> float:
    await site.open()
    scheduler: Scheduler = site.scheduler
    await site.settle()
    await site.lose(lost)
    began_s = time.perf_counter()
    while await site.has_pods(lost):
        await scheduler.tick()
    return time.perf_counter() - began_s
