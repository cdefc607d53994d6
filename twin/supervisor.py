"""Child processes that are restarted when they end, and that end when the hub does, however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import shutil
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from twin.clock import Clock
from twin.errors import EdgetwinError
from twin.link.backoff import Backoff
from twin.watchdog import Watchdog

PARENT_ENV: Final = "EDGETWIN_PARENT_PID"  # what a Python child passes to die_with_parent
STABLE_S: Final = 3.0  # a child that ran this long had started well: its next restart is quick again
RESTART_BASE_S: Final = 0.1
RESTART_CAP_S: Final = 5.0
LINE_BYTES: Final = 8192

_SHOWN_CHARS: Final = 300  # of the last line of a child that ended
_DRAIN_S: Final = 1.0  # a grandchild may hold the output pipe open for ever

log = logging.getLogger(__name__)

StartHandler = Callable[[int], None]
ExitHandler = Callable[[int], None]


class ChildError(EdgetwinError):
    """A child process that cannot be started."""

    code = "child"


def info_level(_line: str) -> int:
    """Log every line of a child as INFO."""
    return logging.INFO


@dataclass(frozen=True, slots=True)
class Child:
    """What to run. ``stdin`` is written once and closed: the way for secrets. ``env`` None means our own."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] | None = None
    cwd: Path | None = None
    stdin: bytes = field(default=b"", repr=False)
    grace_s: float = 5.0  # from SIGTERM to SIGKILL
    level_of: Callable[[str], int] = info_level
    restart_base_s: float | None = None  # the supervisor's
    restart_cap_s: float = RESTART_CAP_S
    stable_s: float = STABLE_S
    watchdog_s: float = 0.0
    """How long it may give no sign of life (see ``twin.watchdog``); 0: nobody looks."""
    first_sign_s: float = 0.0
    """The same until its first one; 0: ``watchdog_s``."""
    pass_fds: tuple[int, ...] = ()
    """What is open here and stays open there, under the same numbers."""
    explain: Callable[[], str] = str
    """Says more than an exit code does about the end that just was; empty if it cannot."""


@dataclass(frozen=True, slots=True)
class _Running:
    process: asyncio.subprocess.Process
    output: asyncio.StreamReader
    pipe: asyncio.ReadTransport
    watchdog: Watchdog | None


