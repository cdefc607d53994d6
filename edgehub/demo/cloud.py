"""The demo's own cloud: `edgetwin cloud run` as a child, on loopback, joined by the demo's gateway over the line."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final

from edgehub.cloud_keys import CloudKeys
from edgehub.enrolment import join
from twin.errors import EdgetwinError
from twin.supervisor import PARENT_ENV
from twin.wire.enrolment import JoinToken

NEEDS: Final = ("fastapi", "uvicorn")
READY_S: Final = 30.0
CONFIG: Final = "edgetwin-cloud.yaml"
_PROGRAM: Final = (
    "import os; from twin.parent import die_with_parent; "
    f"die_with_parent(int(os.environ[{PARENT_ENV!r}])); from edgehub.cli import main; main()"
)
_PORTS: Final = ("GATEWAYS", "APPS", "WEB")


def is_installed() -> bool:
    """Whether what a cloud needs beside a gateway is there."""
    return all(importlib.util.find_spec(name) is not None for name in NEEDS)


class DemoCloud:
    """The child and its folder. Its ports stay the same from one demo to the next, if they are free."""

    def __init__(self, folder: Path, log_file: Path) -> None:
        self.folder = folder
        self._log_file = log_file
        self._ports: dict[str, int] = {}

    @property
    def gateways_port(self) -> int:
        """Where its broker takes gateways."""
        return self._ports["GATEWAYS"]

    @property
    def apps_port(self) -> int:
        """Where its broker takes users."""
        return self._ports["APPS"]

    @property
    def url(self) -> str:
        """Its page and its REST interface."""
        return f"https://localhost:{self._ports['WEB']}"

    @contextlib.asynccontextmanager
    async def running(self, gateway: str, keys: CloudKeys) -> AsyncIterator[None]:
        """Start it, and have the gateway join it if it has not. Raises EdgetwinError, with the reason in the log."""
        self._ports = await asyncio.to_thread(self._find_ports)
        (self.folder / CONFIG).write_text(self._settings(), encoding="ascii")
        if not (self.folder / "ca").exists():
            await self._command("init")
            shutil.rmtree(keys.folder, ignore_errors=True)
        with self._log_file.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", _PROGRAM, "cloud", "run"),
                env=self._environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            await self._ready(process)
            if keys.connection() is None:
                token = json.loads(await self._command("token", "create", "--gateway", gateway, "--json"))["token"]
                await join(JoinToken.read(token), gateway, keys)
            yield
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()

    def _find_ports(self) -> dict[str, int]:
        file = self.folder / "demo-ports.json"
        with contextlib.suppress(OSError, ValueError):
            known = json.loads(file.read_text(encoding="ascii"))
            if all(_is_free(known[name]) for name in _PORTS):
                return {name: known[name] for name in _PORTS}
        shutil.rmtree(self.folder, ignore_errors=True)  # its users' files name the old ports
        self.folder.mkdir(mode=0o700, parents=True)
        with contextlib.ExitStack() as stack:
            probes = {name: stack.enter_context(socket.socket()) for name in _PORTS}
            for probe in probes.values():
                probe.bind(("127.0.0.1", 0))
            ports = {name: probe.getsockname()[1] for name, probe in probes.items()}
        file.write_text(json.dumps(ports), encoding="ascii")
        return ports

    def _settings(self) -> str:
        """A file, so that `edgetwin cloud user add` beside the demo knows the same places."""
        listen = {name: f"127.0.0.1:{port}" for name, port in self._ports.items()}
        return (
            "public: {host: localhost}\n"
            f'broker: {{gateways: "{listen["GATEWAYS"]}", apps: "{listen["APPS"]}"}}\n'
            f'web: {{listen: "{listen["WEB"]}"}}\n'
        )

    def _environment(self) -> Mapping[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("EDGETWIN_")}
        return {
            **inherited,
            PARENT_ENV: str(os.getpid()),
            "EDGETWIN_CLOUD_STATE": str(self.folder),
            "EDGETWIN_CLOUD_CONFIG": str(self.folder / CONFIG),
        }

    async def _command(self, *words: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _PROGRAM, "cloud", *words),
            env=self._environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(READY_S):
            out, error = await process.communicate()
        if process.returncode:
            message = f"`edgetwin cloud {words[0]}` failed: {error.decode(errors='replace').strip()}"
            raise EdgetwinError(message, remedy=f"Remove {self.folder} to begin with a new cloud.")
        return out.decode()

    async def _ready(self, process: asyncio.subprocess.Process) -> None:
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + READY_S
        while process.returncode is None and loop.time() < ends_s:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self._ports["WEB"])
            except OSError:
                await asyncio.sleep(0.1)
            else:
                writer.close()
                return
        message = f"the demo's cloud did not start; {self._log_file} says why"
        raise EdgetwinError(message, remedy=f"Remove {self.folder} to begin with a new cloud.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
