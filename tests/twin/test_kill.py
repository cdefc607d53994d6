"""A process killed at random moments loses nothing that it had acknowledged (rule 7)."""

import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import twin
from twin.engine import TwinEngine
from twin.sqlite_store import SqliteStore

KILLS = 10
PROPERTIES = 3

# Reports counting values; prints a line for each that was acknowledged. It goes on from the greatest value on disk.
WRITER = f"""
import asyncio, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from twin.clock import SystemClock
from twin.engine import TwinEngine
from twin.model import Kind, PropertySpec, TwinKey, TwinSpec, ValueType
from twin.sqlite_store import SqliteStore

async def main():
    key = TwinKey(Kind.DEVICE, "plant", "tank")
    names = [f"p{{n}}" for n in range({PROPERTIES})]
    store = SqliteStore(Path(sys.argv[1]))
    store.open()
    with ThreadPoolExecutor(1) as executor:
        engine = TwinEngine(store, clock=SystemClock(), executor=executor)
        engine.open()
        properties = {{name: PropertySpec(name, ValueType.INT) for name in names}}
        await engine.define(TwinSpec(key, "u1", properties=properties)).stored()
        number = max((slot.value for slot in engine.document(key).reported.values()), default=0)

        async def count(name):
            nonlocal number
            while True:
                number += 1
                value = number
                outcome = engine.report(key, {{name: value}}, {{}}, at=value, by="m")
                tick = engine.document(key).reported[name].tick
                await outcome.commit.stored()
                print(name, tick, value, flush=True)

        await asyncio.gather(*map(count, names))

asyncio.run(main())
"""


def killed_after(path, lines):
    """Run the writer, kill it when it has acknowledged so many values; all that it acknowledged."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, path], cwd=Path(twin.__file__).parents[1], stdout=subprocess.PIPE, text=True
    ) as writer:
        try:
            acknowledged = [writer.stdout.readline() for _ in range(lines)]
        finally:
            writer.send_signal(signal.SIGKILL)
        acknowledged += [line for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    assert writer.returncode == -signal.SIGKILL
    return [(name, int(tick), int(value)) for name, tick, value in map(str.split, acknowledged)]


def test_no_acknowledged_value_is_missing_after_a_kill(tmp_path, clock, executor, key):
    path = tmp_path / "state.db"
    rng = random.Random(4)
    last_tick = 0
    for _ in range(KILLS):
        acknowledged = killed_after(path, rng.randrange(1, 120))
        assert acknowledged[0][1] > last_tick  # ticks rise over kills too
        store = SqliteStore(path)
        store.open()
        engine = TwinEngine(store, clock=clock, executor=executor)
        engine.open()
        reported = engine.document(key).reported
        for name, tick, value in acknowledged:
            assert reported[name].tick >= tick
            assert reported[name].value >= value
            if reported[name].tick == tick:
                assert reported[name].value == value
        last_tick = max(slot.tick for slot in reported.values())
        store.close()
        db = sqlite3.connect(path)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        db.close()
