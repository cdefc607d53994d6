"""How the cost of a cloud grows: measured to 2 000 simulated gateways on one machine, modelled to 100 000."""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.figure import Figure, Scale
from tests.bench.rig import Child
from tests.bench.scale_site import ScaleSite, names

STEPS: Final = (100, 500, 1000, 2000)
SHORT_STEPS: Final = (50, 150)
SHORT_S: Final = 10.0
PART: Final = 500
"""Gateways of one process of the fleet."""
ROWS: Final = 10
PERIOD_S: Final = 10.0
MEASURED_S: Final = 20.0
LIVE_S: Final = 240.0
MODELLED: Final = (10_000, 100_000)
CORE_LOAD: Final = 0.6
"""How much of a core is used before another process is added."""
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cost:
    """What so many gateways take: shares of a core and MiB by kind of process, and how long an ack takes."""

    gateways: int
    cores: dict[str, float]
    memory_mib: dict[str, float]
    p50_ms: float
    p99_ms: float


async def cost(scale: Scale) -> list[Figure]:
    """Cores and memory of each kind of process; the headline is what 1 000 more gateways take in cores."""
    costs = await asyncio.to_thread(_measured, scale)
    slope = _slope([(one.gateways, sum(one.cores.values())) for one in costs])
    figures = []
    for one in costs:
        says = f"{one.gateways} gateways, {ROWS} leaves every {PERIOD_S:g} s each, over TLS and HAProxy, PostgreSQL"
        for kind, cores in one.cores.items():
            figures.append(Figure(f"cloud.cost.{one.gateways}.{kind}", cores, "cores", says))
        for kind, mib in one.memory_mib.items():
            figures.append(Figure(f"cloud.cost.{one.gateways}.{kind}_memory", mib, "MiB", f"PSS of the same, {says}"))
        figures.append(Figure(f"cloud.cost.{one.gateways}.ack", one.p99_ms, "ms", f"p99 from frame to ack, {says}"))
    figures.append(Figure("cloud.cost", slope * 1000, "cores", "what 1 000 more such gateways take, all processes"))
    if scale.long:
        (Path(__file__).parents[2] / ".cache" / "cloud-cost.md").write_text(table(costs), encoding="utf-8")
    return figures


def _measured(scale: Scale) -> list[Cost]:
    steps, measured_s, spread_s = (STEPS, MEASURED_S, 20.0) if scale.long else (SHORT_STEPS, SHORT_S, 2.0)
    found = []
    with ScaleSite(scale.folder, shards=2, workers=2) as site:
        keys = site.gateways(steps[-1])
        fleets: list[Child] = []
        running = 0
        for count in steps:
            while running < count:
                some = names(min(PART, count - running), running)
                fleets.append(site.fleet(some, keys, rows=ROWS, period_s=PERIOD_S, spread_s=spread_s))
                running += len(some)
            _wait_live(fleets, count)
            time.sleep(PERIOD_S if scale.long else 1.0)
            found.append(_cost(site, fleets, count, measured_s))
    return found


def _cost(site: ScaleSite, fleets: list[Child], count: int, measured_s: float) -> Cost:
    pids = site.pids()
    before = {kind: sum(map(_cpu_s, some)) for kind, some in pids.items()}
    _told(fleets)
    began_s = time.monotonic()
    time.sleep(measured_s)
    took_s = time.monotonic() - began_s
    pids = {kind: some for kind, some in site.pids().items() if kind in before}
    cores = {kind: max(0.0, sum(map(_cpu_s, some)) - before[kind]) / took_s for kind, some in pids.items()}
    memory = {kind: sum(map(_pss_mib, some)) for kind, some in pids.items()}
    told = _told(fleets)
    return Cost(count, cores, memory, max(one["p50_ms"] for one in told), max(one["p99_ms"] for one in told))


def table(costs: list[Cost]) -> str:
    """What was measured, and what follows for more, as rows of a page."""
    kinds = sorted({kind for one in costs for kind in one.cores})
    lines = [f"| gateways | {' | '.join(kinds)} | all | ack p50, p99 |", "|---|" + "---|" * (len(kinds) + 2)]
    for one in costs:
        cells = [f"{one.cores[kind]:.2f}, {one.memory_mib[kind]:.0f} MiB" for kind in kinds]
        whole = f"{sum(one.cores.values()):.2f}, {sum(one.memory_mib.values()):.0f} MiB"
        lines.append(f"| {one.gateways} | {' | '.join(cells)} | {whole} | {one.p50_ms:.0f}, {one.p99_ms:.0f} ms |")
    for count in MODELLED:
        cells = []
        for kind in kinds:
            cores = _at(count, [(one.gateways, one.cores[kind]) for one in costs])
            mib = _at(count, [(one.gateways, one.memory_mib[kind]) for one in costs])
            cells.append(f"{cores:.1f}, {mib / 1024:.1f} GiB")
        lines.append(f"| {count}, modelled | {' | '.join(cells)} | | |")
    return "\n".join(lines) + "\n"


def _wait_live(fleets: list[Child], count: int) -> None:
    ends_s = time.monotonic() + LIVE_S
    while (live := sum(one["live"] for one in _told(fleets))) < count:
        if time.monotonic() > ends_s:
            message = f"only {live} of {count} simulated gateways are live after {LIVE_S:.0f} s"
            raise RuntimeError(message)
        time.sleep(1.0)


def _told(fleets: list[Child]) -> list[dict[str, float]]:
    for fleet in fleets:
        fleet.tell("")
    return [json.loads(asyncio.run(fleet.line())) for fleet in fleets]


def _slope(points: list[tuple[int, float]]) -> float:
    """Of the line through the points with the least squares."""
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


def _at(count: int, points: list[tuple[int, float]]) -> float:
    x, y = points[-1]
    return y + _slope(points) * (count - x)


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0
    # Of its own, and of children that have ended: PostgreSQL has a process for each connection.
    return sum(int(fields[number]) for number in (11, 12, 13, 14)) / _TICKS


def _pss_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)
