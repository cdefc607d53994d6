"""The gateway's own Mosquitto: which program, which port, and the child process with its generated files."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import re
import shutil
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from edgehub.listeners import LegacySettings, TlsSettings
from edgehub.mosquitto_conf import (
    NO_RULES_YET,
    Account,
    BrokerPlan,
    LegacyPlan,
    Rule,
    TlsPlan,
    acl_text,
    anonymous_acl_text,
    mosquitto_conf,
    new_password,
    password_text,
)
from twin.clock import Clock
from twin.errors import EdgetwinError
from twin.private_file import write_private
from twin.supervisor import Child, ChildRunner, Supervisor

DEFAULT_PORT: Final = 1883
MINIMUM_VERSION: Final = (2, 0)

_VERSION: Final = re.compile(r"mosquitto version (\d+)\.(\d+)(?:\.(\d+))?")
_PREVIOUS_PORT_S: Final = 3.0
_PORTS_TRIED: Final = 100
_INSTALL: Final = (
    "Install Mosquitto 2.0 or newer (Debian: apt-get install mosquitto), or name its path in broker.mosquitto."
)

log = logging.getLogger(__name__)


class BrokerError(EdgetwinError):
    """The broker child is missing, too old or does not come up."""

    code = "broker"


@dataclass(frozen=True, slots=True)
class Mosquitto:
    """A usable Mosquitto binary."""

    path: Path
    version: tuple[int, int, int]


def port_choices(wanted: int, count: int = _PORTS_TRIED) -> range:
    """List the ports to try in order: the wanted one, then those above it."""
    return range(wanted, min(wanted + count, 65536))


async def choose_port(wanted: int, *, clock: Clock, previous: int | None = None, host: str = "127.0.0.1") -> int:
    """Find a port that can be bound: the previous one (waiting up to three seconds for it), the wanted, the next free.

    A previous broker may still be dying after a SIGKILL, and clients know its port. 0 means any free port.
    Raises BrokerError if none is free.
    """
    if previous is not None:
        deadline_s = clock.monotonic_s() + _PREVIOUS_PORT_S
        while True:
            if can_bind(host, previous):
                return previous
            if clock.monotonic_s() >= deadline_s:
                log.warning("port %d of the last run is taken by another program, trying %d", previous, wanted)
                break
            await asyncio.sleep(0.05)
    if wanted == 0:
        return _any_port(host)
    for port in port_choices(wanted):
        if can_bind(host, port):
            return port
    message = f"no port from {wanted} to {port_choices(wanted)[-1]} on {host} is free"
    raise BrokerError(message, remedy="Set broker.port in edgetwin.yaml to a free one.")


def can_bind(host: str, port: int) -> bool:
    """Whether a listener can be opened there right now, as Mosquitto would (with SO_REUSEADDR)."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL):
                return False
            raise
        return True


async def find_mosquitto(candidates: Sequence[str | Path]) -> Mosquitto:
    """Take the first candidate (a path or a name on PATH) that runs and is new enough.

    Raises BrokerError naming every candidate and what was wrong with it.
    """
    problems = []
    for candidate in candidates:
        found = shutil.which(str(candidate))
        if found is None:
            problems.append(f"{candidate}: not found")
            continue
        version = await _version_of(found)
        if version is None:
            problems.append(f"{candidate}: does not run, or does not tell its version")
        elif version[:2] < MINIMUM_VERSION:
            problems.append(f"{candidate}: version {'.'.join(map(str, version))} is older than 2.0")
        else:
            return Mosquitto(Path(found), version)
    raise BrokerError("no usable MQTT broker; " + "; ".join(problems), remedy=_INSTALL)


