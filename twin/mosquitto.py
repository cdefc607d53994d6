"""What every broker of ours needs: the Mosquitto program, a port that is free, a probe, what its lines mean."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import re
import shutil
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from twin.broker_accounts import Account
from twin.clock import Clock
from twin.errors import EdgetwinError

MINIMUM_VERSION: Final = (2, 0)
UNPACKED_MOSQUITTO: Final = Path(__file__).parent.parent / ".cache" / "mosquitto" / "mosquitto"
CANDIDATES: Final = ("mosquitto", "/usr/sbin/mosquitto", UNPACKED_MOSQUITTO)

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


def line_level(line: str) -> int:
    """Give the log level of a line that Mosquitto wrote."""
    if line.startswith("Error"):
        return logging.ERROR
    if line.startswith("Warning") and "should not be run as root" not in line:  # it must read the hub's 0600 files
        return logging.WARNING
    return logging.DEBUG


async def accepts(host: str, port: int, account: Account, client_id: str = "edgetwin-probe") -> bool:
    """Whether a CONNECT (MQTT 3.1.1) with this account is answered with CONNACK 0.

    Whoever had the client id before loses its connection.
    """
    name, password = account.name.encode(), account.password.encode()
    body = b"\x00\x04MQTT\x04\xc2\x00\x05" + b"".join(
        len(part).to_bytes(2, "big") + part for part in (client_id.encode(), name, password)
    )
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    try:
        writer.write(b"\x10" + _length(len(body)) + body)
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


def _length(number: int) -> bytes:
    """A length as MQTT writes it: seven bits a byte, the lowest first."""
    low, rest = number % 128, number // 128
    return bytes([low | 0x80]) + _length(rest) if rest else bytes([low])


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
