"""A line: frames on a transport. Words are awaited one by one; bytes go to a bridge."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Protocol, TypeVar, cast

from mesh.tunnel.frames import Cutter, Words, frame, frames, read_words, words

M = TypeVar("M", bound=Words)
_WAITING: Final = 4
"""Frames that may come before anyone asks for them; then nothing more is read."""


class Far(Protocol):
    """Takes what comes over a line once the words are said."""

    def came(self, body: bytes) -> None:
        """Bytes; empty: the end of them."""

    def lost(self) -> None:
        """The line is gone."""

    def hold(self, *, full: bool) -> None:
        """The line takes no more for now, or does again."""


class Line(asyncio.Protocol):
    """One end of a line."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.gone = False
        self.on_gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._cutter = Cutter()
        self._came: deque[bytes] = deque()
        self._asked: asyncio.Future[None] | None = None
        self._far: Far | None = None
        self._held = False

    # -- words ---------------------------------------------------------------------------------------------------------

    async def hear(self, model: type[M]) -> M:
        """The next words. Raises BadFrame, ConnectionError; the caller bounds the time."""
        while not self._came:
            if self.gone:
                text = "the line was closed"
                raise ConnectionResetError(text)
            self._asked = asyncio.get_running_loop().create_future()
            try:
                await self._asked
            finally:
                self._asked = None
        body = self._came.popleft()
        self._read_on()
        return read_words(model, body)

    def say(self, said: Words) -> None:
        """Send words."""
        if self.transport is not None and not self.gone:
            self.transport.write(words(said))

    def early(self) -> bytes:
        """What came after the words, for whoever reads the transport from now on instead of this line."""
        return b"".join(map(frame, self._came)) + self._cutter.left()

    # -- bytes ---------------------------------------------------------------------------------------------------------

    def join(self, far: Far) -> None:
        """Give all that comes from now on to a bridge."""
        self._far = far
        if self._held:
            far.hold(full=True)
        while self._came:
            far.came(self._came.popleft())
        self._read_on()
        if self.gone:
            far.lost()

    def send(self, content: bytes) -> None:
        """Send bytes."""
        if self.transport is not None and not self.gone:
            self.transport.write(b"".join(frames(content)))

    def send_end(self) -> None:
        """Say that no more bytes come."""
        if self.transport is not None and not self.gone:
            self.transport.write(bytes(2))

    def hold(self, *, full: bool) -> None:
        """Read nothing more for now, or go on."""
        if self.transport is None or self.gone:
            return
        if full:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def close(self) -> None:
        """Send what is written, and close."""
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Close now."""
        if self.transport is not None:
            self.transport.abort()

    # -- asyncio's side ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is over."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are none by class

    def data_received(self, data: bytes) -> None:
        """More of it."""
        for body in self._cutter.feed(data):
            if self._far is not None:
                self._far.came(body)
                continue
            self._came.append(body)
        if self._far is None and len(self._came) >= _WAITING and self.transport is not None:
            self.transport.pause_reading()
        if self._asked is not None and not self._asked.done() and self._came:
            self._asked.set_result(None)

    def pause_writing(self) -> None:
        """Its buffer is full."""
        self._held = True
        if self._far is not None:
            self._far.hold(full=True)

    def resume_writing(self) -> None:
        """There is room again."""
        self._held = False
        if self._far is not None:
            self._far.hold(full=False)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        del exc
        self.gone = True
        if not self.on_gone.done():
            self.on_gone.set_result(None)
        if self._asked is not None and not self._asked.done():
            self._asked.set_result(None)
        if self._far is not None:
            self._far.lost()

    def _read_on(self) -> None:
        if self.transport is not None and not self.gone and not self.transport.is_reading():
            self.transport.resume_reading()