class Lines:
    """Cuts a byte stream into lines of text; a longer line comes in pieces of ``limit_bytes``."""

    def __init__(self, limit_bytes: int = LINE_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._rest = b""

    def feed(self, chunk: bytes) -> list[str]:
        """The lines that the chunk completes."""
        *whole, rest = (self._rest + chunk).split(b"\n")
        lines = [piece for line in whole for piece in self._pieces(line)]
        pieces = self._pieces(rest) if len(rest) >= self._limit_bytes else []
        self._rest = b"" if pieces else rest
        return lines + pieces

    def flush(self) -> list[str]:
        """The unfinished last line, if there is one."""
        lines = self._pieces(self._rest)
        self._rest = b""
        return lines

    def _pieces(self, line: bytes) -> list[str]:
        limit = self._limit_bytes
        pieces = (line[at : at + limit] for at in range(0, len(line), limit))
        return [piece.decode(errors="replace").rstrip("\r") for piece in pieces]


class ChildRunner:
    """Keeps one child running: restarts with full jitter, the first within a tenth of a second."""

    def __init__(
        self,
        child: Child,
        *,
        backoff: Backoff,
        clock: Clock,
        setpriv: str | None,
        family: str = "edgehub",
        on_start: StartHandler | None = None,
        on_exit: ExitHandler | None = None,
    ) -> None:
        self.child = child
        self._backoff = backoff
        self._clock = clock
        self._setpriv = setpriv
        self._on_start = on_start
        self._on_exit = on_exit
        self._log = logging.getLogger(f"{family}.child.{child.name}")
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._last_line = ""
        self._silent_s = 0.0
        """How long it had been silent when it was killed for that."""
        self.restarts = 0
        self.last_end = ""
        """How its last run ended, if one did."""
        self.last_end_ms = 0

    @property
    def pid(self) -> int | None:
        """Process id while the child runs."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> None:
        """Start the child and keep it. Raises ChildError if it cannot be started at all."""
        running = await self._spawn()
        self._task = asyncio.create_task(self._keep(running), name=f"child {self.child.name}")

    async def stop(self) -> None:
        """End the child: SIGTERM, then SIGKILL to its whole group after the grace period."""
        self._stopping.set()
        task = self._task
        if task is None:
            return
        self.send(signal.SIGTERM)
        done, _ = await asyncio.wait({task}, timeout=self.child.grace_s)
        if not done:
            self._log.warning("child %s ignored SIGTERM for %.1f s and is killed", self.child.name, self.child.grace_s)
            self._kill()
            await asyncio.wait({task}, timeout=_DRAIN_S + 5.0)
        if task.done() and (error := task.exception()) is not None:
            self._log.error("supervision of child %s failed", self.child.name, exc_info=error)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the child, if it runs."""
        if self.pid is not None and self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _keep(self, running: _Running) -> None:
        failing = False
        while True:
            began_s = self._clock.monotonic_s()
            self._tell(self._on_start, running.process.pid)
            if self._stopping.is_set():  # asked while it was being started
                self.send(signal.SIGTERM)
            code = await self._attend(running)
            ending = self._note_end(code)
            self._tell(self._on_exit, code)
            if self._stopping.is_set():
                self._log.info("child %s stopped (%s)", self.child.name, _ending(code))
                return
            if self._clock.monotonic_s() - began_s >= self.child.stable_s:
                self._backoff.reset()
                failing = False
            again = await self._restart(ending, logging.DEBUG if failing else logging.WARNING)
            if again is None:
                return
            failing = True
            running = again

    def _note_end(self, code: int) -> str:
        ending = self.child.explain() or f"ended ({_ending(code)})"
        if self._silent_s:
            ending = f"gave no sign of life for {self._silent_s:g} s and was killed"
        elif code and self._last_line:
            ending += f": {self._last_line}"
        self._silent_s, self._last_line = 0.0, ""
        if not self._stopping.is_set():
            self.last_end, self.last_end_ms = ending, self._clock.now_us() // 1000
        return ending

    def _on_silence(self, silent_s: float) -> None:
        self._silent_s = silent_s
        self._log.error("child %s gave no sign of life for %g s and is killed", self.child.name, silent_s)
        self._kill()

    def _kill(self) -> None:
        if (pid := self.pid) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    async def _restart(self, why: str, level: int) -> _Running | None:
        while not self._stopping.is_set():
            wait_s = self._backoff.next_s()
            self._log.log(level, "child %s %s, restart in %.2f s", self.child.name, why, wait_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._stopping.wait()
                return None
            self.restarts += 1
            try:
                return await self._spawn()
            except ChildError as error:
                why = f"could not be started: {error}"
        return None

    async def _attend(self, running: _Running) -> int:
        reader = asyncio.create_task(self._log_lines(running.output), name=f"output of {self.child.name}")
        watcher: asyncio.Task[None] | None = None
        if running.watchdog is not None:
            watcher = asyncio.create_task(running.watchdog.watch(self._on_silence), name=f"watch {self.child.name}")
        try:
            code = await running.process.wait()
            await asyncio.wait({reader}, timeout=_DRAIN_S)
            return code
        finally:
            for task in filter(None, (reader, watcher)):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            running.pipe.close()

    async def _log_lines(self, output: asyncio.StreamReader) -> None:
        lines = Lines()
        while chunk := await output.read(LINE_BYTES):
            for line in lines.feed(chunk):
                self._log_line(line)
        for line in lines.flush():
            self._log_line(line)

    def _log_line(self, line: str) -> None:
        self._log.log(self.child.level_of(line), "%s", line)
        self._last_line = line.strip()[:_SHOWN_CHARS] or self._last_line

    async def _spawn(self) -> _Running:
        child = self.child
        argv = (_program(child), *child.argv[1:])
        if self._setpriv is not None:
            argv = (self._setpriv, "--pdeathsig", "KILL", "--", *argv)
        env = dict(os.environ if child.env is None else child.env) | {PARENT_ENV: str(os.getpid())}
        # A pipe of our own: asyncio's wait() for a child with its pipes also waits for grandchildren that hold them.
        read_fd, write_fd = os.pipe()
        watchdog = Watchdog(child.watchdog_s, self._clock, child.first_sign_s) if child.watchdog_s else None
        if watchdog is not None:
            env |= watchdog.environment
        try:
            with watchdog or contextlib.nullcontext():
                process = await asyncio.create_subprocess_exec(
                    *argv,
                    stdin=asyncio.subprocess.PIPE if child.stdin else asyncio.subprocess.DEVNULL,
                    stdout=write_fd,
                    stderr=write_fd,
                    env=env,
                    cwd=child.cwd,
                    pass_fds=(*child.pass_fds, *(() if watchdog is None else (watchdog.child_fd,))),
                    start_new_session=True,  # Ctrl-C in the terminal is for the hub, which then asks its children
                )
        except OSError as error:
            os.close(read_fd)
            if watchdog is not None:
                watchdog.close()
            message = f"child {child.name}: {child.argv[0]} cannot be started: {error.strerror}"
            raise ChildError(message, remedy="Check the path, its permissions and the working folder.") from error
        finally:
            os.close(write_fd)
        output = asyncio.StreamReader()
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(output), os.fdopen(read_fd, "rb", buffering=0)
        )
        self._process = process
        if child.stdin and process.stdin is not None:
            with contextlib.suppress(ConnectionError):  # it ended already: its exit code tells more
                process.stdin.write(child.stdin)
                async with asyncio.timeout(child.grace_s):
                    await process.stdin.drain()
            process.stdin.close()
        return _Running(process, output, pipe, watchdog)

    def _tell(self, handler: Callable[[int], None] | None, number: int) -> None:
        if handler is None:
            return
        try:
            handler(number)
        except Exception:  # noqa: BLE001 a supervisor boundary: an observer must not end the child's care
            self._log.exception("an observer of child %s failed", self.child.name)


class Supervisor:
    """Owns the hub's children; leaving it ends them all, latest first."""

    def __init__(
        self, *, clock: Clock, rng: random.Random, restart_base_s: float = RESTART_BASE_S, family: str = "edgehub"
    ) -> None:
        self._family = family
        """Whose children they are called in the log."""
        self._clock = clock
        self._rng = rng
        self._restart_base_s = restart_base_s
        self._runners: list[ChildRunner] = []
        self._setpriv: str | None = None

    async def __aenter__(self) -> Self:
        """Look for what ties children to us."""
        self._setpriv = shutil.which("setpriv")
        if self._setpriv is None:
            log.warning("setpriv is missing (Debian package util-linux): children may outlive a killed hub")
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """End all children."""
        while self._runners:
            await self._runners.pop().stop()

    @property
    def runners(self) -> tuple[ChildRunner, ...]:
        """All children, in the order they were added."""
        return tuple(self._runners)

    async def add(
        self, child: Child, *, on_start: StartHandler | None = None, on_exit: ExitHandler | None = None
    ) -> ChildRunner:
        """Start a child and keep it running; ``on_start`` gets the pid, ``on_exit`` the exit code.

        Raises ChildError if it cannot be started.
        """
        runner = ChildRunner(
            child,
            backoff=Backoff(child.restart_base_s or self._restart_base_s, child.restart_cap_s, self._rng),
            clock=self._clock,
            setpriv=self._setpriv,
            family=self._family,
            on_start=on_start,
            on_exit=on_exit,
        )
        await runner.start()
        self._runners.append(runner)
        return runner

    async def remove(self, runner: ChildRunner) -> None:
        """End one child and forget it."""
        await runner.stop()
        if runner in self._runners:
            self._runners.remove(runner)


def _program(child: Child) -> str:
    found = shutil.which(child.argv[0])
    if found is None:
        message = f"child {child.name}: no program {child.argv[0]}"
        raise ChildError(message, remedy="Install it, or set the path to it in edgetwin.yaml.")
    return found


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
