"""Drivers that break one promise each. Every one is the good driver but for a few lines."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import Any

from pydantic import ConfigDict

from mappers.sdk import (
    ConnectionConfig,
    DeviceConfig,
    DeviceTimeout,
    Fault,
    Mapper,
    NotConnected,
    PointConfig,
    Readings,
    Reason,
    Subscribed,
    WriteRefused,
)
from tests.mappers.testkit.line_driver import OFFERS, Address, Host, LineDriver, Unit


class LeaksSockets(LineDriver):
    async def connect(self):
        await super().connect()
        self.spare = socket.create_connection((self.config.host, self.config.port))
        KEPT.append(self.spare)


class LeaksTasks(LineDriver):
    async def connect(self):
        await super().connect()
        self.beat = asyncio.create_task(asyncio.sleep(3600))


class LeaksThreads(LineDriver):
    async def connect(self):
        import threading

        await super().connect()
        threading.Thread(target=time.sleep, args=(4,), daemon=True).start()


class SwallowsCancellation(LineDriver):
    async def ask(self, request):
        try:
            return await super().ask(request)
        except asyncio.CancelledError:
            raise NotConnected("cancelled") from None


class IgnoresCancellation(LineDriver):
    async def read(self, plan):
        task = asyncio.ensure_future(super().read(plan))
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await asyncio.shield(task)
        return task.result()


class LiesAboutWrites(LineDriver):
    async def write(self, device, point, value):
        if self.writer is None:
            raise NotConnected("closed")


class WritesWithoutAnswer(LineDriver):
    async def write(self, device, point, value):
        asking = asyncio.ensure_future(super().write(device, point, value))
        done, _ = await asyncio.wait({asking}, timeout=0.05)
        if done:
            asking.result()
        else:
            asking.add_done_callback(lambda one: one.cancelled() or one.exception())


class RemembersWrites(LineDriver):
    async def write(self, device, point, value):
        await super().write(device, point, value)
        self.memory = {**getattr(self, "memory", {}), point.address.key: value}

    async def read(self, plan):
        readings = await super().read(plan)
        for name, key in plan.keys.items():
            if key in getattr(self, "memory", {}):
                readings.values[name] = self.memory[key]
        return readings


class NeverRefuses(LineDriver):
    async def write(self, device, point, value):
        with contextlib.suppress(WriteRefused):
            await super().write(device, point, value)


class CrashesOnOddValues(LineDriver):
    async def write(self, device, point, value):
        await super().write(device, point, round(value, 3) if point.address.key == "valve" else value)


class ReadsFromMemory(LineDriver):
    async def read(self, plan):
        if not hasattr(plan, "memory"):
            plan.memory = await super().read(plan)
        return plan.memory


class ReusesReadings(LineDriver):
    shared = None

    async def read(self, plan):
        new = await super().read(plan)
        if plan.__dict__.setdefault("shared", new) is not new:
            plan.shared.values.update(new.values)
        return plan.shared


class ReadsAfterClose(LineDriver):
    async def read(self, plan):
        try:
            self.last = await super().read(plan)
        except NotConnected:
            if not hasattr(self, "last"):
                raise
        return self.last


class ConnectsByItself(LineDriver):
    async def ask(self, request):
        if self.writer is None:
            await self.connect()
        return await super().ask(request)


class WaitsForEver(LineDriver):
    def __init__(self, config):
        super().__init__(config)
        self.timeout_s = 3600.0


class BlocksTheLoop(LineDriver):
    async def read(self, plan):
        time.sleep(0.5)  # noqa: ASYNC251  # that is the fault
        return await super().read(plan)


class TakesTheNextAnswer(LineDriver):
    async def take(self, reader):
        with contextlib.suppress(OSError, ValueError):
            async for line in reader:
                number, _, answer = line.decode().rstrip("\n").partition(" ")
                if number == "*":
                    self.told(answer)
                for one in self.waiting.values():
                    if number != "*" and not one.done():
                        one.set_result(answer)
        self.lost()


class TakesHalfAnswers(LineDriver):
    async def take(self, reader):
        with contextlib.suppress(OSError, ValueError):
            async for line in reader:
                number, _, answer = line.decode().rstrip("\n").partition(" ")
                if number in self.waiting and not self.waiting[number].done():
                    self.waiting[number].set_result(answer)
        self.lost()


class RaisesForOnePoint(LineDriver):
    def put(self, readings, name, answer):
        if answer == "no such key":
            raise DeviceTimeout(f"{name} is not there")
        super().put(readings, name, answer)


class RaisesWhatItLikes(LineDriver):
    async def ask(self, request):
        try:
            return await super().ask(request)
        except NotConnected as error:
            raise ConnectionResetError(str(error)) from None


class ForgetsFaults(LineDriver):
    def put(self, readings, name, answer):
        if answer != "no such key":
            super().put(readings, name, answer)


class FaultsWithoutWords(LineDriver):
    def put(self, readings, name, answer):
        if answer == "no such key":
            readings.faults[name] = Fault(Reason.NONE)
        else:
            super().put(readings, name, answer)


class CallsSilenceALoss(LineDriver):
    async def ask(self, request):
        try:
            return await super().ask(request)
        except DeviceTimeout as error:
            raise NotConnected(error.message) from None


class AnswersOthersToo(LineDriver):
    async def read(self, plan):
        readings = await super().read(plan)
        readings.values["extra"] = 1
        return readings


class GivesTexts(LineDriver):
    def put(self, readings, name, answer):
        super().put(readings, name, answer)
        if name in readings.values:
            readings.values[name] = str(readings.values[name])


class OpensInTheConstructor(LineDriver):
    def __init__(self, config):
        super().__init__(config)
        self.probe = socket.create_connection((config.host, config.port))
        KEPT.append(self.probe)


class PlansWithIo(LineDriver):
    def plan(self, device, points):
        KEPT.append(socket.create_connection((self.config.host, self.config.port)))
        return super().plan(device, points)


class KeepsTheFirstConnection(LineDriver):
    async def connect(self):
        KEPT.append((self.writer, self.reading))
        self.writer = self.reading = None
        await super().connect()


class RaisesInClose(LineDriver):
    async def close(self):
        if self.writer is None:
            raise RuntimeError("not open")
        await super().close()


class ClosesOnce(LineDriver):
    closed = False

    async def connect(self):
        if self.closed:
            raise NotConnected(f"{self.config.host}:{self.config.port} was closed")
        await super().connect()

    async def close(self):
        self.closed = self.writer is not None
        await super().close()


class HangsInClose(LineDriver):
    async def close(self):
        if self.writer is not None:
            await super().close()
            await asyncio.sleep(1.8)


class TellsAfterUnsubscribe(LineDriver):
    async def unsubscribe(self, plan):
        pass


class NeverTellsLosses(LineDriver):
    def lost(self):
        self.plans.clear()
        super().lost()


class TellsOnlyChanges(LineDriver):
    async def subscribe(self, plan, cycle_ms, listener):
        await self.ask("watch")
        plan.listener = listener
        self.plans.append(plan)
        return Subscribed(alive_s=30.0)


class TellsOnce(LineDriver):
    def told(self, text):
        pass


class FindsWhatIsNotThere(LineDriver):
    async def discover(self, wanted, tell):
        async for one in super().discover(wanted, tell):
            yield type(one)(one.name, {"id": "pump"}, one.points)


class TellsNoProgress(LineDriver):
    async def discover(self, wanted, tell):
        async for one in super().discover(wanted, lambda _: None):
            yield one


class NamelessErrors(LineDriver):
    async def connect(self):
        try:
            await super().connect()
        except NotConnected:
            raise NotConnected("no connection") from None


class CountsItsNames(LineDriver):
    def plan(self, device, points):
        plan = super().plan(device, points)
        plan.keys = {key: key for key in plan.keys.values()}
        return plan


class ReadsOnlyAHundred(LineDriver):
    async def read(self, plan):
        readings = await super().read(plan)
        return Readings(dict(list(readings.values.items())[:100]), readings.faults)


class Loose(ConnectionConfig):
    model_config = ConfigDict(extra="ignore")
    host: str
    port: int
    timeout_ms: int = 1000


class Thawed(DeviceConfig):
    model_config = ConfigDict(frozen=False)
    unit: str


class Shown(ConnectionConfig):
    host: str
    port: int
    timeout_ms: int = 1000
    password: str = ""


class Curt(PointConfig):
    key: str

    def __init__(self, **given):
        if not isinstance(given.get("key"), str):
            raise TypeError("key")
        super().__init__(**given)


KEPT: list[Any] = []
"""What a mutant leaks must not be collected before the kit has looked."""


def mapper(driver=LineDriver, connection=Host, device=Unit, point=Address, name="line", capabilities=OFFERS) -> Mapper:
    return Mapper(name, connection, device, point, driver, capabilities=capabilities)
