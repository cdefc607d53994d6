"""The dashboard as the hub has it: a socket that listens. The first who comes has the page's process started.

hub: socket ──somebody comes──> child, which serves on that socket ──nobody looks any more──> hub: socket
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgehub.kubeapi.home import own_address
from edgehub.listeners import WebSettings
from edgehub.web.folder import WebFolder, fingerprint
from edgehub.web.setup import PageSetup
from twin.broker_accounts import Account
from twin.errors import EdgetwinError
from twin.supervisor import Child, ChildRunner, Supervisor

log = logging.getLogger(__name__)

IDLE_S: Final = 300.0
FIRST_S: Final = 15.0
RETRY_S: Final = 5.0
MORE_PORTS: Final = 50
"""Ports that are tried after the one of the settings, on loopback."""
_BACKLOG: Final = 64
_MAKE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class WebPlace:
    """Whose dashboard it is, and how it reaches the broker."""

    gateway: str
    state: Path
    broker: tuple[str, int]
    account: Account
    log_level: str = "info"
    idle_s: float = IDLE_S
    first_s: float = FIRST_S


class Web:
    """Serves the dashboard while the gateway runs, if the settings ask for it."""

    def __init__(self, settings: WebSettings, folder: Path, place: WebPlace) -> None:
        self._settings = settings
        self._folder = WebFolder(folder)
        self._place = place
        self._socket: socket.socket | None = None
        self._runner: ChildRunner | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._alarm = ""
        self._fingerprint = ""
        self.url = ""
        """Where it is; empty: nowhere."""

    def alarms(self) -> list[str]:
        """What is wrong with it."""
        return [self._alarm] if self._alarm else []

    @asynccontextmanager
    async def running(self, supervisor: Supervisor) -> AsyncIterator[Web]:
        """Listen until the end. What keeps it from that is an alarm, and keeps the gateway from nothing."""
        if self._settings.listen:
            await self._open(supervisor)
        try:
            yield self
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if self._runner is not None:
                await supervisor.remove(self._runner)
            if self._socket is not None:
                asyncio.get_running_loop().remove_reader(self._socket)
                self._socket.close()

    async def _open(self, supervisor: Supervisor) -> None:
        try:
            await asyncio.to_thread(self._folder.keep_login)
            if self._settings.secure:
                await asyncio.to_thread(self._keep_certificate)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            self._alarm = f"the dashboard is off: its login or certificate in {self._folder.path} is not there: {error}"
            log.error("%s; mend the disk, or web.certfile, and restart the hub", self._alarm)
            return
        if not self._listens(supervisor):
            self._keep(self._try(supervisor), "dashboard: port")

    async def _try(self, supervisor: Supervisor) -> None:
        while True:
            await asyncio.sleep(RETRY_S)
            if self._listens(supervisor):
                return

    def _listens(self, supervisor: Supervisor) -> bool:
        """A port that is taken must not keep the gateway from starting."""
        try:
            self._socket = _listening(*self._settings.address, more=MORE_PORTS if self._settings.local else 0)
        except OSError as error:
            alarm = f"the dashboard cannot listen on {self._settings.listen}: {error.strerror or error}"
            if not self._alarm:
                log.error("%s; free the port, or set another in web.listen", alarm)
            self._alarm = alarm
            return False
        self._alarm = ""
        self.url = _url(self._settings, self._socket)
        self._wait(supervisor)
        log.info("the dashboard is at %s; `edgetwin web show` tells the login", self.url)
        if self._fingerprint:
            log.info("its certificate has the SHA-256 fingerprint %s", self._fingerprint)
        return True

    def _certfile(self) -> Path:
        return Path(self._settings.certfile) if self._settings.certfile else self._folder.certificate

    def _keep_certificate(self) -> None:
        """Blocks. Raises OSError, ValueError, SubprocessError."""
        if not self._certfile().exists() and not self._settings.certfile:
            command = [sys.executable, "-m", "edgehub.web.certificate", str(self._folder.certificate), *self._names()]
            subprocess.run(command, check=True, timeout=_MAKE_S, capture_output=True)
        self._fingerprint = fingerprint(self._certfile())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._certfile(), self._settings.keyfile or None)

    def _names(self) -> list[str]:
        host = self._settings.address[0]
        here = socket.gethostname().lower()
        found = [self._place.gateway, here, f"{here}.local", "localhost", *self._settings.hosts]
        addresses = ["127.0.0.1", own_address(), *([] if host in ("0.0.0.0", "::") else [host])]
        return list(dict.fromkeys([*found, *addresses]))

    # -- the child -----------------------------------------------------------------------------------------------

    def _wait(self, supervisor: Supervisor) -> None:
        """Do nothing until somebody comes."""
        assert self._socket is not None
        asyncio.get_running_loop().add_reader(self._socket, self._come, supervisor)

    def _come(self, supervisor: Supervisor) -> None:
        assert self._socket is not None
        asyncio.get_running_loop().remove_reader(self._socket)
        self._keep(self._start(supervisor), "dashboard: start")

    async def _start(self, supervisor: Supervisor) -> None:
        try:
            self._runner = await supervisor.add(self._child(), on_exit=lambda code: self._ended(supervisor, code))
        except EdgetwinError as error:
            log.error("the dashboard does not start: %s", error)
            await asyncio.sleep(RETRY_S)
            self._wait(supervisor)

    def _ended(self, supervisor: Supervisor, code: int) -> None:
        """One that failed is started again by the supervisor; one that nobody needed is waited for no more."""
        if code == 0 and self._runner is not None:
            runner, self._runner = self._runner, None
            self._keep(self._rest(supervisor, runner), "dashboard: rest")

    async def _rest(self, supervisor: Supervisor, runner: ChildRunner) -> None:
        await supervisor.remove(runner)
        self._wait(supervisor)

    def _child(self) -> Child:
        assert self._socket is not None
        place, fd = self._place, self._socket.fileno()
        certfile = str(self._certfile()) if self._settings.secure else ""
        setup = PageSetup(
            fd=fd,
            gateway=place.gateway,
            state=str(place.state),
            names=tuple(self._names()),
            broker_host=place.broker[0],
            broker_port=place.broker[1],
            account=place.account.name,
            password=place.account.password,
            certfile=certfile,
            keyfile=self._settings.keyfile or certfile,
            log_level=place.log_level,
            first_s=place.first_s,
            idle_s=place.idle_s,
        )
        argv = (sys.executable, "-m", "edgehub.web.process")
        return Child("dashboard", argv, stdin=setup.model_dump_json().encode(), level_of=_level_of, pass_fds=(fd,))

    def _keep(self, work: Coroutine[object, object, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _listening(host: str, port: int, *, more: int) -> socket.socket:
    """The socket, on the first port that is free. Raises OSError of the port that was asked for."""
    failed: OSError | None = None
    for one in range(port, min(port + more, 65535) + 1):
        try:
            return _bound(host, one)
        except OSError as error:
            failed = failed or error
    assert failed is not None
    raise failed


def _bound(host: str, port: int) -> socket.socket:
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(_BACKLOG)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made


def _url(settings: WebSettings, listening: socket.socket) -> str:
    host, port = settings.address[0], listening.getsockname()[1]
    if host in ("0.0.0.0", "::"):
        host = own_address()
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if settings.secure else 'http'}://{shown}:{port}"


def _level_of(line: str) -> int:
    return logging.getLevelNamesMapping().get(line.partition(" ")[0], logging.INFO)
