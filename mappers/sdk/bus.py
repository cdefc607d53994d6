"""One driver behind time budgets, with counters: every call ends, and ends as a value or a MapperError."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final, TypeVar

from mappers.sdk.cancelled import Within
from mappers.sdk.capability import GivingWay, Listener, Subscribed, Subscribing
from mappers.sdk.driver import DeviceConfig, Driver, Point, PointConfig, Readings
from mappers.sdk.errors import DeviceTimeout, MapperError, NotConnected
from twin.clock import Clock
from twin.model import Value

log = logging.getLogger(__name__)

AnyDriver = Driver[DeviceConfig, PointConfig, object]
T = TypeVar("T")

_LATENCY_WEIGHT: Final = 0.1  # of the newest call in the moving average
_CLOSE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Budget:
    """Longest time a driver's call may take, whatever its own time-outs are."""

    connect_s: float = 15.0
    read_s: float = 10.0
    write_s: float = 10.0
    subscribe_s: float = 30.0


@dataclass(frozen=True, slots=True)
class BusCounters:
    """What a connection did since it was opened; latency is a moving average over reads and writes."""

    requests: int = 0
    errors: int = 0
    connects: int = 0
    overruns: int = 0
    latency_s: float = 0.0
    last_error: str = ""
    last_error_ms: int = 0
    """When that was, in milliseconds since 1970; 0 if never."""


class Bus:
    """The calls of one driver. Its one owner makes one call at a time, or from within a read that gives way."""

    def __init__(self, name: str, driver: AnyDriver, clock: Clock, budget: Budget) -> None:
        self.name = name
        self._driver = driver
        self._clock = clock
        self._budget = budget
        self._requests = 0
        self._errors = 0
        self._connects = 0
        self._latency_s = 0.0
        self._last_error = ""
        self._last_error_ms = 0
        self._told: MapperError | None = None
        self._reading: asyncio.Timeout | None = None
        self._away_s = 0.0

    def interrupt_with(self, turn: Callable[[], Awaitable[None]]) -> None:
        """Have a driver that can give way to ``turn`` between the requests of a read; the time is not the read's."""
        if not isinstance(self._driver, GivingWay):
            return
        loop = asyncio.get_running_loop()

        async def give_way() -> None:
            reading, left_s = self._reading, inf
            if reading is not None and (ends_at := reading.when()) is not None:
                left_s = ends_at - loop.time()
                reading.reschedule(None)
            began_s = self._clock.monotonic_s()
            try:
                await turn()
            finally:
                self._away_s += self._clock.monotonic_s() - began_s
                if reading is not None and left_s < inf and not reading.expired():
                    reading.reschedule(loop.time() + left_s)

        self._driver.give_way(give_way)

    def counters(self, overruns: int) -> BusCounters:
        """Snapshot of the counters."""
        return BusCounters(
            self._requests,
            self._errors,
            self._connects,
            overruns,
            self._latency_s,
            self._last_error,
            self._last_error_ms,
        )

    async def connect(self) -> None:
        """Open the connection. Raises NotConnected, whatever went wrong."""
        self._connects += 1
        try:
            await self._within(self._budget.connect_s, "connect", self._driver.connect())
        except NotConnected:
            raise
        except MapperError as error:
            raise NotConnected(error.message, remedy=error.remedy) from error

    async def close(self) -> None:
        """Let go of the connection; never raises."""
        try:
            await self._within(_CLOSE_S, "close", self._driver.close())
        except MapperError as error:
            log.debug("%s: closing failed: %s", self.name, error)

    def plan(self, device: DeviceConfig, points: Sequence[Point[PointConfig]]) -> object:
        """The driver's own plan for reading these points together."""
        return self._driver.plan(device, points)

    async def read(self, plan: object) -> Readings:
        """Read one plan. Raises NotConnected for the whole connection, another MapperError for this device."""
        outer, self._away_s = self._reading, 0.0
        try:
            return await self._timed(self._budget.read_s, "read", self._driver.read(plan), interruptible=True)
        finally:
            self._reading = outer

    @property
    def subscribes(self) -> bool:
        """Whether the driver can tell values by itself."""
        return isinstance(self._driver, Subscribing)

    async def subscribe(self, plan: object, cycle_ms: int, listener: Listener) -> Subscribed:
        """Have one plan told. Raises as ``read`` does; any other MapperError means that it is to be polled."""
        assert isinstance(self._driver, Subscribing)
        return await self._timed(
            self._budget.subscribe_s, "subscribe", self._driver.subscribe(plan, cycle_ms, listener)
        )

    async def unsubscribe(self, plan: object) -> None:
        """Have one plan told no more. Raises as ``read`` does."""
        assert isinstance(self._driver, Subscribing)
        await self._timed(self._budget.read_s, "unsubscribe", self._driver.unsubscribe(plan))

    async def write(self, device: DeviceConfig, point: Point[PointConfig], value: Value) -> Readings | None:
        """Write one raw value; returns what was read in the same request. Raises WriteRefused, or as ``read`` does."""
        return await self._timed(
            self._budget.write_s, f"write of {point.name}", self._driver.write(device, point, value)
        )

    async def _timed(self, budget_s: float, what: str, call: Awaitable[T], *, interruptible: bool = False) -> T:
        began_s = self._clock.monotonic_s()
        self._requests += 1
        result = await self._within(budget_s, what, call, interruptible=interruptible)
        away_s, self._away_s = self._away_s, 0.0
        self._latency_s += _LATENCY_WEIGHT * (self._clock.monotonic_s() - began_s - away_s - self._latency_s)
        return result

    async def _within(self, budget_s: float, what: str, call: Awaitable[T], *, interruptible: bool = False) -> T:
        try:
            async with Within(budget_s) as limit:
                if interruptible:
                    self._reading = limit
                return await call
        except MapperError as error:
            raise self._counted(error) from error.__cause__
        except TimeoutError as error:
            message = f"{self.name}: {what} took longer than {budget_s:g} s"
            raise self._counted(DeviceTimeout(message, remedy="Check the device and its cable.")) from error
        except Exception as error:  # the boundary to plugins: a driver's bug degrades its device, not the host
            message = f"{self.name}: {what} failed in the driver: {type(error).__name__}: {error}"
            if message != self._last_error:
                log.exception("%s: %s failed in the driver", self.name, what)
            raise self._counted(MapperError(message, remedy="This is a fault of the mapper; report it.")) from error

    def _counted(self, error: MapperError) -> MapperError:
        if error is self._told:  # of a call within a read, which it has ended
            return error
        self._told = error
        self._errors += 1
        self._last_error = error.message
        self._last_error_ms = self._clock.now_us() // 1000
        return error
