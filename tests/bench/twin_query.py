"""Queries on a big store: conditions on labels and values, and whether each acknowledged write is seen at once."""

from __future__ import annotations

import asyncio
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Final

from tests.bench.figure import Figure, Scale
from twin.clock import SystemClock
from twin.engine import TwinEngine
from twin.model import Access, Kind, PropertySpec, TwinKey, TwinSpec, ValueType
from twin.query.parse import parse
from twin.query.reader import SqliteReader
from twin.sqlite_store import SqliteStore

_DEVICES: Final = 10_000
_PROPERTIES: Final = 20
_AREAS: Final = 50
_ROUNDS: Final = 15
_WRITES: Final = 200
_QUERIES: Final = {
    "area": "SELECT name, reported.p0 FROM twins WHERE tags.area = 'hall-2' AND reported.p0 > 80",
    "values": "SELECT name, reported.p3 FROM twins WHERE reported.p3 > 99 AND reported.p7 > 90",
    "count": "SELECT tags.area, COUNT(*) FROM twins WHERE reported.p5 > 50 AND kind = 'device' GROUP BY tags.area",
}


async def queries(scale: Scale) -> list[Figure]:
    """Fill a store of 200 000 leaves, ask each query some times, then write and ask in turn."""
    path = scale.folder / "query.db"
    store = SqliteStore(path)
    store.open()
    with ThreadPoolExecutor(1) as pool:
        engine = TwinEngine(store, clock=SystemClock(), executor=pool)
        engine.open()
        await _fill(engine)
        took_ms = {name: _asked_ms(path, text) for name, text in _QUERIES.items()}
        missed = await _missed(engine, path)
        await engine.close()
    store.close()
    said = {
        "area": "a label and a value, 1 twin in 50 has the label",
        "values": "two values of every twin",
        "count": "a value of every twin, counted by label",
    }
    parts = [
        Figure(f"twin.query.{name}", median(took_ms[name]), "ms", f"{said[name]}: {_QUERIES[name]}", 50, at_most=True)
        for name in _QUERIES
    ]
    return [
        *parts,
        Figure(
            "twin.query.missed",
            missed,
            "count",
            f"acknowledged writes that the query right after did not see, of {_WRITES}",
            reach=0,
            at_most=True,
        ),
        Figure(
            "twin.query",
            max(median(some) for some in took_ms.values()),
            "ms",
            f"the slowest of these queries, text to rows, {_DEVICES} devices x {_PROPERTIES} properties, median of"
            f" {_ROUNDS}, page cache as it is",
            reach=50,
            at_most=True,
        ),
    ]


async def _fill(engine: TwinEngine) -> None:
    draw = random.Random(7)
    properties = {
        f"p{number}": PropertySpec(f"p{number}", ValueType.DOUBLE, Access.READ_WRITE) for number in range(_PROPERTIES)
    }
    for number in range(_DEVICES):
        key = TwinKey(Kind.DEVICE, "bench", f"d{number}")
        labels = (("area", f"hall-{number % _AREAS}"),)
        engine.define(TwinSpec(key, f"u{number}", model="bench", labels=labels, properties=properties))
        values = {name: round(draw.uniform(0, 100), 2) for name in properties}
        engine.report(key, values, {}, at=1_700_000_000_000, by="bench")
        if number % 1000 == 999:
            await engine.settled()


def _asked_ms(path: Path, text: str) -> list[float]:
    reader = SqliteReader(path)
    took_ms = []
    for _ in range(_ROUNDS):
        began_s = time.perf_counter()
        rows = reader.run(parse(text), rows=10_000).rows
        took_ms.append((time.perf_counter() - began_s) * 1000)
        assert rows
    return took_ms


async def _missed(engine: TwinEngine, path: Path) -> int:
    reader = SqliteReader(path)
    missed = 0
    for number in range(_WRITES):
        key = TwinKey(Kind.DEVICE, "bench", f"d{number}")
        await engine.report(key, {"p1": 1000 + number}, {}, at=1_700_000_000_000, by="bench").commit.stored()
        plan = parse(f"SELECT name FROM twins WHERE name = 'd{number}' AND reported.p1 = {1000 + number}")
        found = await asyncio.to_thread(reader.run, plan, rows=10)
        missed += found.rows != [[f"d{number}"]]
    return missed
