"""Pushes as the hub has them: queues in its store, and one process that delivers, if there is anything to deliver.

documents ──plan──> outlets of the engine ──commit──> queues ──read──> process ──> other systems
                                                        └──deleted<──how far<──┘
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final, TypeVar

from edgehub import accounts
from edgehub.push.door import PushPlace
from edgehub.push.plan import PlannedPush, PushPlan, push_plan
from edgehub.push.setup import PushesSetup, PushSetup
from edgehub.push.twins import COUNTERS, push_alarms, push_report, push_spec
from twin.clock import Clock
from twin.engine import TwinEngine
from twin.errors import EdgetwinError
from twin.history import AgeClock
from twin.manifest.catalog import RegistryView
from twin.model import TwinSpec, Value
from twin.outbound import Bounds, Waiting
from twin.sqlite_outbound import SqliteOutbound
from twin.sqlite_progress import Progress, read_progress
from twin.supervisor import Child, ChildRunner, Supervisor

T = TypeVar("T")
log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
COUNT_EVERY: Final = 10
"""Looks between two times that counters are told."""
HUNG_S: Final = 20.0
FIRST_SIGN_S: Final = 60.0
GRACE_S: Final = 5.0


class Pushes:
    """All pushes of a gateway."""

    def __init__(self, place: PushPlace, engine: TwinEngine, clock: Clock, executor: Executor) -> None:
        self._place = place
        self._engine = engine
        self._clock = clock
        self._executor = executor
        self._store = SqliteOutbound(place.folder.database)
        self._plan = PushPlan()
        self._queues: dict[str, int] = {}
        self._supervisor: Supervisor | None = None
        self._runner: ChildRunner | None = None
        self._task: asyncio.Task[None] | None = None
        self._told: dict[str, dict[str, Value]] = {}
        self._age = AgeClock(None)
        self._wanted: PushesSetup | None = None
        self._running: PushesSetup | None = None
        self._failed = False
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def running(self, supervisor: Supervisor) -> AsyncIterator[Pushes]:
        """Deliver what ``follow`` says, until the end."""
        self._store.open()
        self._supervisor = supervisor
        try:
            yield self
        finally:
            if self._task is not None:
                self._task.cancel()
                await asyncio.wait({self._task})
            await self._end_child()
            self._store.close()

    async def follow(self, view: RegistryView, specs: list[TwinSpec]) -> None:
        """Do as the documents say. Readings that are accepted after this are in the queues. Raises StoreError."""
        plan = push_plan(view, specs, self._place.gateway, strict=self._place.strict)
        wanted = [one.queue for one in plan.pushes]
        if self._task is None or set(wanted) != self._queues.keys():
            self._queues = await self._on_thread(lambda: self._store.queues(wanted))
        self._plan = plan
        self._told = {queue: said for queue, said in self._told.items() if queue in self._queues}
        self._engine.outlets = plan.outlets
        self._wanted = self._setup(plan) if plan.pushes else None
        self._changed.set()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._keep(), name="pushes")

    def specs(self) -> list[TwinSpec]:
        """The twins of the pushes."""
        return [push_spec(one, self._place.gateway) for one in self._plan.pushes]

    def alarms(self) -> list[str]:
        """What is wrong with any."""
        return [
            alarm
            for one in self._plan.pushes
            if (said := self._told.get(one.queue)) is not None
            for alarm in push_alarms(one, said)
        ]

    async def _keep(self) -> None:
        number = 0
        while True:
            try:
                await self._follow_child()
                await self._look(counters=number % COUNT_EVERY == 0)
            except (EdgetwinError, OSError) as error:
                log.log(logging.DEBUG if self._failed else logging.WARNING, "pushes are not looked after: %s", error)
                self._failed = True
            except Exception:  # a supervisor boundary: what fails once must not end the care of all queues
                log.exception("pushes cannot be looked after")
            else:
                self._failed = False
            number += 1
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._changed.wait()

    async def _look(self, *, counters: bool) -> None:
        """Delete what is delivered, keep the bounds, and tell how it is."""
        known = await asyncio.to_thread(read_progress, self._place.folder.pushes)
        place = self._place.folder.path
        now_ms = self._age.now_ms(self._now_ms(), self._clock.monotonic_s())
        pushes = [(one, self._queues[one.queue]) for one in self._plan.pushes]  # which may change meanwhile
        bounds, standing = {}, {}
        for one, queue in pushes:
            progress = standing_of(known.get(queue), name_of(one), self._engine.last_tick)
            bounds[queue] = Bounds(progress.cursor, one.max_bytes, one.max_age_ms)
            standing[queue] = progress

        def piece() -> bool:
            disk = os.statvfs(place)
            free = disk.f_bavail * disk.f_frsize
            return self._store.tend(bounds, now_ms=now_ms, free_bytes=free, min_free_bytes=self._place.min_free_bytes)

        while await self._on_thread(piece):
            pass
        for one, queue in pushes:
            waiting = await self._on_thread(partial(self._store.waiting, queue, standing[queue].cursor))
            self._report(one, standing[queue], waiting, counters=counters)

    def _report(self, push: PlannedPush, progress: Progress, waiting: Waiting, *, counters: bool) -> None:
        said = push_report(push, progress, waiting, self._now_ms())
        before = self._told.get(push.queue, {})
        self._told[push.queue] = said
        changed = {name: value for name, value in said.items() if before.get(name) != value or name not in before}
        if not counters and not changed.keys() - COUNTERS:
            return
        if push.key in self._engine:
            self._engine.report(push.key, said, {}, at=self._now_ms(), by=accounts.HUB)

    # -- the child -----------------------------------------------------------------------------------------------

    async def _follow_child(self) -> None:
        """Have the child that is wanted. It is told everything at its start, so other documents mean another child."""
        wanted = self._wanted
        if wanted == self._running:
            return
        await self._end_child()
        if wanted is not None and self._supervisor is not None:
            argv = (sys.executable, "-m", "edgehub.push.process")
            child = Child(
                "push",
                argv,
                stdin=wanted.model_dump_json().encode(),
                grace_s=GRACE_S,
                level_of=_level_of,
                watchdog_s=HUNG_S,
                first_sign_s=FIRST_SIGN_S,
            )
            self._runner = await self._supervisor.add(child)
        self._running = wanted

    async def _end_child(self) -> None:
        runner, self._runner = self._runner, None
        self._running = None
        if runner is not None and self._supervisor is not None:
            await self._supervisor.remove(runner)

    def _setup(self, plan: PushPlan) -> PushesSetup:
        return PushesSetup(
            gateway=self._place.gateway,
            state=str(self._place.folder.path),
            retry_cap_s=self._place.retry_cap_s,
            log_level=self._place.log_level,
            watchdog_s=HUNG_S,
            pushes=tuple(
                PushSetup(
                    queue=self._queues[one.queue],
                    name=name_of(one),
                    type=one.type,
                    config=one.config,
                    max_readings=one.max_readings,
                    wait_ms=one.wait_ms,
                    timeout_ms=one.timeout_ms,
                    route=one.route,
                )
                for one in plan.pushes
            ),
        )

    def _now_ms(self) -> int:
        return self._clock.now_us() // 1000

    async def _on_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)


def name_of(push: PlannedPush) -> str:
    """What a push is called on the command line and in the log."""
    return f"{push.key.namespace}/{push.key.name}"


def standing_of(known: Progress | None, name: str, top: int) -> Progress:
    """Where a push stands. A place beyond the last tick is of a store that was lost: nothing may be deleted by it."""
    return known if known is not None and known.name == name and known.cursor <= top else Progress(name)


def _level_of(line: str) -> int:
    return logging.getLevelNamesMapping().get(line.partition(" ")[0], logging.INFO)
