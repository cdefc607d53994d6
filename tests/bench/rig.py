"""What the benchmarks run on: a folder on the real disk, a broker with our generated config, children, a hub."""

from __future__ import annotations

import asyncio
import os
import pwd
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, TypeVar

from edgehub.broker import Broker
from edgehub.state import CliAccess, NotRunning, StateFolder
from tests.ports import free_port
from twin.broker_accounts import Account, full_access, new_password
from twin.client import TwinClient
from twin.clock import SystemClock
from twin.link.mqtt import MqttLink
from twin.link.options import MqttOptions
from twin.mosquitto import find_mosquitto
from twin.supervisor import Supervisor

T = TypeVar("T")

ROOT: Final = Path(__file__).parents[2]
EDGETWIN: Final = (str(Path(sys.executable).parent / "edgetwin"),)
WAIT_S: Final = 20.0
_MOSQUITTO: Final = ("mosquitto", "/usr/sbin/mosquitto", ROOT / ".cache" / "mosquitto" / "mosquitto")
_SOURCE: Final = ROOT / "tests" / "peers" / "modbus_server.c"


@dataclass(frozen=True, slots=True)
class RunningBroker:
    """A broker and the account on it that may use every topic."""

    port: int
    account: Account

    @property
    def login(self) -> list[str]:
        """Arguments of a child that connects: port, account, password."""
        return [str(self.port), self.account.name, self.account.password]

    def options(self, client_id: str) -> MqttOptions:
        """Options of a link of ours."""
        return MqttOptions("127.0.0.1", self.port, client_id, self.account.name, self.account.password)


@dataclass(frozen=True, slots=True)
class Hub:
    """A running `edgetwin run`, and a client of its API."""

    pid: int
    client: TwinClient
    state: Path


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder beside the sources, so never on a tmpfs; removed at the end."""
    base = ROOT / ".cache"
    base.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=base))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def environment(**more: str) -> dict[str, str]:
    """The environment of a user: nothing of edgetwin's is set, and Python may keep its compiled files."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("EDGETWIN_")}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return kept | more


@contextmanager
def child(argv: Sequence[str], *, env: Mapping[str, str] | None = None, log: Path | None = None) -> Iterator[Child]:
    """A child process with pipes; it is ended at the end, and by the kernel if we die."""
    setpriv = shutil.which("setpriv")
    tied = [setpriv, "--pdeathsig", "KILL", "--", *argv] if setpriv else list(argv)
    with open(log or os.devnull, "wb") as errors:  # noqa: PTH123 os.devnull is no path of ours
        process = subprocess.Popen(
            tied, cwd=ROOT, env=env or environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        )
    try:
        yield Child(process)
    finally:
        _end(process)


@dataclass(frozen=True, slots=True)
class Child:
    """A child process."""

    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """Its process id; setpriv replaces itself."""
        return self.process.pid

    @property
    def ended(self) -> bool:
        """Whether it runs no more."""
        return self.process.poll() is not None

    def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        pipe: IO[bytes] | None = self.process.stdin
        assert pipe is not None
        pipe.write(line.encode() + b"\n")
        pipe.flush()

    async def line(self, timeout_s: float = WAIT_S) -> str:
        """The next line of its standard output."""
        pipe = self.process.stdout
        assert pipe is not None
        line = await asyncio.wait_for(asyncio.to_thread(pipe.readline), timeout_s)
        if not line:
            message = f"child {self.process.args!r} ended with {self.process.poll()}"
            raise RuntimeError(message)
        return line.decode().strip()


def module(name: str, *arguments: str) -> list[str]:
    """Command of a Python module of ours."""
    return [sys.executable, "-m", name, *arguments]


@asynccontextmanager
async def broker(folder: Path) -> AsyncIterator[RunningBroker]:
    """Mosquitto with our generated config."""
    hub = full_access("hub", new_password())
    binary = await find_mosquitto(_MOSQUITTO)
    async with (
        Supervisor(clock=SystemClock(), rng=random.Random()) as supervisor,
        Broker(
            binary=binary.path,
            folder=folder / "broker",
            port=free_port(),
            hub=hub,
            accounts=(),
            user=pwd.getpwuid(os.geteuid()).pw_name,
            supervisor=supervisor,
        ) as running,
    ):
        yield RunningBroker(running.port, hub)


