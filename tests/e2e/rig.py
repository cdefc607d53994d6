"""A real gateway as a user has it, and a device that shares no code with ours; used by the tests of this folder."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pyModbusTCP.server import DataBank, ModbusServer

from edgehub.state import CliAccess, StateFolder
from tests.typist import typed
from twin.client import TwinClient
from twin.errors import EdgetwinError
from twin.link.mqtt import MqttLink
from twin.link.options import MqttOptions

START_S = 60.0
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

    def run(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
        """Run one command to its end, as a shell would."""
        return typed(arguments, self.environment, 60, stdin=stdin)

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
