"""The machine that is provisioned, behind one seam: its files, its commands, its clock, its gateway."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

from hardware.provision.render import MachineFile
from twin.private_file import sync_folder
from twin.wire.enrolment import JoinToken

COMMAND_S: Final = 30
SYNCHRONIZED: Final = PurePosixPath("/run/systemd/timesync/synchronized")
RTC: Final = PurePosixPath("/dev/rtc0")


class Machine(Protocol):
    """What the steps need of a machine. Files raise OSError."""

    def read(self, path: PurePosixPath) -> str | None:
        """The text of a file; None: it is not there."""

    def write(self, file: MachineFile) -> None:
        """Write a file whole; on disk when this returns."""

    def names(self, folder: PurePosixPath) -> Iterable[PurePosixPath]:
        """The files of a folder; none if it is not there."""

    def remove(self, path: PurePosixPath) -> None:
        """Remove a file."""

    def run(self, *command: str) -> str:
        """Run a command; why it failed, or an empty text."""

    def doubt_of_clock(self) -> str:
        """Why the clock cannot be right; empty: it may be believed."""

    def joined(self) -> str:
        """The name under which the gateway has joined a cloud; empty: it has not."""

    async def join(self, token: JoinToken, gateway: str) -> None:
        """Join a cloud; the key is made here. Raises EdgetwinError."""

    async def apply(self, documents: str) -> bool:
        """Apply documents; whether anything changed. Raises EdgetwinError."""


class ThisMachine:
    """The machine that we run on; ``root`` is where its files are, ``/`` but in a mounted image."""

    def __init__(self, root: Path, release_s: float) -> None:
        self._root = root
        self._release_s = release_s
        """Seconds since 1970 before which this program did not exist."""

    def read(self, path: PurePosixPath) -> str | None:
        try:
            return self._at(path).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def write(self, file: MachineFile) -> None:
        path = self._at(file.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as made:
                os.fchmod(made.fileno(), 0o600 if file.secret else 0o644)
                made.write(file.text)
                made.flush()
                os.fsync(made.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        sync_folder(path.parent)

    def names(self, folder: PurePosixPath) -> Iterable[PurePosixPath]:
        here = self._at(folder)
        return sorted(folder / one.name for one in here.iterdir()) if here.is_dir() else ()

    def remove(self, path: PurePosixPath) -> None:
        self._at(path).unlink(missing_ok=True)

    def run(self, *command: str) -> str:
        if self._root != Path("/"):
            return ""  # the commands tell running services of a change; those of an image do not run
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=False)
        except FileNotFoundError:
            return f"there is no {command[0]} here"
        except subprocess.TimeoutExpired:
            return f"{command[0]} took longer than {COMMAND_S} s"
        return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or [f"{command[0]} failed"])[-1]

    def doubt_of_clock(self) -> str:
        now_s = time.time()
        if now_s < self._release_s:
            made, now = (time.strftime("%Y-%m-%d", time.gmtime(one)) for one in (self._release_s, now_s))
            return f"the clock says {now}, this program was made {made}"
        if not self._at(SYNCHRONIZED).exists() and not self._at(RTC).exists():
            return "the machine has no clock of its own, and no time server has been reached yet"
        return ""

    def joined(self) -> str:
        from edgehub.cloud_keys import CloudKeys  # heavy, and not every file has a cloud
        from edgehub.commands.session import folder

        known = CloudKeys(folder().keys).connection()
        return known.gateway if known is not None else ""

    async def join(self, token: JoinToken, gateway: str) -> None:
        from edgehub.cloud_keys import CloudKeys
        from edgehub.commands.session import folder
        from edgehub.enrolment import join

        place = folder()
        place.make()
        await join(token, gateway, CloudKeys(place.keys))

    async def apply(self, documents: str) -> bool:
        from edgehub.commands.session import folder, hub_client
        from edgehub.offline import apply_offline
        from edgehub.state import NotRunning
        from twin.wire.api import ApplyMode, ApplyRequest, DocumentSource

        request = ApplyRequest(sources=[DocumentSource(name="provisioning", text=documents)])
        try:
            async with hub_client() as client:
                reply = await client.apply(request.sources, mode=ApplyMode.APPLY, dry_run=False)
        except NotRunning:
            reply = apply_offline(folder(), request)
        return any(one.action != "unchanged" for one in reply.changes)

    def _at(self, path: PurePosixPath) -> Path:
        return self._root / path.relative_to("/")
