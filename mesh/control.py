"""The unix socket between the mesh's process and its owner, or between it and its workers: frames both ways.

The owner listens, on a socket that is 0600 in a folder that is 0700; only processes of the same account are listened
to. A line that is lost or carries nonsense ends the process, and whoever started it starts it again and says
everything anew: there is one way to begin.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

from mesh.errors import ControlError
from mesh.frames import MAX_FRAME_BYTES, Cutter

log = logging.getLogger(__name__)

MAX_UNSENT_BYTES: Final = 2 * MAX_FRAME_BYTES
CONNECT_TIMEOUT_S: Final = 5.0
_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid


class Line(asyncio.Protocol):
    """One end of the socket. ``took`` is called with each frame, ``lost`` once when it is over."""

    def __init__(self, took: Callable[[Line, bytes], None], lost: Callable[[Line], None]) -> None:
        self._took = took
        self._lost = lost
        self._cutter = Cutter()
        self._transport: asyncio.Transport | None = None
        self._full = False

    @property
    def unsent_bytes(self) -> int:
        """What the other end has not read yet."""
        return self._transport.get_write_buffer_size() if self._transport else 0

    def send(self, frame: bytes) -> bool:
        """Send a frame of ``frames.encode``. False if the line is gone, which a line that nobody reads from soon is."""
        if self._transport is None or self._transport.is_closing():
            return False
        if self.unsent_bytes > MAX_UNSENT_BYTES:
            log.warning("The other end of the mesh's socket reads nothing; it is closed")
            self._transport.abort()
            return False
        self._transport.write(frame)
        return True

    def close(self) -> None:
        """End it after what was sent."""
        if self._transport is not None:
            self._transport.close()

    # -- asyncio.Protocol ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclasses
        peer = _uid(transport.get_extra_info("socket"))
        if peer not in (os.geteuid(), 0):
            log.warning("A process of the account %d is not listened to", peer)
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        assert self._transport is not None
        if self._transport.is_closing():
            return
        try:
            for frame in self._cutter.take(data):
                self._took(self, frame)
        except ControlError as error:
            log.warning("The mesh's socket is closed: %s", error)
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        del exc
        self._lost(self)


async def connect(path: Path, took: Callable[[Line, bytes], None], lost: Callable[[Line], None]) -> Line:
    """The mesh's end of its owner's socket. Raises ControlError."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, line = await asyncio.get_running_loop().create_unix_connection(lambda: Line(took, lost), str(path))
    except (OSError, TimeoutError) as error:
        message = f"nobody answers at {path}: {error}"
        raise ControlError(message, remedy="The hub starts this process; to run without one, give --table") from error
    return line


async def attach(sock: socket.socket, took: Callable[[Line, bytes], None], lost: Callable[[Line], None]) -> Line:
    """A line over a connected socket."""
    _, line = await asyncio.get_running_loop().create_unix_connection(lambda: Line(took, lost), sock=sock)
    return line


def _uid(sock: socket.socket) -> int:
    found: tuple[int, int, int] = _CREDENTIALS.unpack(
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )
    return found[1]
