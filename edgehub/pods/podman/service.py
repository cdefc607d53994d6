"""podman's REST service: a child of the hub that is started with the first pod that needs it, or one that is there."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
import shutil
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgehub.pods.podman.api import PodmanApi, Refused
from edgehub.pods.podman.conf import PodmanPlace
from edgehub.pods.podman.http import ServiceAway, UnixHttp
from edgehub.pods.spec import CannotStart, Why
from twin.clock import Clock
from twin.supervisor import Child, ChildError, Supervisor

log = logging.getLogger(__name__)

OLDEST: Final = 4
READY_S: Final = 20.0
PACKAGES: Final = "podman runc netavark iptables catatonit"
_POLL_S: Final = 0.02
_ERROR: Final = re.compile(r"level=(error|fatal)|^Error")


@dataclass(frozen=True, slots=True)
class PodmanChoice:
    """Which podman serves: the one at a socket if that is given, else an own one of a program."""

    program: str = ""
    socket: str = ""


class PodmanService:
    """Opened when it is first needed. While its child restarts, whoever needs it waits."""

    def __init__(self, place: PodmanPlace, choice: PodmanChoice, clock: Clock, rng: random.Random) -> None:
        self.place = place
        self.choice = choice
        self._clock = clock
        self._rng = rng
        self._stack = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._checked = False
        self._child: Supervisor | None = None
        self._api = PodmanApi(UnixHttp(Path(choice.socket) if choice.socket else place.socket))

    @property
    def is_own(self) -> bool:
        """Whether the hub runs it."""
        return not self.choice.socket

    def program(self) -> str:
        """The podman to run. Raises CannotStart if there is none."""
        found = shutil.which(self.choice.program or "podman")
        if found is None:
            text = f"the engine podman needs the program {self.choice.program or 'podman'}, which is not installed"
            raise CannotStart(Why.CREATE, text, remedy=f"Install it: apt install {PACKAGES}.")
        return found

    def command(self, *words: str) -> tuple[str, ...]:
        """A command line of podman that does something with what is served here."""
        program = self.choice.program or "podman"
        if not self.is_own:
            return (program, "--remote", "--url", f"unix://{self.choice.socket}", *words)
        return ("env", *(f"{name}={value}" for name, value in self.place.environment.items()), program, *words)

    async def ready(self) -> PodmanApi:
        """podman, answering. Raises CannotStart with the reason."""
        async with self._opening:
            if self.is_own and self._child is None:
                await self._start()
        await self._answers()
        return self._api

    async def close(self) -> None:
        """End the child; containers run on."""
        await self._stack.aclose()
        self._child = None

    async def _start(self) -> None:
        if os.geteuid() != 0:
            text = "an own podman needs a hub that runs as root"
            raise CannotStart(Why.CREATE, text, remedy="Run the hub as root, or name a service in pods.podman.socket.")
        program = self.program()
        try:
            await asyncio.to_thread(self.place.make)
            self.place.socket.unlink(missing_ok=True)
        except OSError as error:
            text = f"podman's files cannot be written: {error}"
            raise CannotStart(Why.CREATE, text, remedy="Check free space and permissions.") from None
        argv = (program, "--log-level=warn", "system", "service", "--time=0", f"unix://{self.place.socket}")
        path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # where its parts look for iptables
        environment = {**os.environ, **self.place.environment, "PATH": path.lstrip(":")}
        child = Child("podman", argv, env=environment, cwd=self.place.run, level_of=_level)
        supervisor = await self._stack.enter_async_context(Supervisor(clock=self._clock, rng=self._rng))
        try:
            await supervisor.add(child)
        except ChildError as error:
            await self._stack.aclose()
            raise CannotStart(Why.CREATE, error.message, remedy=error.remedy) from None
        self._child = supervisor

    async def _answers(self) -> None:
        loop = asyncio.get_running_loop()
        give_up = loop.time() + READY_S
        while True:
            try:
                version = await self._api.version()
                break
            except (ServiceAway, Refused, TimeoutError) as error:
                if loop.time() > give_up or (not self.is_own):
                    raise _cannot(error) from None
            await asyncio.sleep(_POLL_S)
        if not self._checked:
            major = version.split(".", 1)[0]
            if not major.isdigit() or int(major) < OLDEST:
                text = f"podman is {version[:50]}, and {OLDEST}.0 or newer is needed"
                raise CannotStart(Why.CREATE, text, remedy="Install a newer one.")
            log.info("podman %s serves at %s", version, self.choice.socket or self.place.socket)
            self._checked = True


def _cannot(error: ServiceAway | Refused | TimeoutError) -> CannotStart:
    if isinstance(error, TimeoutError):
        return CannotStart(Why.CREATE, "podman's service does not answer in time", remedy="The log says more.")
    return CannotStart(Why.CREATE, error.message, remedy=error.remedy)


def _level(line: str) -> int:
    return logging.WARNING if _ERROR.search(line) else logging.DEBUG
