"""The whole demo plant as a process of its own, as the outside world would be.

    tank, cooler   Modbus TCP          plant.py       press   OPC UA session                     press.py
    panel          Firmata on a pty    panel.py       room    virtual Bluetooth link over TCP    room.py

``python -m edgehub.demo.site`` says ``READY`` and its places once all of it listens, and ends on SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from edgehub.demo.hall import Room, step_room
from edgehub.demo.panel import PanelBoard
from edgehub.demo.places import Places
from edgehub.demo.plant import Plant
from edgehub.demo.press import PressServer
from twin.parent import ParentGone, die_with_parent
from twin.supervisor import PARENT_ENV

if TYPE_CHECKING:
    from edgehub.demo.room import RoomSensor

STEP_S: Final = 0.1
SLOW_STEP_S: Final = 0.5
"""Of the climate, which no sensor measures ten times a second."""


@dataclass(slots=True)
class Site:
    """A running site; ``async with`` opens all of it, ``run`` moves it until cancelled."""

    modbus_port: int = 0
    plant: Plant = field(init=False)
    press: PressServer = field(default_factory=PressServer)
    panel: PanelBoard = field(default_factory=PanelBoard)
    sensor: RoomSensor | None = None
    room: Room = field(default_factory=Room)
    _stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    async def __aenter__(self) -> Self:
        self.plant = await self._stack.enter_async_context(Plant(self.modbus_port))
        await self._stack.enter_async_context(self.press)
        await self._stack.enter_async_context(self.panel)
        if importlib.util.find_spec("bumble") is not None:
            from edgehub.demo.room import RoomSensor  # bumble is an extra

            self.sensor = await self._stack.enter_async_context(RoomSensor())
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    @property
    def places(self) -> Places:
        """Where its parts are reached."""
        ble = self.sensor.port if self.sensor else 0
        return Places(self.plant.port, self.press.port, self.panel.path, ble)

    async def run(self) -> None:
        """Step in real time, by the time that really passed, so that a slow machine shows no slow plant."""
        room_s = 0.0
        async for dt_s in _steps():
            await self.plant.step(dt_s)
            await self.press.step(dt_s)
            self.panel.step(dt_s)
            room_s += dt_s
            if room_s >= SLOW_STEP_S:
                self.room = step_room(self.room, self.press.press, room_s)
                room_s = 0.0
                if self.sensor is not None:
                    await self.sensor.show(self.room)


async def _steps() -> AsyncIterator[float]:
    loop = asyncio.get_running_loop()
    last_s = loop.time()
    while True:
        await asyncio.sleep(STEP_S)
        now_s = loop.time()
        yield min(now_s - last_s, 1.0)
        last_s = now_s


def main() -> None:
    """Run the site as a program, until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m edgehub.demo.site", description="The demo plant.")
    parser.add_argument("--modbus-port", type=int, default=0, help="loopback port of Modbus TCP; 0 takes a free one")
    port: int = parser.parse_args().modbus_port
    logging.basicConfig(level=logging.ERROR)
    with contextlib.suppress(ParentGone):
        if parent := os.environ.get(PARENT_ENV):
            die_with_parent(int(parent))
        asyncio.run(_serve(port))


async def _serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with Site(port) as site:
        running = loop.create_task(site.run())
        running.add_done_callback(lambda _: ended.set())
        sys.stdout.write(f"{site.places.line()}\n")
        sys.stdout.flush()
        await ended.wait()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


if __name__ == "__main__":
    main()
