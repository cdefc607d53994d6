"""A clock that is set by hand, a store that blocks or fails on demand, and engines over a real file."""

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from twin.engine import TwinEngine
from twin.model import (
    Access,
    ConflictPolicy,
    Kind,
    PropertySpec,
    ReportPolicy,
    TwinKey,
    TwinSpec,
    ValueType,
)
from twin.sqlite_store import SqliteStore

TANK = TwinKey(Kind.DEVICE, "plant", "tank")


class HandClock:
    """Stands still until it is set."""

    def __init__(self):
        self.us = 1_700_000_000_000_000
        self.s = 100.0

    def now_us(self):
        return self.us

    def monotonic_s(self):
        return self.s


class ScriptedStore:
    """A SqliteStore whose writes wait at a gate and fail when told to."""

    def __init__(self, path):
        self.inner = SqliteStore(path)
        self.inner.open()
        self.gate = threading.Event()
        self.gate.set()
        self.failing = None
        self.failing_late = None  # raised when the batch is on disk already
        self.reads_failing = None
        self.writes = []  # the batches that went to disk or were tried
        self._begun = threading.Semaphore(0)

    def load(self):
        return self.inner.load()

    def leaves(self, twins=None):
        if self.reads_failing is not None:
            raise self.reads_failing
        return self.inner.leaves(twins)

    def notes(self, owner):
        return self.inner.notes(owner)

    def write(self, batch):
        self.writes.append(batch)
        self._begun.release()
        assert self.gate.wait(10), "the test left the gate shut"
        if self.failing is not None:
            raise self.failing
        self.inner.write(batch)
        if self.failing_late is not None:
            raise self.failing_late

    def close(self):
        self.inner.close()

    async def begun(self):
        """Wait until one more write has begun."""
        assert await asyncio.to_thread(self._begun.acquire, True, 10)


class Bench:
    """An engine over a scripted store, that can be closed and opened again."""

    def __init__(self, path, clock, executor):
        self.path = path
        self.clock = clock
        self._executor = executor
        self.open()

    def open(self):
        self.store = ScriptedStore(self.path)
        self.engine = TwinEngine(self.store, clock=self.clock, executor=self._executor)
        self.engine.open()

    async def close(self):
        self.store.gate.set()
        await asyncio.wait_for(self.engine.close(), 10)
        self.store.close()

    async def reopen(self):
        await self.close()
        self.open()
        return self.engine

    def on_disk(self, key=TANK):
        """What a fresh reader finds: (version, {(section, property, site): slot})."""
        store = SqliteStore(self.path)
        store.open()
        try:
            rows, _ = store.load()
            row = next(row for row in rows if row.spec.key == key)
            found = list(store.leaves([row.id]))
        finally:
            store.close()
        version = max([row.version, *(version for _, _, version in found)])
        return version, {(str(at.section), at.property, str(at.site)): slot for at, slot, _ in found}


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def key():
    return TANK


@pytest.fixture
def executor():
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
def tank_spec():
    """A tank: level with a deadband, raw without, valve and mode to be set, note of any JSON."""

    def make(uid="u1", key=TANK, **more):
        properties = (
            PropertySpec("level", ValueType.DOUBLE, minimum=0, maximum=100, report=ReportPolicy(deadband=0.5)),
            PropertySpec("raw", ValueType.INT),
            PropertySpec("each", ValueType.INT, report=ReportPolicy(always=True)),
            PropertySpec("hourly", ValueType.INT, report=ReportPolicy(max_interval_ms=3_600_000)),
            PropertySpec("valve", ValueType.INT, Access.READ_WRITE, minimum=0, maximum=100, unit="%"),
            PropertySpec(
                "mode", ValueType.STRING, Access.READ_WRITE, enum=("auto", "off"), conflict=ConflictPolicy.CLOUD
            ),
            PropertySpec("note", ValueType.JSON, Access.READ_WRITE),
        )
        return TwinSpec(key, uid, "tank", "gw1", properties={one.name: one for one in properties}, **more)

    return make


@pytest.fixture
async def bench(tmp_path, clock, executor):
    """An engine without twins."""
    made = Bench(tmp_path / "state.db", clock, executor)
    yield made
    with contextlib.suppress(ValueError):
        await made.close()


@pytest.fixture
async def tank(bench, tank_spec):
    """The bench with one tank, on disk."""
    await bench.engine.define(tank_spec()).stored()
    await bench.store.begun()
    bench.store.writes.clear()
    return bench
