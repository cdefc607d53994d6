"""Independent peers for the Modbus driver: libmodbus, pyModbusTCP and modbus-serial; stunnel and socat before them."""

from __future__ import annotations

import asyncio
import os
import selectors
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pyModbusTCP.server import DataBank, ModbusServer

from mappers.modbus.config import ModbusConnection
from mappers.modbus.driver import ModbusDriver
from tests.ports import free_port

SOURCE = Path(__file__).parents[2] / "peers" / "modbus_server.c"
SERIAL_SOURCE = SOURCE.with_name("modbus_serial_server.js")
MODULES = Path(__file__).parents[3] / ".cache" / "peers" / "node_modules"
WAIT_S = 10.0


@dataclass
class Peer:
    """A running libmodbus server."""

    process: subprocess.Popen[bytes]
    port: int = 0

    def reads(self) -> list[tuple[int, int, int]]:
        """(function, address, count) of the reads so far; ends the server, which must have been started with --log."""
        return [tuple(words) for kind, *words in self._log() if kind == "read"]

    def functions(self) -> list[int]:
        """Function of each request so far; ends the server, which must have been started with --log."""
        return [words[0] for _, *words in self._log()]

    def _log(self) -> list[tuple]:
        self.process.terminate()
        out, _ = self.process.communicate(timeout=WAIT_S)
        return [(line.split()[0], *map(int, line.split()[1:])) for line in out.decode().splitlines()]


Serve = Callable[..., Peer]


@pytest.fixture(scope="session")
def libmodbus_server(tmp_path_factory) -> Path:
    """The compiled server."""
    _needs("gcc", "gcc")
    binary = tmp_path_factory.mktemp("peers") / "modbus_server"
    flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-I/usr/include/modbus"]
    built = subprocess.run(
        ["gcc", *flags, "-o", binary, SOURCE, "-lmodbus"], capture_output=True, text=True, timeout=60, check=False
    )
    if built.returncode and not Path("/usr/include/modbus/modbus.h").exists():
        pytest.fail("the Debian package libmodbus-dev is missing: apt-get install libmodbus-dev", pytrace=False)
    assert built.returncode == 0, built.stderr
    return binary


@pytest.fixture
def serve(libmodbus_server) -> Iterator[Serve]:
    """Start servers; they end with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*options: object) -> Peer:
        process = subprocess.Popen([libmodbus_server, *map(str, options)], stdout=subprocess.PIPE, bufsize=0)
        started.append(process)
        ready = _line(process.stdout)
        assert ready.startswith("READY"), f"the server said {ready!r}"
        return Peer(process, int(ready.split()[1]) if "--tcp" in options else 0)

    yield start
    for process in started:
        _end(process)


@pytest.fixture
def serial_pair(tmp_path) -> Iterator[tuple[Path, Path]]:
    """Two ends of a serial line."""
    _needs("socat", "socat")
    ends = tmp_path / "device", tmp_path / "gateway"
    sides = [f"pty,raw,echo=0,link={end}" for end in ends]
    process = subprocess.Popen(["socat", "-d", "-d", *sides], stderr=subprocess.PIPE, bufsize=0)
    try:
        while "starting data transfer loop" not in _line(process.stderr):
            assert process.poll() is None
        yield ends
    finally:
        _end(process)


@pytest.fixture
def rtu_gateway(serial_pair, unused_port) -> Iterator[tuple[Path, int]]:
    """The far end of a serial line, and the port of a socat that carries its bytes over TCP."""
    device, near = serial_pair
    listener = f"TCP-LISTEN:{unused_port},bind=127.0.0.1,reuseaddr,fork"
    process = subprocess.Popen(["socat", "-d", "-d", listener, f"{near},raw,echo=0"], stderr=subprocess.PIPE, bufsize=0)
    try:
        while "listening on" not in _line(process.stderr):
            assert process.poll() is None
        yield device, unused_port
    finally:
        _end(process)


@pytest.fixture
def stunnel(tmp_path) -> Iterator[Callable[..., int]]:
    """Start stunnel before a port; gives its own port. keys: of its configuration."""
    _needs("stunnel4", "stunnel4")
    started: list[subprocess.Popen[bytes]] = []

    def start(port: int, **keys: object) -> int:
        own = free_port()
        lines = ["foreground = yes", "pid =", "debug = notice", "[modbus]", f"accept = 127.0.0.1:{own}",
                 f"connect = 127.0.0.1:{port}", *(f"{key} = {value}" for key, value in keys.items())]  # fmt: skip
        config = tmp_path / f"stunnel-{own}.conf"
        config.write_text("\n".join(lines) + "\n")
        process = subprocess.Popen(["stunnel4", config], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, bufsize=0)
        started.append(process)
        while "Configuration successful" not in _line(process.stderr):
            assert process.poll() is None
        return own

    yield start
    for process in started:
        _end(process)


@pytest.fixture
def modbus_serial() -> Iterator[Callable[..., int]]:
    """Start servers of npm's modbus-serial; gives their ports."""
    if not (MODULES / "modbus-serial").is_dir():
        pytest.skip("npm's modbus-serial is not installed: run tools/peers.sh where there is npm")
    started: list[subprocess.Popen[bytes]] = []

    def start(unit: int, vendor: str = "Acme", product: str = "P1", revision: str = "1.2") -> int:
        port = free_port()
        process = subprocess.Popen(
            ["node", SERIAL_SOURCE, str(port), str(unit), vendor, product, revision],
            stdout=subprocess.PIPE, bufsize=0, env={**os.environ, "PEER_MODULES": str(MODULES)},
        )  # fmt: skip
        started.append(process)
        assert _line(process.stdout).startswith("READY")
        return port

    yield start
    for process in started:
        _end(process)


