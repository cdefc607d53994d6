"""A gateway's pushes without the rest of it: a real engine and store, the real process that delivers."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path

from edgehub.push.door import PushDoor, PushPlace
from edgehub.state import StateFolder
from twin.clock import SystemClock
from twin.document import live
from twin.engine import TwinEngine
from twin.manifest.catalog import RegistryView, applied
from twin.manifest.read import read_documents
from twin.manifest.yaml import Source
from twin.model import HistoryPolicy, Kind, PropertySpec, ReportPolicy, TwinKey, TwinSpec, ValueType
from twin.sqlite_store import SqliteStore
from twin.supervisor import Supervisor

TANK = TwinKey(Kind.DEVICE, "plant", "tank")
WAIT_S = 30.0
RETRY_CAP_S = 0.3


def tank(unit: str = "%") -> TwinSpec:
    level = PropertySpec("level", ValueType.FLOAT, unit=unit, report=ReportPolicy(always=True), history=HistoryPolicy())
    return TwinSpec(
        TANK, uid="t1", labels=(("hall", "north"),), properties={"level": level, "note": PropertySpec("note")}
    )


def view_of(text: str, base: RegistryView | None = None) -> RegistryView:
    documents = read_documents([Source("push.yaml", text.encode())]).documents
    numbers = count(1)
    return applied(base or RegistryView(), documents, lambda: f"u{next(numbers)}")[0]


def push(type_: str, config: str, *more: str, name: str = "out") -> str:
    lines = "".join(f"\n  {line}" for line in more)
    return f"""
apiVersion: edgetwin.dev/v1
kind: Push
metadata: {{name: {name}, namespace: plant}}
spec:
  type: {type_}
  config: {config}
  batch: {{maxReadings: 50, wait: 20ms}}{lines}
"""


class Site:
    """One gateway."""

    def __init__(self, folder: StateFolder, engine: TwinEngine, door: PushDoor, supervisor: Supervisor) -> None:
        self.folder = folder
        self.engine = engine
        self.door = door
        self.supervisor = supervisor

    @property
    def child(self) -> int:
        (runner,) = self.supervisor.runners
        return runner.pid or 0

    async def follow(self, view: RegistryView) -> None:
        devices = [self.engine.spec(key) for key in self.engine if key.kind is Kind.DEVICE]
        await self.door.follow(view, devices)
        for spec in self.door.specs():
            self.engine.define(spec)

    async def report(self, *values: object, name: str = "level") -> None:
        """Report values, one after the other; they are accepted when this returns."""
        for value in values:
            reported = self.engine.report(TANK, {name: value}, {}, at=time.time_ns() // 1_000_000, by="test")
            assert reported.refused is None
        await self.engine.settled()

    def told(self, name: str = "out") -> dict[str, object]:
        key = TwinKey(Kind.PUSH, "plant", name)
        return {name: slot.value for name, slot in live(self.engine.document(key).reported).items()}


@asynccontextmanager
async def site(path: Path, *, retry_cap_s: float = RETRY_CAP_S, strict: bool = False) -> AsyncIterator[Site]:
    folder = StateFolder(path)
    folder.make()
    async with AsyncExitStack() as stack:
        executor = stack.enter_context(ThreadPoolExecutor(1))
        store = SqliteStore(folder.database)
        store.open()
        stack.callback(store.close)
        engine = TwinEngine(store, clock=SystemClock(), executor=executor)
        engine.open()
        stack.push_async_callback(engine.close)
        engine.define(tank())
        supervisor = await stack.enter_async_context(Supervisor(clock=SystemClock(), rng=random.Random(1)))
        place = PushPlace("gw-1", folder, "debug", 0, strict=strict, retry_cap_s=retry_cap_s)
        door = await stack.enter_async_context(PushDoor(place, engine, SystemClock(), executor).running(supervisor))
        yield Site(folder, engine, door, supervisor)


async def until(condition: Callable[[], object], what: Callable[[], object] = str, wait_s: float = WAIT_S) -> None:
    """Wait for a condition, not for a time."""
    deadline_s = time.monotonic() + wait_s
    while not condition():
        assert time.monotonic() < deadline_s, f"it did not come about in time {what()}"
        await asyncio.sleep(0.02)
