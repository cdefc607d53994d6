"""The mesh's own process, and the line to it: started again when it ends, and told everything anew each time."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from mesh.control import Line
from mesh.errors import ControlError
from mesh.frames import FromMesh, FromOwner, encode, from_mesh
from twin.supervisor import Child, ChildRunner, Supervisor

log = logging.getLogger(__name__)

SOCKET: Final = "mesh.sock"
HUNG_S: Final = 15.0
"""How long it may give no sign of life before it is killed."""
FIRST_SIGN_S: Final = 60.0
"""The same at first: a slow board needs long to load the program."""
LATELY_MS: Final = 600_000
_PEER: Final = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid
_LEVELS: Final = {"DEBUG": logging.DEBUG, "WARNING": logging.WARNING, "ERROR": logging.ERROR}


class MeshChild:
    """One gateway's. ``on_up`` is called when it can be told things, ``on_frame`` with all that it says."""

    def __init__(
        self,
        run: Path,
        on_up: Callable[[], None],
        on_frame: Callable[[FromMesh], None],
        on_down: Callable[[], None],
        hung_s: float = HUNG_S,
    ) -> None:
        self._run = run
        self._on_up = on_up
        self._on_frame = on_frame
        self._on_down = on_down
        self._hung_s = hung_s
        self._line: Line | None = None
        self._server: asyncio.Server | None = None
        self._runner: ChildRunner | None = None
        self._supervisor: Supervisor | None = None

    async def open(self, supervisor: Supervisor) -> None:
        """Start it. Raises ChildError if that is not possible, OSError if there is no place for its socket."""
        self._supervisor = supervisor
        self._server = await asyncio.get_running_loop().create_unix_server(self._came, sock=_listening(self._run))
        # A relative path, for that of a socket may be no longer than 107 bytes.
        argv = (sys.executable, "-m", "mesh.process", "--control", SOCKET)
        self._runner = await supervisor.add(
            Child("mesh", argv, cwd=self._run, level_of=level_of, watchdog_s=self._hung_s, first_sign_s=FIRST_SIGN_S)
        )

    async def close(self) -> None:
        """End it."""
        if self._supervisor is not None and self._runner is not None:
            await self._supervisor.remove(self._runner)
        if self._server is not None:
            self._server.close()
        line, self._line = self._line, None
        if line is not None:
            line.close()
        with suppress(OSError):
            (self._run / SOCKET).unlink(missing_ok=True)

    @property
    def pid(self) -> int:
        """The process; 0: there is none right now."""
        return (self._runner.pid or 0) if self._runner is not None else 0

    @property
    def restarts(self) -> int:
        """How often it was started again."""
        return self._runner.restarts if self._runner is not None else 0

    def failed(self, now_ms: int) -> str:
        """How it ended lately of itself; empty: it did not."""
        runner = self._runner
        return runner.last_end if runner is not None and now_ms - runner.last_end_ms < LATELY_MS else ""

    def send(self, frame: FromOwner) -> bool:
        """Tell it something; False: it is not there, and is told everything when it comes."""
        return self._line is not None and self._line.send(encode(frame))

    def _came(self) -> Line:
        return _MadeLine(self._took, self._lost, self._made)

    def _made(self, line: Line, pid: int) -> bool:
        """A connection: whether it is of our own process. Another's would end what is there."""
        if self.pid not in (0, pid):
            log.warning("process %d is not the mesh's, and is not listened to", pid)
            return False
        before, self._line = self._line, line
        if before is not None:
            before.close()
        self._on_up()
        return True

    def _took(self, line: Line, frame: bytes) -> None:
        if line is not self._line:
            return
        try:
            said = from_mesh(frame)
        except ControlError as error:
            log.error("the mesh is begun anew: %s", error)
            line.close()
            return
        self._on_frame(said)

    def _lost(self, line: Line) -> None:
        if line is self._line:
            self._line = None
            self._on_down()


class _MadeLine(Line):
    """A line that is shown to its owner before anything is said or heard on it."""

    def __init__(
        self,
        took: Callable[[Line, bytes], None],
        lost: Callable[[Line], None],
        made: Callable[[Line, int], bool],
    ) -> None:
        super().__init__(took, lost)
        self._made = made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        if not self._made(self, _PEER.unpack(peer)[0]):
            self.close()


def _listening(run: Path) -> socket.socket:
    """The socket in a folder that is ours alone; reached by the folder's number, for its path may be too long."""
    folder = os.open(run, os.O_PATH | os.O_DIRECTORY)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path = Path(f"/proc/self/fd/{folder}/{SOCKET}")
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        path.chmod(0o600)
    except OSError:
        listener.close()
        raise
    finally:
        os.close(folder)
    listener.setblocking(False)
    return listener


def level_of(line: str) -> int:
    """The level that a line of the process begins with."""
    return _LEVELS.get(line.partition(":")[0], logging.INFO)
