"""What a gateway writes to its storage: a commit of one report, beside SQLite itself with the same row and safety;
and a hub in a day, by the counters of a block device of its own.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final

from tests.bench.figure import Figure, Scale
from tests.bench.modbus_plant import documents, twin
from tests.bench.plant import spec, values
from tests.bench.rig import EDGETWIN, api, child, hub_environment, modbus_server
from twin.clock import SystemClock
from twin.engine import TwinEngine
from twin.sqlite_store import SqliteStore
from twin.wire.api import DocumentSource

COMMITS: Final = 400
ROUNDS: Final = 3
DEVICES: Final = 10
"""Each sends one message a second."""
POINTS: Final = 5
INTERVAL_S: Final = 30
SETTLE_S: Final = 60
WATCHED_S: Final = 8 * INTERVAL_S
DAY_S: Final = 86_400
DISK_BYTES: Final = 512 * 2**20


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


async def day(scale: Scale) -> list[Figure]:
    """Megabytes that a hub gives to its storage in a day, as far as some minutes tell. As root."""
    if not scale.long:
        return []
    if os.geteuid() != 0:
        message = "a block device of its own is made by root"
        raise RuntimeError(message)
    with _disk(scale.folder) as (place, device):
        state = place / "hub"
        state.mkdir()
        (scale.folder / "run").mkdir()
        (state / "run").symlink_to(scale.folder / "run")  # in memory, as on an image
        env = hub_environment(state) | {"EDGETWIN_STORE_COMMIT_INTERVAL": f"{INTERVAL_S}s"}
        async with modbus_server(scale.folder, "--counting") as port:
            with child([*EDGETWIN, "run"], env=env, log=scale.folder / "hub.log") as process:
                async with api(state, process) as client:
                    text = documents(port, devices=DEVICES, points=POINTS, cycle="1s")
                    await client.apply([DocumentSource(name="plant.yaml", text=text)])
                    async with client.watch(twin(DEVICES - 1)) as events, asyncio.timeout(2 * INTERVAL_S):
                        async for event in events:
                            if event.body is not None and event.body.reported:
                                break
                    await asyncio.sleep(SETTLE_S)
                    updates, sectors, began_s = (await client.status()).updates, _sectors(device), time.monotonic()
                    await asyncio.sleep(WATCHED_S)
                    took_s = time.monotonic() - began_s
                    written_mb = (_sectors(device) - sectors) * 512 / 1e6
                    messages = ((await client.status()).updates - updates) / took_s / (POINTS - 1)
    assert messages > 0.9 * DEVICES, f"only {messages:.1f} of {DEVICES} messages/s flowed"
    says = (
        f"{DEVICES} messages/s with commit_interval {INTERVAL_S}s, ext4 as on an image, by the counters of its block"
        f" device; {WATCHED_S} s, times {DAY_S // WATCHED_S}"
    )
    return [Figure("hardware.writes", written_mb * DAY_S / took_s, "MB/day", says, reach=400, at_most=True)]


@contextmanager
def _disk(folder: Path) -> Iterator[tuple[Path, str]]:
    """A file system on a block device of its own: where it is mounted, and the device's name."""
    behind, place = folder / "disk.img", folder / "mounted"
    with behind.open("wb") as file:
        file.truncate(DISK_BYTES)
    place.mkdir()
    device = _ran("losetup", "--find", "--show", str(behind)).strip()
    try:
        _ran("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", device)
        _ran("mount", "-o", "noatime,commit=30", device, str(place))
        try:
            yield place, Path(device).name
        finally:
            _ran("umount", str(place))
    finally:
        _ran("losetup", "--detach", device)


def _ran(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout


def _sectors(device: str) -> int:
    """Sectors of 512 bytes that were written to it so far (Documentation/block/stat.rst)."""
    return int(Path("/sys/block", device, "stat").read_text(encoding="ascii").split()[6])


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