@asynccontextmanager
async def hub(state: Path, on: RunningBroker | None = None) -> AsyncIterator[Hub]:
    """`edgetwin run`, with its own mosquitto or on a broker of ours; leaving it is a clean end."""
    with child([*EDGETWIN, "run"], env=hub_environment(state, on), log=state.with_suffix(".log")) as process:
        async with api(state, process) as client:
            yield Hub(process.pid, client, state)


def hub_environment(state: Path, on: RunningBroker | None = None, port: int = 0) -> dict[str, str]:
    """Settings of a hub, all through the environment."""
    named = {"EDGETWIN_STATE": str(state), "EDGETWIN_LOG_LEVEL": "warning"}
    if on is None:
        return environment(EDGETWIN_BROKER_PORT=str(port or free_port()), **named)
    url = f"mqtt://127.0.0.1:{on.port}"
    login = {"EDGETWIN_BROKER_USERNAME": on.account.name, "EDGETWIN_BROKER_PASSWORD": on.account.password}
    return environment(EDGETWIN_BROKER_URL=url, **login, **named)


@asynccontextmanager
async def api(state: Path, process: Child) -> AsyncIterator[TwinClient]:
    """A client of this hub, as soon as it serves."""
    try:
        access = await until(lambda: process.ended or _access(state, process.pid))
    except TimeoutError:
        access = None
    if not isinstance(access, CliAccess):
        log = state.with_suffix(".log").read_text(encoding="utf-8", errors="replace")
        message = f"the hub does not serve; the end of its log:\n{log[-2000:]}"
        raise RuntimeError(message)
    name = f"bench-{random.randrange(2**32):x}"
    options = MqttOptions(access.host, access.port, name, access.account, access.password)
    async with MqttLink(options, rng=random.Random()) as link:
        await link.connected(WAIT_S)
        async with TwinClient(link, account=access.account, client=name) as client:
            yield client


async def until(ready: Callable[[], T], *, timeout_s: float = WAIT_S) -> T:
    """Wait for a condition that nobody announces. Raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while not (found := ready()):  # noqa: ASYNC110 another process tells us nothing
            await asyncio.sleep(0.002)
        return found


@asynccontextmanager
async def modbus_server(folder: Path, *options: str) -> AsyncIterator[int]:
    """The libmodbus peer; gives its port."""
    async with modbus_peer(folder, "--tcp", "0", *options) as (_, ready):
        yield int(ready.split()[1])


@asynccontextmanager
async def modbus_peer(folder: Path, *options: str) -> AsyncIterator[tuple[Child, str]]:
    """The libmodbus peer, over TCP or on a line; gives the process and what it said when it was ready."""
    binary = folder / "modbus_server"
    if not binary.exists():
        flags = ["-O2", "-I/usr/include/modbus", "-o", str(binary), str(_SOURCE), "-lmodbus"]
        await asyncio.to_thread(subprocess.run, ["gcc", *flags], check=True, timeout=60)
    with child([str(binary), *options]) as process:
        yield process, await process.line()


@asynccontextmanager
async def serial_line(folder: Path) -> AsyncIterator[tuple[Path, Path]]:
    """Two ends of a serial line, by socat."""
    ends = folder / "device", folder / "gateway"
    with child(["socat", *(f"pty,raw,echo=0,link={end}" for end in ends)]):
        await until(lambda: all(end.exists() for end in ends))
        yield ends


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pss_mb(pid: int) -> float:
    """Proportional set size in MB (10^6 bytes)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e6
    message = f"process {pid} tells no Pss"
    raise RuntimeError(message)


def rss_mb(pid: int) -> float:
    """Resident set size in MB (10^6 bytes), shared pages included."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    message = f"process {pid} tells no RSS"
    raise RuntimeError(message)


def _access(state: Path, pid: int) -> CliAccess | None:
    try:
        access = CliAccess.read(StateFolder(state))
    except NotRunning:
        return None
    return access if access.pid == pid else None


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5.0)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
