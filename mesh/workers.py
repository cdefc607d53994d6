"""Further processes that carry bytes: they share the doors of the first (SO_REUSEPORT) and are told what it compiled.

    first ──carry──> worker        worker ──counted──> first, which adds them up

What has a bound is carried by the first alone (sharing.py). A worker that ends is started again, and told the whole
programme. One that says nothing for long is ended: it hangs, and the kernel goes on to give it clients.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from asyncio.subprocess import Process as Child
from collections.abc import Callable
from random import Random
from typing import Final

from mesh.carrying import Carrying
from mesh.control import Line, attach
from mesh.difference import difference
from mesh.errors import ControlError
from mesh.frames import (
    Alive,
    Begin,
    Callers,
    Carry,
    Counted,
    FromMesh,
    FromOwner,
    PlaneState,
    Reached,
    Ready,
    Said,
    Tunnels,
    encode,
    from_mesh,
    from_owner,
)
from mesh.live import TICK_S, Live
from mesh.model.programme import Programme
from mesh.model.services import Plane
from mesh.news import says_something
from mesh.settings import Settings
from mesh.sharing import shared

log = logging.getLogger(__name__)

AGAIN_S: Final = 1.0
"""How long after its end a worker is started again."""
FIRST_WORD_S: Final = 60.0
"""How long a worker may take to begin: a slow board needs long to load the program."""
END_TIMEOUT_S: Final = 5.0


class Workers:
    """The further workers of a mesh; none unless its settings say so."""

    def __init__(self, live: Live, settings: Settings, clock: Callable[[], float]) -> None:
        self._live = live
        self._clock = clock
        self._settings = settings
        self._lines: dict[str, Line] = {}
        self._carried = Programme()
        """What those that have a line were told to carry."""
        self._due_s: dict[str, float] = {}
        """When each has to have said something."""
        live.on_frame = self._send

    async def run(self) -> None:
        """Keep them running, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(1, self._settings.workers):
                tasks.create_task(self._keep(str(number)))

    async def _keep(self, name: str) -> None:
        while True:
            await self._one(name)
            self._live.collected.ended(name)
            log.warning("Worker %s ended; it is started again", name)
            await asyncio.sleep(AGAIN_S)

    async def _one(self, name: str) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            number = theirs.fileno()
            command = (sys.executable, "-m", "mesh.process", "--worker", str(number))
            child = await asyncio.create_subprocess_exec(*command, pass_fds=(number,))
        self._due_s[name] = self._clock() + FIRST_WORD_S
        ours.setblocking(False)
        over = asyncio.Event()
        line = await attach(ours, lambda _, text: self._took(name, text), lambda _: over.set())
        try:
            line.send(encode(Begin(settings=self._settings)))
            for frame in self._live.said.values():
                line.send(encode(frame))
            self._carried = shared(self._live.carrying.programme)
            line.send(encode(Carry(delta=difference(Programme(), self._carried))))
            self._lines[name] = line
            await self._watch(name, child, over)
        finally:
            self._lines.pop(name, None)
            line.close()
            await _ended(child)

    async def _watch(self, name: str, child: Child, over: asyncio.Event) -> None:
        """Wait for its end, and bring that about if it hangs."""
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await over.wait()
            if not over.is_set() and self._clock() >= self._due_s[name]:
                log.error("Worker %s gives no sign of life and is killed", name)
                child.kill()
                await over.wait()

    def _took(self, name: str, text: bytes) -> None:
        frame = from_mesh(text)
        self._due_s[name] = self._clock() + self._settings.hung_s
        if isinstance(frame, Counted):
            self._live.collected.took(name, frame.snapshot)

    def _send(self, frame: Carry | Said) -> None:
        if self._lines:
            if isinstance(frame, Carry):
                before, self._carried = self._carried, shared(self._live.carrying.programme)
                frame = Carry(delta=difference(before, self._carried))
            text = encode(frame)
            for line in self._lines.values():
                line.send(text)


async def _ended(child: Child) -> None:
    """It ends with its line; one that does not is ended."""
    try:
        async with asyncio.timeout(END_TIMEOUT_S):
            await child.wait()
    except (TimeoutError, asyncio.CancelledError):
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
        raise


class Worker:
    """The other end: carries bytes, and nothing else."""

    def __init__(self, clock: Callable[[], float], rng: Random) -> None:
        self._clock = clock
        self._rng = rng
        self._line: Line | None = None
        self._carrying: Carrying | None = None
        self._begin: asyncio.Future[Settings] = asyncio.get_running_loop().create_future()
        self._stop = asyncio.Event()
        self._offline = False
        self._early: list[FromOwner] = []

    async def serve(self, sock: socket.socket) -> None:
        """Carry, until the first process is gone."""
        self._line = await attach(sock, self._took, lambda _: self.stop())
        settings = await self._begin
        carrying = Carrying(
            settings, self._clock, self._rng, lambda: self._offline, lambda: None, lets_gateways_in=False
        )
        await carrying.open()
        self._carrying = carrying
        for frame in self._early:
            self._do(frame)
        self._tell(Ready(pid=os.getpid(), planes=(PlaneState(plane=Plane.USERSPACE),)))
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(carrying.run()), tasks.create_task(self._count(carrying))]
                await self._stop.wait()
                for one in running:
                    one.cancel()
        finally:
            await carrying.close()
            self._line.close()

    def stop(self) -> None:
        """End, after a moment for what is open."""
        self._stop.set()
        if not self._begin.done():
            self._begin.set_exception(ControlError("stopped before it began"))

    async def _count(self, carrying: Carrying) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            snapshot = carrying.monitor.snapshot(self._clock())
            self._tell(Counted(snapshot=snapshot) if says_something(snapshot) else Alive())

    def _took(self, line: Line, text: bytes) -> None:
        del line
        frame = from_owner(text)
        if isinstance(frame, Begin):
            self._begin.set_result(frame.settings)
        elif self._carrying is None:
            self._early.append(frame)
        else:
            self._do(frame)

    def _do(self, frame: FromOwner) -> None:
        assert self._carrying is not None
        match frame:
            case Carry(delta=delta):
                self._carrying.take(delta)
            case Reached(cloud=cloud):
                self._offline = not cloud
            case Callers(names=names):
                self._carrying.monitor.callers(names)
            case Tunnels(places=places):
                self._carrying.leading.peers(places)

    def _tell(self, frame: FromMesh) -> None:
        if self._line is not None:
            self._line.send(encode(frame))
