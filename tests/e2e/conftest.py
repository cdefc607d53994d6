"""A real gateway as a user has it: the command in a process of its own, its broker, its mapper, a device."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest
from pyModbusTCP.server import DataBank, ModbusServer

from edgehub.state import CliAccess, StateFolder
from twin.client import TwinClient
from twin.errors import EdgetwinError
from twin.link.mqtt import MqttLink
from twin.link.options import MqttOptions

START_S = 20.0
T = TypeVar("T")

DOCUMENTS = """
apiVersion: edgetwin.dev/v1
kind: DeviceModel
metadata: {name: valve}
spec:
  properties:
    - {name: position, type: INT, accessMode: ReadWrite, minimum: 0, maximum: 1000, unit: "%"}
    - {name: mode, type: INT, accessMode: ReadWrite, minimum: 0, maximum: 3}
    - {name: flow, type: INT, accessMode: ReadOnly}
    - {name: count, type: INT, accessMode: ReadWrite}
---
apiVersion: edgetwin.dev/v1
kind: Connection
metadata: {name: bench}
spec: {mapper: modbus, config: {host: 127.0.0.1, port: ${PORT}, timeoutMs: 500}}
---
apiVersion: edgetwin.dev/v1
kind: Device
metadata: {name: v1, labels: {area: hall-1}}
spec:
  deviceModelRef: {name: valve}
  connection: bench
  address: {unit: 1}
  properties:
    - name: position
      collectCycle: 100ms
      visitors: {configData: {table: holding, address: 0, type: uint16}}
    - name: mode
      collectCycle: 100ms
      visitors: {configData: {table: holding, address: 1, type: uint16}}
    - name: flow
      collectCycle: 100ms
      visitors: {configData: {table: input, address: 0, type: uint16}}
---
apiVersion: edgetwin.dev/v1
kind: Device
metadata: {name: free}
spec:
  deviceModelRef: {name: valve}
"""


@dataclass
class Hub:
    """A gateway process and how to talk to it."""

    folder: StateFolder
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    log: Path = field(default_factory=Path)

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from edgehub.cli import main; main()", "run"],
                env=self.environment,
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(15)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def run(self, *arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[str]:
        """Run one command to its end, as a shell would."""
        done = subprocess.run(
            [sys.executable, "-c", "from edgehub.cli import main; main()", *arguments],
            env=self.environment,
            input=stdin,
            capture_output=True,
            timeout=60,
            check=False,
        )
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    @asynccontextmanager
    async def client(self, timeout_s: float = 10.0) -> AsyncIterator[TwinClient]:
        """A client with the command line's account, connected to the hub that runs now."""
        access = await self.access()
        name = f"test-{os.urandom(4).hex()}"
        async with MqttLink(MqttOptions(access.host, access.port, name, access.account, access.password)) as link:
            await link.connected(timeout_s)
            async with TwinClient(link, account=access.account, client=name, timeout_s=timeout_s) as client:
                yield client

    async def access(self) -> CliAccess:
        """The account file that the running hub wrote."""
        assert self.process is not None

        def written() -> CliAccess | None:
            try:
                access = CliAccess.read(self.folder)
            except EdgetwinError:
                return None
            return access if self.process is not None and access.pid == self.process.pid else None

        return await until(written, START_S, lambda: self.log.read_text()[-3000:])

    async def ready(self) -> None:
        """Wait until the hub answers."""
        async with self.client() as client:
            await client.status()


@dataclass
class Device:
    """A Modbus device that shares no code with our client: PyPI's pyModbusTCP."""

    port: int
    bank: DataBank
    server: ModbusServer

    def holding(self, address: int) -> int:
        words = self.bank.get_holding_registers(address, 1)
        assert words is not None
        return int(words[0])

    def set_input(self, address: int, value: int) -> None:
        self.bank.set_input_registers(address, [value])

    def set_holding(self, address: int, value: int) -> None:
        self.bank.set_holding_registers(address, [value])


async def until(probe: Callable[[], T | None], timeout_s: float, context: Callable[[], str] = lambda: "") -> T:
    """Wait for a probe to give something; what else could wait has no way to tell us."""
    deadline_s = time.monotonic() + timeout_s
    while (found := probe()) is None:
        assert time.monotonic() < deadline_s, f"nothing after {timeout_s} s\n{context()}"
        await asyncio.sleep(0.02)
    return found


@pytest.fixture
def device(free_port: Callable[[], int]) -> Iterator[Device]:
    """A running Modbus TCP device."""
    port = free_port()
    bank = DataBank()
    server = ModbusServer(host="127.0.0.1", port=port, no_block=True, data_bank=bank)
    server.start()
    yield Device(port, bank, server)
    if server.is_run:
        server.stop()


@pytest.fixture
def stopped_hub(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Hub]:
    """A gateway that is not running yet; whatever the test starts is ended."""
    folder = tmp_path / "state"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("EDGETWIN_")},
        "EDGETWIN_STATE": str(folder),
        "EDGETWIN_BROKER_PORT": str(free_port()),
        "EDGETWIN_GATEWAY_NAME": "gw-test",
        "PATH": os.environ["PATH"] + ":/usr/sbin",
    }
    hub = Hub(StateFolder(folder), environment, log=tmp_path / "hub.log")
    yield hub
    if hub.running:
        hub.stop()


@pytest.fixture
async def hub(stopped_hub: Hub) -> Hub:
    """A running, empty gateway."""
    stopped_hub.start()
    await stopped_hub.ready()
    return stopped_hub


@pytest.fixture
async def plant(hub: Hub, device: Device) -> Device:
    """A device with two twins on the running gateway: v1, which is read over Modbus, and free, which nobody reads."""
    from twin.wire.api import DocumentSource

    device.set_input(0, 17)
    text = DOCUMENTS.replace("${PORT}", str(device.port))
    async with hub.client() as client:
        await client.apply([DocumentSource(name="bench.yaml", text=text)])
    return device


def json_of(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    """What a command with --json said."""
    assert done.returncode in (0, 1), done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found