@pytest.fixture
def pymodbustcp() -> Iterator[tuple[int, DataBank]]:
    """A pyModbusTCP server: its port and its tables."""
    port = free_port()
    bank = DataBank(h_regs_size=200, i_regs_size=200, coils_size=200, d_inputs_size=200)
    server = ModbusServer("127.0.0.1", port, no_block=True, data_bank=bank)
    server.start()
    yield port, bank
    server.stop()


@pytest.fixture
async def connect():
    """Connected drivers by port, closed with the test."""
    drivers: list[ModbusDriver] = []

    async def open_driver(port: int, **settings: object) -> ModbusDriver:
        config = ModbusConnection.model_validate({"host": "127.0.0.1", "port": port, **settings})
        driver = ModbusDriver(config)
        drivers.append(driver)
        await driver.connect()
        return driver

    yield open_driver
    for driver in drivers:
        await driver.close()


@dataclass
class Scripted:
    """A TCP host whose answers a test writes; ``requests`` are the PDUs that came."""

    port: int
    requests: list[bytes]


Answer = Callable[[int, bytes], Awaitable[bytes | None]]


@pytest.fixture
async def scripted() -> AsyncIterator[Callable[[Answer], Awaitable[Scripted]]]:
    """Serve what answer(unit, request PDU) returns: a PDU, or None for silence; an OSError resets the connection."""
    servers: list[asyncio.Server] = []
    writers: list[asyncio.StreamWriter] = []

    async def start(answer: Answer) -> Scripted:
        requests: list[bytes] = []

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            try:
                while True:
                    header = await reader.readexactly(7)
                    request = await reader.readexactly(int.from_bytes(header[4:6], "big") - 1)
                    requests.append(request)
                    if reply := await answer(header[6], request):
                        writer.write(header[:4] + (len(reply) + 1).to_bytes(2, "big") + header[6:] + reply)
            except (OSError, asyncio.IncompleteReadError):
                writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        servers.append(server)
        return Scripted(server.sockets[0].getsockname()[1], requests)

    yield start
    for server in servers:
        server.close()
    for writer in writers:
        writer.close()
        await writer.wait_closed()


@pytest.fixture
def unused_port() -> int:
    """A port that nothing listens on."""
    return free_port()


@pytest.fixture
def rtu_frame() -> Callable[[bytes], bytes]:
    """Append the checksum of a serial frame, by the specification's bitwise rule."""

    def framed(body: bytes) -> bytes:
        crc = 0xFFFF
        for byte in body:
            crc ^= byte
            for _ in range(8):
                crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
        return body + crc.to_bytes(2, "little")

    return framed


def _needs(program: str, package: str) -> None:
    if shutil.which(program) is None:
        pytest.fail(f"the Debian package {package} is missing: apt-get install {package}", pytrace=False)


def _line(stream) -> str:
    """Read one line of an unbuffered pipe, or fail after WAIT_S."""
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            assert selector.select(WAIT_S), f"only {line!r} in {WAIT_S} s"
            byte = stream.read(1)
            if not byte:
                break
            line += byte
    return line.decode()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(WAIT_S)
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
