"""A week without the cloud, in virtual time: what the gateway's store takes; and what was dropped is told as gaps."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from tests.bench.figure import Figure, Scale
from tests.sim.virtual import Inline
from twin.engine import TwinEngine
from twin.history import Limits
from twin.model import HistoryPolicy, Keep, Kind, PropertySpec, TwinKey, TwinSpec, ValueType
from twin.sqlite_drain import SqliteDrain
from twin.sqlite_history import SqliteHistory
from twin.sqlite_store import SqliteStore

_DEVICES: Final = 100
_DAYS: Final = 7
_CYCLE_S: Final = 120
_BUDGET: Final = 4 * 1024 * 1024
"""Of the history; small, so that the week does not fit and something has to give way."""
_TWINS_BYTES: Final = 4 * 1024 * 1024
_PROPERTIES: Final = {
    name: PropertySpec(name, ValueType.DOUBLE, history=HistoryPolicy(Keep.ALL)) for name in ("level", "inflow")
}


class _Clock:
    def __init__(self) -> None:
        self.us = 1_800_000_000_000_000

    def now_us(self) -> int:
        return self.us

    def monotonic_s(self) -> float:
        return self.us / 1e6


async def week(scale: Scale) -> list[Figure]:
    """Every device reports two readings every other minute for seven days; the history may take less than that."""
    clock = _Clock()
    path = scale.folder / "state.db"
    store = SqliteStore(path)
    store.open()
    store._opened().execute("PRAGMA synchronous=OFF")  # the clock is not real, nor is the power
    engine = TwinEngine(store, clock=clock, executor=Inline())
    engine.open()
    history = SqliteHistory(path, clock)
    history.open()
    keys = [TwinKey(Kind.DEVICE, "plant", f"d{number}") for number in range(_DEVICES)]
    for key in keys:
        engine.define(TwinSpec(key, "u1", properties=_PROPERTIES))
    limits = Limits(_BUDGET, 30 * 86_400_000, 0)
    largest = taken = 0
    for cycle in range(_DAYS * 86_400 // _CYCLE_S):
        clock.us += _CYCLE_S * 1_000_000
        now_ms = clock.us // 1000
        for number, key in enumerate(keys):
            level = 50 + (cycle * 7919 + number * 104_729) % 1009 / 64
            engine.report(key, {"level": level, "inflow": level / 3}, {}, at=now_ms, by="mapper")
        await engine.settled()
        taken += 2 * _DEVICES
        if cycle % 20 == 0:
            while history.tend(limits, now_ms=now_ms, free_bytes=1 << 40, flush=False):
                pass
            largest = max(largest, _bytes(path))
    leaves, _ = await engine.replica.unsent(0)
    kept, told = _drained(path)
    await engine.close()
    history.close()
    store.close()
    assert told > 0, "all of it had room; nothing was tried"
    says = f"{_DEVICES} devices, two readings each every {_CYCLE_S} s, {_DAYS} days without the cloud, virtual time"
    return [
        Figure(
            "sync.week.leaves",
            leaves,
            "count",
            f"unsent leaves after it, one for each property: {says}",
            2 * _DEVICES,
            at_most=True,
        ),
        Figure(
            "sync.week.untold",
            taken - kept - told,
            "count",
            "readings that are neither sent nor told as a gap when the line is back",
            0,
            at_most=True,
        ),
        Figure(
            "sync.week",
            largest / (_BUDGET + _TWINS_BYTES),
            "ratio",
            f"largest size of the store / its budget of {_BUDGET >> 20} MiB of history and {_TWINS_BYTES >> 20} MiB for"
            f" the rest; {told} of {taken} readings were dropped: {says}",
            1,
            at_most=True,
        ),
    ]


def _bytes(path: Path) -> int:
    """What the data take, free pages not counted."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        names = ("page_count", "freelist_count", "page_size")
        pages, free, size = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in names)
    db.close()
    return int((pages - free) * size)


def _drained(path: Path) -> tuple[int, int]:
    """What the line, back again, would carry: readings, and readings that were dropped before."""
    drain = SqliteDrain(path)
    drain.open()
    kept, gaps = 0, {}
    while (piece := drain.piece()) is not None:
        for one in piece.series:
            kept += len(one.readings)
            gaps |= {(one.key, one.property, gap.why): gap.readings for gap in one.gaps}
        drain.sent(piece)
    drain.close()
    return kept, sum(gaps.values())
