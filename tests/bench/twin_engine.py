"""The engine without MQTT: rules, memory, group commit on the real disk, answer after the commit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from tests.bench.figure import Figure, Scale
from tests.bench.plant import spec, values
from twin.clock import SystemClock
from twin.commit import Commit
from twin.document import Slot
from twin.engine import TwinEngine
from twin.model import Quality, Reason, TwinKey
from twin.sqlite_store import SqliteStore
from twin.store import Batch

_DEVICES: Final = 256
_ROUNDS: Final = 3
_ROUND_S: Final = 4.0


class CountingStore(SqliteStore):
    """Counts the rows of reported leaves that it has put on disk."""

    rows = 0

    def write(self, batch: Batch) -> None:
        super().write(batch)
        self.rows += len(batch.reported)


@dataclass
class Reporters:
    """One report in flight for each device, so that no two updates of a commit share a leaf."""

    engine: TwinEngine
    store: CountingStore
    keys: list[TwinKey]
    turns: list[int] = field(init=False)
    acked: int = 0
    open: int = 0
    ends_s: float = 0.0

    def __post_init__(self) -> None:
        self.turns = [0] * len(self.keys)

    async def run(self, for_s: float) -> float:
        """Report for some seconds; returns updates per second that are on disk."""
        self.acked = self.store.rows = 0
        began_s = time.perf_counter()
        self.ends_s = began_s + for_s
        for number in range(len(self.keys)):
            self._report(number)
        await self.engine.settled()
        while self.open:
            await self.engine.settled()
            await asyncio.sleep(0)
        took_s = time.perf_counter() - began_s
        assert self.acked == self.store.rows, "two updates of a commit shared a leaf, or a value did not change"
        return self.acked / took_s

    def _report(self, number: int) -> None:
        self.turns[number] += 1
        self.open += 1
        changed = values(number, self.turns[number])
        outcome = self.engine.report(self.keys[number], changed, {}, at=time.time_ns() // 1_000_000, by="bench")
        assert outcome.refused is None

        def told(commit: Commit) -> None:
            assert commit.failure is None
            self.open -= 1
            self.acked += len(changed)
            if time.perf_counter() < self.ends_s:
                self._report(number)

        outcome.commit.on_end(told)


async def engine(scale: Scale) -> list[Figure]:
    """Updates a second through the engine alone."""
    async with _opened(scale.folder / "engine.db") as reporters:
        await reporters.run(1.0)
        rate = median([await reporters.run(_ROUND_S) for _ in range(_ROUNDS)])
    says = (
        f"engine in one process, {_DEVICES} devices with one report of 10 properties in flight each, model, delta and"
        " report policy on, answer after the commit, no two updates of a commit share a leaf"
    )
    return [Figure("twin.engine", rate, "updates/s", says, reach=70_000)]


async def group_commit(scale: Scale) -> list[Figure]:
    """Group commit as the engine does it against one row a commit, in turns."""
    single = SqliteStore(scale.folder / "single.db")
    single.open()
    try:
        async with _opened(scale.folder / "group.db") as reporters:
            ratios, singles, groups = [], [], []
            await reporters.run(1.0)
            for _ in range(_ROUNDS):
                group = await reporters.run(_ROUND_S)
                alone = await asyncio.to_thread(_one_row_a_commit, single, _ROUND_S)
                ratios.append(group / alone)
                singles.append(alone)
                groups.append(group)
    finally:
        single.close()
    return [
        Figure("twin.group_commit.single", median(singles), "rows/s", "one changed row a commit, the same store, FULL"),
        Figure("twin.group_commit.group", median(groups), "rows/s", "the engine's group commit, FULL"),
        Figure(
            "twin.group_commit",
            median(ratios),
            "x",
            "rows/s of the engine's group commit, rules included, over rows/s of the bare store with one row a commit",
            reach=10,
        ),
    ]


def _one_row_a_commit(store: SqliteStore, for_s: float) -> float:
    count = 0
    began_s = time.perf_counter()
    while (now_s := time.perf_counter()) - began_s < for_s:
        count += 1
        tick = time.time_ns() // 1000
        slot = Slot(count, tick, 0, "bench", tick // 1000, Quality.GOOD, Reason.NONE)
        place = (count // 10 % _DEVICES, f"p{count % 10}")
        store.write(Batch(reported={place: slot}, versions={place[0]: count}, tick=tick))
    return count / (now_s - began_s)


@asynccontextmanager
async def _opened(path: Path) -> AsyncIterator[Reporters]:
    store = CountingStore(path)
    store.open()
    with ThreadPoolExecutor(1, "commit") as executor:
        made = TwinEngine(store, clock=SystemClock(), executor=executor)
        made.open()
        specs = [spec(number) for number in range(_DEVICES)]
        for one in specs:
            made.define(one)
        await made.settled()
        try:
            yield Reporters(made, store, [one.key for one in specs])
        finally:
            await made.close()
            store.close()
