"""Joins a line with a local connection: bytes across, ends and resets too."""

from __future__ import annotations

import asyncio
import socket
from typing import Final, cast

from mesh.planes.l4.pair import reset_on_close
from mesh.tunnel.line import Line

_HIGH_BYTES: Final = 256 * 1024


class Bridge(asyncio.Protocol):
    """The local connection's protocol, and what the line gives its bytes to. ``done`` is set when both are over."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._local: asyncio.Transport | None = None
        self._near_ended = False
        self._far_ended = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # -- from the local connection -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It stands: from now on bytes go across."""
        self._local = cast(asyncio.Transport, transport)  # uvloop's are none by class
        self._local.set_write_buffer_limits(high=_HIGH_BYTES)
        self._line.join(self)

    def data_received(self, data: bytes) -> None:
        """To the other gateway."""
        self._line.send(data)

    def eof_received(self) -> bool:
        """The end of this direction alone."""
        self._near_ended = True
        self._line.send_end()
        self._end_if_over()
        return True

    def pause_writing(self) -> None:
        """The local connection takes no more for now."""
        self._line.hold(full=True)

    def resume_writing(self) -> None:
        """It does again."""
        self._line.hold(full=False)

    def connection_lost(self, exc: Exception | None) -> None:
        """Closed by us after both ends, or reset."""
        del exc
        if not (self._near_ended and self._far_ended):
            self._line.abort()
        if not self.done.done():
            self.done.set_result(None)

    # -- from the line -------------------------------------------------------------------------------------------------

    def came(self, body: bytes) -> None:
        """From the other gateway; empty: the end of it."""
        if self._local is None or self._far_ended:
            return
        if body:
            self._local.write(body)
        else:
            self._far_ended = True
            if not self._local.is_closing():
                self._local.write_eof()
            self._end_if_over()

    def lost(self) -> None:
        """Without both ends that was a reset, and is one here."""
        if self._local is None or (self._near_ended and self._far_ended):
            return
        sock = self._local.get_extra_info("socket")
        reset_on_close(sock)
        self._local.abort()

    def hold(self, *, full: bool) -> None:
        """The line takes no more for now, or does again."""
        if self._local is None or self._local.is_closing() or self._near_ended:
            return
        if full:
            self._local.pause_reading()
        else:
            self._local.resume_reading()

    def _end_if_over(self) -> None:
        if self._near_ended and self._far_ended and self._local is not None:
            self._local.close()
            self._line.close()


def loopback_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection within this process; unlike a socketpair it can be reset. Raises OSError."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        near = socket.socket()
        try:
            near.setblocking(False)
            near.connect_ex(listener.getsockname())
            listener.settimeout(1.0)
            while True:
                far, _ = listener.accept()
                if far.getpeername() == near.getsockname():
                    break
                far.close()  # somebody else's
        except BaseException:
            near.close()
            raise
    for end in (near, far):
        end.setblocking(False)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return near, far
