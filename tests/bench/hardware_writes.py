"""What a commit of one report writes to the disk, beside SQLite itself with the same row and the same safety."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Final

from tests.bench.figure import Figure, Scale
from tests.bench.plant import spec, values
from twin.clock import SystemClock
from twin.engine import TwinEngine
from twin.sqlite_store import SqliteStore

COMMITS: Final = 400
ROUNDS: Final = 3


async def commit(scale: Scale) -> list[Figure]:
    """Bytes that one commit gives to the disk, of the engine and of bare SQLite (WAL, synchronous=FULL), in turns."""
    ours, bare = [], []
    for number in range(ROUNDS):
        ours.append(await _engine(scale.folder / f"engine-{number}"))
        bare.append(await asyncio.to_thread(_bare, scale.folder / f"bare-{number}"))
    ratio = median(mine / floor for mine, floor in zip(ours, bare, strict=True))
    says = f"bytes given to the disk by a commit of one report, {COMMITS} commits and the closing, median of {ROUNDS}"
    return [
        Figure("hardware.writes.commit.bytes", median(ours), "B", says, at_most=True, reach=16_384),
        Figure("hardware.writes.commit.bare", median(bare), "B", "the same of bare SQLite", at_most=True, reach=16_384),
        Figure("hardware.writes.commit", ratio, "x", "the engine's / bare SQLite's", reach=1.25, at_most=True),
    ]


async def _engine(folder: Path) -> float:
    folder.mkdir()
    store = SqliteStore(folder / "state.db")
    store.open()
    with ThreadPoolExecutor(1) as executor:
        engine = TwinEngine(store, clock=SystemClock(), executor=executor)
        engine.open()
        plant = spec(0)
        await engine.define(plant).stored()
        before = _written_bytes()
        for turn in range(1, COMMITS + 1):
            changed = {"speed": values(0, turn)["speed"]}
            report = engine.report(plant.key, changed, {}, at=time.time_ns() // 1_000_000, by="bench")
            await report.commit.stored()
        await engine.close()
        store.close()
    return (_written_bytes() - before) / COMMITS


def _bare(folder: Path) -> float:
    folder.mkdir()
    db = sqlite3.connect(folder / "bare.db", isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute(
        "CREATE TABLE leaf (twin INTEGER, name TEXT, value, tick INTEGER, PRIMARY KEY (twin, name)) WITHOUT ROWID"
    )
    before = _written_bytes()
    for value in range(COMMITS):
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT OR REPLACE INTO leaf VALUES (1, 'level', ?, ?)", (float(value), time.time_ns() // 1000))
        db.execute("COMMIT")
    db.close()
    return (_written_bytes() - before) / COMMITS


def _written_bytes() -> int:
    """What this process has given to disks so far."""
    for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines():
        if line.startswith("write_bytes: "):
            return int(line.partition(": ")[2])
    raise AssertionError
