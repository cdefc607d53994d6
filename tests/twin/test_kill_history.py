"""A process killed at random moments, also while it packs and drops, loses no reading that it had acknowledged."""

import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import twin
from twin.history import HistoryQuery
from twin.sqlite_history import SqliteHistory
from twin.sqlite_store import SqliteStore

KILLS = 8

# Reports counting values, every second one unchanged; prints each that was acknowledged. Packs all the time, and drops
# what is over the bytes.
WRITER = """
import asyncio, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from twin.clock import SystemClock
from twin.engine import TwinEngine
from twin.history import Limits
from twin.model import HistoryPolicy, Keep, Kind, PropertySpec, TwinKey, TwinSpec, ValueType
from twin.sqlite_history import SqliteHistory
from twin.sqlite_store import SqliteStore

async def main():
    key = TwinKey(Kind.DEVICE, "plant", "tank")
    path, number = Path(sys.argv[1]), int(sys.argv[2])
    store, history = SqliteStore(path), SqliteHistory(path, SystemClock())
    store.open()
    history.open()
    limits = Limits(300, 2**50, 0)
    with ThreadPoolExecutor(1) as executor:
        engine = TwinEngine(store, clock=SystemClock(), executor=executor)
        engine.open()
        spec = PropertySpec("p", ValueType.INT, history=HistoryPolicy(Keep.ALL))
        await engine.define(TwinSpec(key, "u1", properties={"p": spec})).stored()

        async def pack():
            loop = asyncio.get_running_loop()
            while True:
                tend = lambda: history.tend(limits, now_ms=None, free_bytes=2**50, flush=True)
                await loop.run_in_executor(executor, tend)

        async def count():
            nonlocal number
            while True:
                number += 1
                at = number
                await engine.report(key, {"p": at // 2}, {}, at=at, by="m").commit.stored()
                print(at, flush=True)

        await asyncio.gather(pack(), count(), count(), count())

asyncio.run(main())
"""


def killed_after(path, start, lines):
    """Run the writer, kill it when it has acknowledged so many readings; their times."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, path, str(start)],
        cwd=Path(twin.__file__).parents[1],
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        try:
            acknowledged = [writer.stdout.readline() for _ in range(lines)]
        finally:
            writer.send_signal(signal.SIGKILL)
        acknowledged += [line for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    return [int(line) for line in acknowledged]


def test_each_acknowledged_reading_is_kept_or_in_a_gap_after_a_kill(tmp_path, clock, key):
    path = tmp_path / "state.db"
    rng = random.Random(5)
    acknowledged = []
    gone_up_to = 0
    for turn in range(KILLS):
        acknowledged += killed_after(path, 1000 * turn, rng.randrange(30, 400))
        store = SqliteStore(path)
        store.open()
        page = SqliteHistory(path, clock).read(HistoryQuery(key, "u1", "p", 0, 2**53, 10**9))
        store.close()
        kept = {one.at: one.value for one in page.readings}
        assert len(kept) == len(page.readings)
        gone_up_to = max((gap.last for gap in page.gaps), default=0)
        missing = [at for at in acknowledged if at not in kept]
        assert all(at <= gone_up_to for at in missing)
        assert all(value == at // 2 for at, value in kept.items())
        # What was written and not acknowledged may be there too, at most one of each of the three writers a kill.
        total = len(kept) + sum(gap.readings for gap in page.gaps)
        assert len(acknowledged) <= total <= len(acknowledged) + 3 * (turn + 1)
        db = sqlite3.connect(path)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        db.close()
    assert gone_up_to
