"""The mesh's own process: started by the hub, told what to do by it, and gone with it.

python -m mesh.process --control SOCKET     the hub listens there
python -m mesh.process --worker NUMBER      a connected socket with this file number: one more to carry bytes
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import logging
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from random import Random
from typing import Any, Final

from mesh.beat import beat
from mesh.control import Line, connect
from mesh.errors import ControlError, InvalidTable, MeshError
from mesh.frames import Begin, Changed, FromMesh, FromOwner, Refused, Whole, encode, from_owner
from mesh.live import Live
from mesh.settings import Settings
from mesh.workers import Worker, Workers

log = logging.getLogger(__name__)

BEGIN_TIMEOUT_S: Final = 30.0
_MOST_WAITING: Final = 1024
_PLENTY_BYTES: Final = 1024 * 1024
"""Unsent bytes from which on an owner that hangs is told no more counters; data planes do not wait for it."""
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


class Process:
    """What the owner says on a line, and what becomes of it. It ends with the line, by a signal, or by ``stop``."""

    def __init__(self, clock: Callable[[], float], rng: Random) -> None:
        self._clock = clock
        self._rng = rng
        self._line: Line | None = None
        self._live: Live | None = None
        self._begin: asyncio.Future[Settings] = asyncio.get_running_loop().create_future()
        self._waiting: list[FromOwner] = []
        self._stop = asyncio.Event()

    async def serve(self, path: Path) -> None:
        """Live as long as the owner wants it. Raises ControlError."""
        beating = asyncio.create_task(beat(), name="beat")
        try:
            await self._serve(path)
        finally:
            beating.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await beating

    async def _serve(self, path: Path) -> None:
        self._line = await connect(path, self._took, self._lost)
        try:
            async with asyncio.timeout(BEGIN_TIMEOUT_S):
                settings = await self._begin
        except TimeoutError as error:
            message = "the owner says nothing"
            raise ControlError(message, remedy="Start the hub again") from error
        live = Live(settings, self._clock, self._rng, self._tell, self._listens)
        workers = Workers(live, settings, self._clock)
        try:
            self._tell(await live.open())
            self._live = live
            for frame in self._waiting:
                self._do(frame)
            self._waiting.clear()
            await until_stopped(self._stop, live.run(), workers.run())
        finally:
            await live.close()
            self._line.close()

    def stop(self) -> None:
        """End, after a moment for what is open."""
        self._stop.set()
        if not self._begin.done():
            self._begin.set_exception(ControlError("stopped before it began"))

    # -- the line ------------------------------------------------------------------------------------------------------

    def _tell(self, frame: FromMesh) -> None:
        if self._line is not None:
            self._line.send(encode(frame))

    def _listens(self) -> bool:
        return self._line is not None and self._line.unsent_bytes < _PLENTY_BYTES

    def _took(self, line: Line, text: bytes) -> None:
        del line
        frame = from_owner(text)
        if isinstance(frame, Begin):
            if self._begin.done():
                log.warning("Settings are taken once; the mesh ends, to be started with the new ones")
                self.stop()
            else:
                self._begin.set_result(frame.settings)
        elif self._live is not None:
            self._do(frame)
        elif len(self._waiting) < _MOST_WAITING:
            self._waiting.append(frame)
        else:
            message = "the owner says too much before the mesh is there"
            raise ControlError(message)

    def _do(self, frame: FromOwner) -> None:
        assert self._live is not None
        try:
            self._live.took(frame)
        except InvalidTable as error:
            log.error("%s", error)
            self._refuse(frame, str(error))
        except Exception as error:
            log.exception("A %s frame could not be carried out", frame.kind)
            self._refuse(frame, f"a fault of the mesh itself: {error!r}")

    def _refuse(self, frame: FromOwner, why: str) -> None:
        if isinstance(frame, (Whole, Changed)):
            self._tell(Refused(number=frame.number, why=why))

    def _lost(self, line: Line) -> None:
        if line is self._line and not self._stop.is_set():
            log.info("The owner is gone; the mesh ends")
            self.stop()


async def until_stopped(stop: asyncio.Event, *lives: Coroutine[Any, Any, None]) -> None:
    """Run these until the event; what fails ends all."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(one) for one in lives]
        await stop.wait()
        for one in running:
            one.cancel()


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Run it on the fastest loop there is; 1 if it could not."""
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(main())
    except KeyboardInterrupt:
        return 0
    except MeshError as error:
        log.error("%s", error)
        return 1
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def die_with_parent() -> None:
    """Have the kernel end this process when the thread that started it ends, so that no mesh is left behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def as_many_files_as_may_be() -> None:
    """Each client, endpoint and service takes one, and the usual bound is 1024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def on_signals(stop: Callable[[], None]) -> None:
    """End politely when asked to."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)


def log_to_stderr(level: int = logging.INFO) -> None:
    """One line a message, its level first: whoever started us may read them."""
    logging.basicConfig(stream=sys.stderr, level=level, format="%(levelname)s: %(name)s: %(message)s")


async def _serve(path: Path) -> None:
    process = Process(time.monotonic, Random(os.urandom(16)))
    on_signals(process.stop)
    await process.serve(path)


async def _work(number: int) -> None:
    sock = socket.socket(fileno=number)
    sock.setblocking(False)
    worker = Worker(time.monotonic, Random(os.urandom(16)))
    on_signals(worker.stop)
    await worker.serve(sock)


def main(argv: list[str]) -> int:
    """The process."""
    parser = argparse.ArgumentParser("mesh.process", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--control", type=Path, metavar="SOCKET")
    way.add_argument("--worker", type=int, metavar="NUMBER")
    chosen = parser.parse_args(argv)
    log_to_stderr()
    as_many_files_as_may_be()
    die_with_parent()
    if chosen.control is not None:
        return run(lambda: _serve(chosen.control))
    return run(lambda: _work(chosen.worker))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
