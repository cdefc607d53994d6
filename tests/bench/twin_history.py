"""History: what it costs the way of a report, how much room a reading takes, how long an hour of one property takes."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Final

from tests.bench import plant
from tests.bench.figure import Figure, Scale
from tests.bench.twin_mqtt import in_turns, plant_on
from twin.clock import SystemClock
from twin.document import Slot
from twin.history import HistoryQuery, Limits
from twin.model import HistoryPolicy, Keep, Kind, PropertySpec, TwinKey, TwinSpec, ValueType
from twin.sqlite_history import SqliteHistory
from twin.sqlite_store import SqliteStore
from twin.store import Batch, KeptReading, TwinRow

_SERIES: Final = 100
_CYCLE_MS: Final = 500
_HOUR: Final = 3_600_000 // _CYCLE_MS
_CYCLES_A_COMMIT: Final = 20
_QUERIES: Final = 30
_KEY: Final = TwinKey(Kind.DEVICE, plant.NAMESPACE, "tank")
_LIMITS: Final = Limits(2**40, 2**50, 0)


async def throughput(scale: Scale) -> list[Figure]:
    """Durable updates a second with history on, hub and bare loop in turns; then room and time of a query."""
    async with plant_on(scale, history=True) as (loader, running):
        rates = await in_turns(scale, loader)
        kept = await _readings_of(running.state / "state.db")
    assert kept > 0.09 * rates.hub * rates.measured_s, f"only {kept} readings were kept"
    says = (
        "as twin.mqtt, with history on (`keep: changes`) for one of the ten properties of each device, packed while it"
        f" runs; {rates.says}"
    )
    bytes_each, query_ms = await asyncio.to_thread(_room_and_time, scale.folder / "hour.db")
    hour = f"{_SERIES} properties, {_HOUR} readings each (1 h every {_CYCLE_MS} ms), two decimals, a random walk"
    return [
        Figure("twin.mqtt_history.bare", rates.bare, "updates/s", "the bare loop of twin.mqtt_history, same run"),
        Figure("twin.mqtt_history.rate", rates.hub, "updates/s", "the hub of twin.mqtt_history, same run"),
        Figure("twin.mqtt_history.bytes", bytes_each, "bytes", f"of the file for a kept reading, packed: {hour}"),
        Figure(
            "twin.mqtt_history.query", query_ms, "ms", f"p50 to read that hour of one property, all readings: {hour}"
        ),
        Figure("twin.mqtt_history", rates.ratio, "x", says, reach=0.60),
    ]


async def _readings_of(path: Path) -> int:
    def count() -> int:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
            query = "SELECT (SELECT count(*) FROM reading) + (SELECT coalesce(sum(count), 0) FROM span)"
            found: int = db.execute(query).fetchone()[0]
        return found

    return await asyncio.to_thread(count)


def _room_and_time(path: Path) -> tuple[float, float]:
    """Bytes of the file for a reading, and milliseconds to read an hour of one property."""
    rng = random.Random(1)
    store, history = SqliteStore(path), SqliteHistory(path, SystemClock())
    store.open()
    history.open()
    names = [f"p{number}" for number in range(_SERIES)]
    policy = HistoryPolicy(Keep.CHANGES)
    specs = {name: PropertySpec(name, ValueType.DOUBLE, history=policy) for name in names}
    store.write(Batch(twins={1: TwinRow(1, TwinSpec(_KEY, "u", properties=specs), 1)}))
    before = _used_bytes(path)
    values, tick = dict.fromkeys(names, 50.0), 0
    for start in range(0, _HOUR, _CYCLES_A_COMMIT):
        batch = Batch()
        for cycle in range(start, start + _CYCLES_A_COMMIT):
            for name in names:
                values[name] = round(values[name] + rng.gauss(0, 0.3), 2)
                tick += rng.randrange(3000, 7000)
                slot = Slot(values[name], tick, 0, "m", 10**12 + cycle * _CYCLE_MS)
                batch.readings.append(KeptReading(1, name, slot))
        store.write(batch)
        while history.tend(_LIMITS, now_ms=None, free_bytes=2**50, flush=start + _CYCLES_A_COMMIT >= _HOUR):
            pass
    bytes_each = (_used_bytes(path) - before) / (_SERIES * _HOUR)
    query = HistoryQuery(_KEY, "u", "p7", 0, 2**53, 10_000)
    waits_ms = []
    for _ in range(_QUERIES):
        began_s = time.perf_counter()
        page = history.read(query)
        waits_ms.append((time.perf_counter() - began_s) * 1000)
        assert len(page.readings) == _HOUR
    history.close()
    store.close()
    return bytes_each, median(waits_ms)


def _used_bytes(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        (pages,), (free,), (size,) = (
            db.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "freelist_count", "page_size")
        )
    return int((pages - free) * size)
