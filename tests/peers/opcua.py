"""npm's node-opcua in a child process, of which a test asks to be as it was at the start.

A start costs seconds of CPU, so the tests of a session share one; ``reset`` is what keeps them apart.
"""

from __future__ import annotations

import asyncio
import json
import os
import selectors
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.ports import free_port
from twin.model import Value

MODULES = Path(__file__).parents[2] / ".cache" / "peers" / "node_modules"
SERVER = Path(__file__).with_name("opcua_server.js")
START_S = 60.0
ANSWER_S = 60.0


class OpcuaServer:
    """Listens on a port that stays the same; what it says is in ``server.log`` of the folder."""

    host = "127.0.0.1"

    def __init__(self, folder: Path, *arguments: object, **environment: str) -> None:
        self.port = free_port()
        self._folder = folder
        self._command = ["node", str(SERVER), str(self.port), str(folder), *map(str, arguments)]
        self._environment = {**os.environ, "PEER_MODULES": str(MODULES), **environment}
        self._process: subprocess.Popen[bytes] | None = None
        self._number = 0

    @property
    def url(self) -> str:
        return f"opc.tcp://{self.host}:{self.port}"

    def start(self) -> None:
        """Also after a stop. Where it runs already nothing is done."""
        if self._process is not None:
            return
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0,
                env=self._environment,
            )  # fmt: skip
        self._until("READY", START_S)

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def reset(self) -> None:
        """Every node is as it was at the start."""
        self._tell("reset")

    async def set(self, name: str, value: Value) -> None:
        await asyncio.to_thread(self._tell, f"set {name} {json.dumps(value, ensure_ascii=False)}")

    async def get(self, name: str) -> Value:
        value: Value = json.loads(await asyncio.to_thread(self._tell, f"get {name}"))
        return value

    async def status(self, name: str, code: str) -> None:
        await asyncio.to_thread(self._tell, f"status {name} {code}")

    async def event(self, message: str, severity: int) -> None:
        await asyncio.to_thread(self._tell, f"event {message} {severity}")

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _tell(self, line: str) -> str:
        assert self._process is not None
        assert self._process.stdin is not None
        self._number += 1  # so that no late answer is taken for another one
        self._process.stdin.write(f"{self._number} {line}\n".encode())
        return self._until(f"DONE {self._number}", ANSWER_S)

    def _until(self, wanted: str, wait_s: float) -> str:
        """The value that it told before it said what is wanted."""
        assert self._process is not None
        assert self._process.stdout is not None
        said = ""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while True:
                line = b""
                while not line.endswith(b"\n"):
                    assert selector.select(wait_s), f"no {wanted} in {wait_s} s"
                    byte = self._process.stdout.read(1)
                    assert byte, (self._folder / "server.log").read_text()[-2000:]
                    line += byte
                text = line.decode().rstrip("\n")
                if text == wanted:
                    return said
                said = text.removeprefix("VALUE ")


def need_node_opcua() -> None:
    """Skip the test where it is not installed."""
    if shutil.which("node") is None or not (MODULES / "node-opcua-server").exists():
        pytest.skip("node-opcua is not there: it needs npm, then tools/peers.sh")
