"""The world of one check: a peer, a line, drivers; and at its end the proof that nothing was left behind."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from mappers.sdk.driver import ConnectionConfig, DeviceConfig, Point, PointConfig, Readings
from mappers.sdk.errors import DeviceTimeout, MapperError, NotConnected
from mappers.testkit.adapter import Adapter, Peer, Wired
from mappers.testkit.line import Ability, Line
from twin.model import Value, ValueType

CLOSE_S: Final = 1.0
"""How long the SDK waits for a driver to close."""

_SETTLE_S: Final = 1.0
_FDS: Final = Path("/dev/fd")

T = TypeVar("T")


class Bench:
    """One check's world."""

    def __init__(self, adapter: Adapter, peer: Peer, line: Line) -> None:
        self.adapter = adapter
        self.mapper = adapter.mapper
        self.peer: Any = peer
        self.line = line
        self.patience_s = adapter.patience_s
        self._drivers: list[Any] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._handles = 0
        self._threads: set[threading.Thread] = set()
        self.uncaught: list[str] = []

    # -- what checks use -----------------------------------------------------------------------------------------

    @property
    def config(self) -> ConnectionConfig:
        """The connection's settings."""
        return self.mapper.connection.model_validate(dict(self.adapter.connection(self.line)))

    @property
    def device(self) -> DeviceConfig:
        """The device's settings."""
        return self.mapper.device.model_validate(dict(self.adapter.device))

    @property
    def gone(self) -> tuple[type[MapperError], ...]:
        """What a call may raise when the line is gone."""
        return (NotConnected, *self.adapter.gone)

    @property
    def points(self) -> list[Wired]:
        """All points of the adapter."""
        return list(self.adapter.points)

    @property
    def writable(self) -> Wired:
        """A point that can be written."""
        return next(one for one in self.adapter.points if one.writable)

    def driver(self) -> Any:
        """A driver that is not connected yet; it is closed with the check."""
        made = self.adapter.driver(self.config, self.line)
        self._drivers.append(made)
        return made

    async def connected(self) -> Any:
        """A connected driver."""
        driver = self.driver()
        await self.ends(driver.connect(), "connect")
        return driver

    def point(self, wired: Wired, name: str = "") -> Point[PointConfig]:
        """A point as a driver sees it."""
        return self.at(name or wired.key, wired.type, wired.visitor)

    def at(self, name: str, value_type: ValueType, visitor: Mapping[str, Any]) -> Point[PointConfig]:
        """A point of any visitor."""
        return Point(name, value_type, self.mapper.point.model_validate(dict(visitor)))

    def plan(self, driver: Any, *wired: Wired) -> Any:
        """A plan of these points, of all if none are given."""
        return driver.plan(self.device, [self.point(one) for one in wired or self.points])

    async def read(self, driver: Any, *wired: Wired) -> Readings:
        """Read these points, or all, once."""
        return await self.ends(driver.read(self.plan(driver, *wired)), "read")

    async def write(self, driver: Any, wired: Wired, value: Value) -> None:
        """Write one point."""
        await self.ends(driver.write(self.device, self.point(wired), value), f"write of {wired.key}")

    async def put(self, wired: Wired, number: int) -> Value:
        """Give a point its first or second value at the peer; returns it."""
        value = wired.values[number]
        await self.peer.set(wired.key, value)
        return value

    async def reads(self, driver: Any, wired: Wired, wanted: Value) -> None:
        """Wait until a point is read as wanted: a peer may tell a change a moment late."""
        found: object = None
        async with asyncio.timeout(self.patience_s):
            while True:
                readings = await self.reached(lambda: driver.read(self.plan(driver, wired)), "read")
                found = readings.values.get(wired.key, readings.faults.get(wired.key))
                if alike(found, wanted):
                    return
                await asyncio.sleep(0.01)

    async def well(self, driver: Any) -> None:
        """Prove that a connected driver reads what the peer has, twice in turn."""
        wired = self.points[0]
        for number in (0, 1):
            wanted = await self.put(wired, number)
            try:
                await self.reads(driver, wired, wanted)
            except TimeoutError:
                readings = await self.read(driver, wired)
                message = f"{wired.key} is read as {readings}, the peer has {wanted!r}"
                raise AssertionError(message) from None

    async def well_again(self, driver: Any) -> None:
        """Prove that a driver works after a fault, with as many connects as the runner would make."""
        error: MapperError | None = None
        for _ in range(3):
            try:
                await self.ends(driver.connect(), "connect")
                await self.well(driver)
            except MapperError as failed:
                error = failed
                await self.ends(driver.close(), "close")
            else:
                return
        message = f"it does not come back after the fault is over: {error}"
        raise AssertionError(message)

    async def ends(self, call: Awaitable[T], what: str) -> T:
        """Await a call that must end within the patience of the adapter, whatever happens."""
        began_s = asyncio.get_running_loop().time()
        task = asyncio.ensure_future(call)
        done, _ = await asyncio.wait({task}, timeout=self.patience_s)
        if not done:
            task.cancel()
            await asyncio.wait({task}, timeout=CLOSE_S)
            message = f"{what} has not ended after {self.patience_s:g} s: it needs a time-out of its own"
            raise AssertionError(message)
        self.took_s = asyncio.get_running_loop().time() - began_s
        return task.result()

    async def reached(self, call: Callable[[], Awaitable[T]], what: str) -> T:
        """As ``ends``, and again while the device is not reached, as the runner does: a link may be made beside it."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + self.patience_s
        while True:
            try:
                return await self.ends(call(), what)
            except DeviceTimeout:
                if loop.time() >= deadline_s:
                    raise
                await asyncio.sleep(0.01)

    async def fails(self, call: Awaitable[Any], what: str, *kinds: type[MapperError]) -> MapperError:
        """Await a call that must raise one of these errors in time."""
        try:
            result = await self.ends(call, what)
        except MapperError as error:
            names = " or ".join(kind.__name__ for kind in kinds)
            assert isinstance(error, kinds), f"{what} raised {type(error).__name__}, not {names}: {error}"
            return error
        except AssertionError:
            raise
        except Exception as error:
            message = f"{what} raised {type(error).__name__}, which is no MapperError: {error}"
            raise AssertionError(message) from error
        message = f"{what} ended as if nothing had happened: {result!r}"
        raise AssertionError(message)

    # -- what is proved at the end -------------------------------------------------------------------------------

    def begin(self) -> None:
        """Note what is there before the driver."""
        self._tasks = set(asyncio.all_tasks())
        self._threads = set(threading.enumerate())
        self._handles = open_handles()
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: self.uncaught.append(f"{context.get('message')} {context.get('exception', '')!r}")
        )

    async def end(self) -> None:
        """Close all drivers, then find what they left behind."""
        for driver in self._drivers:
            await self.ends(driver.close(), "close")
        await self.line.mend()
        deadline_s = asyncio.get_running_loop().time() + _SETTLE_S
        while (left := self._left()) and asyncio.get_running_loop().time() < deadline_s:  # noqa: ASYNC110  # no event tells of it
            await asyncio.sleep(0.005)
        assert not left, f"left behind after close: {left}"
        uncaught = [one for one in self.uncaught if not any(part in one for part in self.adapter.rig_errors)]
        assert not uncaught, f"an error that nobody caught: {uncaught[0]}"

    def _left(self) -> str:
        if Ability.COUNT in self.line.abilities and (standing := self.line.standing):
            return f"{standing} connections that stand"
        running = asyncio.all_tasks() - self._tasks
        tasks = [getattr(task.get_coro(), "__qualname__", task.get_name()) for task in running]
        if tasks:
            return f"tasks {', '.join(sorted(tasks))}"
        # Threads of executors rest between calls; the loop ends those of its own.
        threads = [one.name for one in threading.enumerate() if one not in self._threads and "asyncio" not in one.name]
        if threads:
            return f"threads {', '.join(threads)}"
        count = open_handles() - self._handles
        return f"{count} sockets or ports" if count > 0 else ""


@asynccontextmanager
async def bench_of(adapter: Adapter, folder: Path) -> AsyncIterator[Bench]:
    """A bench for one check; at the end, if the check passed, it is looked for what was left behind."""
    async with AsyncExitStack() as stack:
        peer = await stack.enter_async_context(adapter.peer(folder))
        line = await stack.enter_async_context(adapter.line(peer, folder))
        bench = Bench(adapter, peer, line)
        bench.begin()
        yield bench
        await bench.end()


def alike(found: object, wanted: object) -> bool:
    """Whether two values are the same; a 32-bit float comes back a little off."""
    if isinstance(found, bool) or isinstance(wanted, bool) or not isinstance(found, int | float):
        return found == wanted
    return isinstance(wanted, int | float) and abs(found - wanted) <= 1e-6 * max(1.0, abs(wanted))


def open_handles() -> int:
    """How many sockets, pipes and character devices this process has open."""
    count = 0
    for path in _FDS.iterdir():
        try:
            mode = os.fstat(int(path.name)).st_mode
        except OSError:
            continue
        count += stat.S_ISSOCK(mode) or stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)
    return count