class Broker:
    """The running broker child. ``async with`` starts it and returns when it answers to the hub's account."""

    def __init__(
        self,
        *,
        binary: Path,
        folder: Path,
        port: int,
        hub: Account,
        accounts: Sequence[Account],
        user: str,
        supervisor: Supervisor,
        tls: TlsSettings | None = None,
        legacy: LegacySettings | None = None,
        anonymous: Sequence[Rule] = (),
        start_timeout_s: float = 10.0,
    ) -> None:
        self._binary = binary
        self._folder = folder
        self._hub = hub
        self._accounts = (hub, *accounts)
        self._supervisor = supervisor
        self._start_timeout_s = start_timeout_s
        self._runner: ChildRunner | None = None
        self._anonymous = tuple(anonymous)
        """What clients of the legacy listener may do."""
        self._plan = BrokerPlan(
            port,
            folder / "passwords",
            folder / "acl",
            user,
            tls=_tls_plan(tls, folder),
            legacy=_legacy_plan(legacy, folder),
        )

    @property
    def host(self) -> str:
        """Address it listens on."""
        return self._plan.host

    @property
    def port(self) -> int:
        """Port it listens on."""
        return self._plan.port

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return None if self._runner is None else self._runner.pid

    async def __aenter__(self) -> Self:
        """Write the files and start the child. Raises BrokerError if it does not come up."""
        for setting, listener in (("tls", self._plan.tls), ("legacy", self._plan.legacy)):
            if listener is not None and not can_bind(listener.host, listener.port):
                where = f"port {listener.port} on {listener.host}"
                message = f"broker.{setting}.listen: {where} is taken, or the address is not of this host"
                raise BrokerError(message, remedy="Choose another port, or end the program that listens there.")
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._write_accounts()
        conf = self._folder / "mosquitto.conf"
        write_private(conf, mosquitto_conf(self._plan))
        child = Child("mosquitto", (str(self._binary), "-c", str(conf)), level_of=line_level)
        self._runner = await self._supervisor.add(child)
        try:
            async with asyncio.timeout(self._start_timeout_s):
                await self._answering()
        except TimeoutError:
            await self.__aexit__()
            message = f"{self._binary} did not answer on {self.host}:{self.port} within {self._start_timeout_s:.0f} s"
            remedy = f"Read the lines of edgehub.child.mosquitto in the log; its config is {conf}."
            raise BrokerError(message, remedy=remedy) from None
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """End the child and remove the files with secrets."""
        if self._runner is not None:
            await self._supervisor.remove(self._runner)
            self._runner = None
        self._plan.password_file.unlink(missing_ok=True)

    def set_accounts(self, accounts: Sequence[Account]) -> None:
        """Replace all accounts but the hub's; Mosquitto rereads the files at once, live sessions stay."""
        self._accounts = (self._hub, *accounts)
        self._write_accounts()
        if self._runner is not None:
            self._runner.send(signal.SIGHUP)

    def _write_accounts(self) -> None:
        write_private(self._plan.password_file, password_text(self._accounts))
        write_private(self._plan.acl_file, acl_text(self._accounts))
        if self._plan.tls is not None:
            outside = [account for account in self._accounts if account.outside]
            write_private(self._plan.tls.acl_file, NO_RULES_YET + acl_text(outside))
        if self._plan.legacy is not None:
            write_private(self._plan.legacy.acl_file, anonymous_acl_text(self._anonymous))

    async def _answering(self) -> None:
        """Wait until the port is our child's: it takes the hub's password and, unlike an open broker, no other."""
        stranger = Account(self._hub.name, new_password())
        while not (  # noqa: ASYNC110 another process tells us nothing but by answering
            await _accepts(self.host, self.port, self._hub) and not await _accepts(self.host, self.port, stranger)
        ):
            await asyncio.sleep(0.02)


def _tls_plan(tls: TlsSettings | None, folder: Path) -> TlsPlan | None:
    if tls is None or not tls.listen:
        return None
    host, port = tls.address
    cafile = Path(tls.cafile).absolute() if tls.cafile else None
    files = Path(tls.certfile).absolute(), Path(tls.keyfile).absolute(), cafile
    return TlsPlan(host, port, *files, tls.require_certificate, folder / "acl-certificates")


def _legacy_plan(legacy: LegacySettings | None, folder: Path) -> LegacyPlan | None:
    return LegacyPlan(*legacy.address, folder / "acl-legacy") if legacy is not None and legacy.listen else None


def line_level(line: str) -> int:
    """Give the log level of a line that Mosquitto wrote."""
    if line.startswith("Error"):
        return logging.ERROR
    if line.startswith("Warning") and "should not be run as root" not in line:  # it must read the hub's 0600 files
        return logging.WARNING
    return logging.DEBUG


async def _accepts(host: str, port: int, account: Account) -> bool:
    """Whether a CONNECT (MQTT 3.1.1) with this account is answered with CONNACK 0."""
    name, password = account.name.encode(), account.password.encode()
    body = b"\x00\x04MQTT\x04\xc2\x00\x05" + b"".join(
        len(part).to_bytes(2, "big") + part for part in (b"edgetwin-probe", name, password)
    )
    length = bytes([len(body)]) if len(body) < 128 else bytes([len(body) % 128 | 0x80, len(body) // 128])
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    try:
        writer.write(b"\x10" + length + body)
        async with asyncio.timeout(2.0):
            answer = await reader.readexactly(4)
        writer.write(b"\xe0\x00")  # DISCONNECT
        await writer.drain()
    except (OSError, EOFError, TimeoutError):
        return False
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return answer == b"\x20\x02\x00\x00"


async def _version_of(path: str) -> tuple[int, int, int] | None:
    try:
        process = await asyncio.create_subprocess_exec(
            path,
            "-h",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError:
        return None
    try:
        async with asyncio.timeout(5.0):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return None
    match = _VERSION.search(output.decode(errors="replace"))
    return None if match is None else (int(match[1]), int(match[2]), int(match[3] or 0))


def _any_port(host: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
