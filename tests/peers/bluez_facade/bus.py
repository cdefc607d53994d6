"""A D-Bus of one's own: a dbus-daemon on a socket in a folder, in which everybody may do everything."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from types import TracebackType
from typing import Final

_START_S: Final = 10.0
_CONFIG: Final = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
    <allow user="*"/>
  </policy>
</busconfig>
"""


class PrivateBus:
    """Entering it starts the daemon and gives the bus's address, for ``DBUS_SYSTEM_BUS_ADDRESS``."""

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "bus"
        self._config = folder / "bus.conf"
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> str:
        self._config.write_text(_CONFIG.format(socket=self._socket))
        setpriv = shutil.which("setpriv")
        tied = [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []  # it ends with us, however we end
        self._process = await asyncio.create_subprocess_exec(
            *tied, "dbus-daemon", f"--config-file={self._config}", "--nofork", "--print-address",
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        async with asyncio.timeout(_START_S):
            address = (await self._process.stdout.readline()).decode().strip()
        assert address, "dbus-daemon did not start"
        return address

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        assert self._process is not None
        self._process.kill()
        await self._process.communicate()
