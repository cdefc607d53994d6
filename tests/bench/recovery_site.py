"""`python -m tests.bench.recovery_site fill|open FILE`: an engine over a big store, in a process that can be killed.

fill   makes the twins, prints a line, and goes on reporting until it is killed
open   opens the store; prints a `Found` as a line of JSON
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from tests.bench import plant
from twin.clock import SystemClock
from twin.engine import TwinEngine
from twin.model import Kind, TwinKey, TwinSpec, Value
from twin.sqlite_store import SqliteStore

DEVICES: Final = 10_000
LINES: Final = 2
"""Each device is that of the other benchmarks so many times: 10 properties a line."""
RATE: Final = 5_000
"""Updates a second that flow beside the single ones."""

_WARM_S: Final = 1.0
_MEASURE_S: Final = 12.0
_SINGLE_EVERY_S: Final = 0.02
_CHUNK: Final = 200


@dataclass(frozen=True, slots=True)
class Found:
    """What one start measured. ``leaf_bytes``: private memory that the open took, for each leaf."""

    open_s: float
    leaves: int
    leaf_bytes: float
    p99_ms: float
    rate: float


def main(arguments: list[str]) -> None:
    """Be the child."""
    mode, path = arguments
    asyncio.run(_fill(Path(path)) if mode == "fill" else _open(Path(path)))


async def _fill(path: Path) -> None:
    async with _site(path) as engine:
        for number in range(DEVICES):
            engine.define(_spec(number))
            if number % _CHUNK == 0:
                await engine.settled()
        for number in range(DEVICES):
            _report(engine, number, 0)
            if number % _CHUNK == 0:
                await engine.settled()
        await engine.settled()
        sys.stdout.write("filled\n")
        sys.stdout.flush()
        for turn in itertools.count(1):
            _report(engine, turn % DEVICES, turn)
            await engine.settled()


async def _open(path: Path) -> None:
    before_kb = _private_kb()
    began_s = time.perf_counter()
    async with _site(path) as engine:
        open_s = time.perf_counter() - began_s
        took_kb = _private_kb() - before_kb
        leaves = sum(len(engine.document(key).reported) + len(engine.document(key).desired) for key in engine)
        ends_s = time.perf_counter() + _WARM_S + _MEASURE_S
        async with asyncio.TaskGroup() as tasks:
            flow = tasks.create_task(_flow(engine, ends_s))
            singles = tasks.create_task(_singles(engine, ends_s))
        took_ms = sorted(singles.result())
        p99_ms = took_ms[len(took_ms) * 99 // 100]
        found = Found(open_s, leaves, took_kb * 1024 / leaves, p99_ms, flow.result())
        sys.stdout.write(json.dumps(asdict(found)) + "\n")


async def _flow(engine: TwinEngine, ends_s: float) -> float:
    """Reports at a steady rate, each of another device; returns updates a second that are on disk."""
    began_s = now_s = time.perf_counter()
    updates = 0
    for turn in itertools.count(1):
        updates += _report(engine, turn % DEVICES, 1_000 + turn)
        due_s = began_s + updates / RATE
        if due_s > ends_s:
            break
        now_s = time.perf_counter()
        if due_s > now_s:
            await asyncio.sleep(due_s - now_s)
    await engine.settled()
    return updates / (time.perf_counter() - began_s)


async def _singles(engine: TwinEngine, ends_s: float) -> list[float]:
    """One desired value every now and then; milliseconds from the call to the end of its commit."""
    took_ms: list[float] = []
    await asyncio.sleep(_WARM_S)
    for turn in itertools.count(1):
        began_s = time.perf_counter()
        if began_s > ends_s:
            return took_ms
        await engine.set_desired(_key(turn * 7919 % DEVICES), {"count-0": turn}, by="bench").stored()
        took_s = time.perf_counter() - began_s
        took_ms.append(1000 * took_s)
        await asyncio.sleep(max(0.0, _SINGLE_EVERY_S - took_s))
    raise AssertionError


@asynccontextmanager
async def _site(path: Path) -> AsyncIterator[TwinEngine]:
    store = SqliteStore(path)
    store.open()
    with ThreadPoolExecutor(1, "commit") as executor:
        engine = TwinEngine(store, clock=SystemClock(), executor=executor)
        engine.open()
        try:
            yield engine
        finally:
            await engine.close()
            store.close()


def _key(number: int) -> TwinKey:
    return TwinKey(Kind.DEVICE, plant.NAMESPACE, f"d{number:05d}")


def _spec(number: int) -> TwinSpec:
    properties = {
        f"{one.name}-{line}": replace(one, name=f"{one.name}-{line}")
        for line in range(LINES)
        for one in plant.spec(0).properties.values()
    }
    return TwinSpec(_key(number), f"uid-{number}", "bench", properties=properties)


def _report(engine: TwinEngine, number: int, turn: int) -> int:
    values: dict[str, Value] = {
        f"{name}-{line}": value for line in range(LINES) for name, value in plant.values(number, turn + line).items()
    }
    outcome = engine.report(_key(number), values, {}, at=time.time_ns() // 1_000_000, by="bench")
    assert outcome.refused is None
    return len(values)


def _private_kb() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


if __name__ == "__main__":
    main(sys.argv[1:])
