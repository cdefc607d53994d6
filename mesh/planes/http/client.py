"""One connection of a client: takes requests out of its bytes, one after the other, and gives them to its exchange.

    HEAD ──head──> BODY ──its end──> ANSWER ──answered──> HEAD        (a request without a body skips BODY)
                                        └──101──> TUNNEL              (LINGER: answered before it was all here)

What a client sends before its answer is there waits, bounded: requests are served in their order, one at a time.
"""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from contextlib import suppress
from enum import Enum
from typing import Final, cast

from mesh.planes.http.answers import answer
from mesh.planes.http.bad_message import BadMessage
from mesh.planes.http.body import BodyReader, ChunkReader, LengthReader
from mesh.planes.http.exchange import Exchange
from mesh.planes.http.head import MAX_HEAD_BYTES, Framing, check_unfinished
from mesh.planes.http.rules import Front, Plan
from mesh.planes.http.shared import Shared, Times
from mesh.tally import Tally

_AHEAD_BYTES: Final = 65_536
"""So much of later requests is taken from a client while an earlier one is served."""
_RESET: Final = struct.pack("ii", 1, 0)


class _Stage(Enum):
    HEAD = 1
    BODY = 2
    ANSWER = 3
    TUNNEL = 4
    LINGER = 5


_HEAD: Final = _Stage.HEAD
_BODY: Final = _Stage.BODY
_ANSWER: Final = _Stage.ANSWER
_TUNNEL: Final = _Stage.TUNNEL
_LINGER: Final = _Stage.LINGER


class ClientConnection(asyncio.Protocol):
    """A client of a frontend. ``closing``: its connection ends after the answer that is due."""

    __slots__ = (
        "_ahead",
        "_choked",
        "_ended",
        "_exchange",
        "_reader",
        "_reading",
        "_shared",
        "_since_s",
        "_stage",
        "_stopped",
        "_told_all",
        "address",
        "address_line",
        "closing",
        "edge",
        "front",
        "id_line",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, shared: Shared, front: Front, address: str) -> None:
        self.front = front
        self.address = address
        self.address_line = address.encode("ascii") + b"\r\n"
        self.id_line = b""
        """After the client's address, the beginning of a line that each request ends with a number of its own."""
        self.closing = shared.closing
        self.edge: Tally | None = None
        """Where is counted what it asks of whom."""
        self._shared = shared
        self._exchange = Exchange(self, shared)
        self._stage = _HEAD
        self._ahead = b""
        """What came and is not read yet."""
        self._reader: BodyReader | None = None
        self._reading = False
        self._stopped = False
        self._ended = False
        """The client sends no more."""
        self._choked = False
        """It takes no more for now."""
        self._told_all = False
        """Nothing more comes for it through the tunnel."""
        self._since_s = 0.0
        """Since when the client is waited for."""
        self.begin_ids()

    # -- what the loop tells ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is here."""
        self.transport = cast(asyncio.Transport, transport)
        self._since_s = self._shared.now()
        self._shared.clients.add(self)

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        if self._stage is _HEAD and not self._ahead and not self._choked:
            plan = self.front.plans.get(data)
            if plan is not None:  # the usual request: its head is known, and it has no body
                self._stage = _ANSWER
                self._exchange.begin(plan)
                return
            if 3 < data.find(b"\r\n\r\n") + 4 == len(data) <= MAX_HEAD_BYTES and not data.startswith(b"\r"):
                self._take_head(data)
                return
        self._take(data)

    def eof_received(self) -> bool:
        """The client sends no more; what it asked for whole is answered."""
        self._ended = True
        if self._stage is _TUNNEL:
            self._exchange.half_close()
            if self._told_all:
                self._close()
            return True
        if self._stage is _ANSWER:
            self._since_s = self._shared.now()
            return True
        if self._stage is _BODY:
            self.transport.abort()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        del exc
        self._shared.left(self)
        self._exchange.abandon()
        self._ahead = b""

    def pause_writing(self) -> None:
        """The client is slower than the endpoint."""
        self._choked = True
        self._exchange.stop_origin()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._choked = False
        self._exchange.go_on_origin()
        if self._stage is _HEAD and self._ahead and not self._reading:
            self.go_on()
            self._read_heads()

    # -- what the exchange tells -----------------------------------------------------------------------------------

    def finished(self, *, close: bool) -> None:
        """The answer is given."""
        if self._stage is _BODY or self._stage is _LINGER:
            self._linger()
        elif close or (self._ended and not self._ahead):
            self._close()
        else:
            self._stage = _HEAD
            self._since_s = self._exchange.ended_s
            if self._stopped:
                self.go_on()
            if self._ahead and not self._reading:
                self._read_heads()

    def begin_ids(self) -> None:
        """Name requests from here on unlike those of before, and of all other connections."""
        self.id_line = b"%bX-Request-Id: %b%x-" % (self.address_line, self._shared.id_prefix, next(self._shared.ids))

    def tunnel(self) -> None:
        """Everything goes through as it is from now on."""
        self._stage = _TUNNEL
        if self._ahead:
            self._exchange.through(self._ahead)
            self._ahead = b""
        if self._stopped:
            self.go_on()

    def half_close(self) -> None:
        """Nothing more comes for the client."""
        self._told_all = True
        if self._ended:
            self._close()
        elif self.transport.can_write_eof():
            self._shared.flush()
            self.transport.write_eof()

    def stop(self) -> None:
        """Take nothing from the client for now."""
        if not self._stopped:
            self._stopped = True
            self.transport.pause_reading()

    def go_on(self) -> None:
        """Take from the client again."""
        if self._stopped and not self.transport.is_closing():
            self._stopped = False
            self._since_s = self._shared.now()
            self.transport.resume_reading()

    def break_off(self) -> None:
        """End so that the client sees that its answer is not whole: by a reset."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def end_soon(self) -> None:
        """End after the answer that is due; now if none is."""
        self.closing = True
        if self._stage is _HEAD and not self._ahead:
            self._close()

    def tick(self, now_s: float) -> None:
        """See whether the client takes too long."""
        times = self._shared.times
        waited_s = now_s - self._since_s
        if self._stage is _HEAD and self._choked:
            if waited_s >= times.still_s:
                self.transport.abort()
        elif self._stage is _HEAD:
            if self._ahead and waited_s >= times.head_s:
                self._refuse(BadMessage("The rest of the request did not come in time", status=408))
            elif waited_s >= times.idle_s:
                self._close()
        elif self._stage is _BODY and not self._stopped and waited_s >= times.body_s:
            self._refuse(BadMessage("The rest of the request did not come in time", status=408))
        elif waited_s >= self._patience_s(times):
            self.transport.abort()

    # -- the rest --------------------------------------------------------------------------------------------------

    def _close(self) -> None:
        """End when all is sent."""
        self._shared.flush()
        self.transport.close()

    def _patience_s(self, times: Times) -> float:
        """How long a client is kept of which nothing is wanted any more."""
        if self._stage is _LINGER:
            return times.linger_s
        return times.left_s if self._stage is _ANSWER and self._ended else math.inf

    def _take(self, data: bytes) -> None:
        stage = self._stage
        if stage is _HEAD:
            if not self._ahead:
                self._since_s = self._shared.now()
            self._ahead += data
            self._read_heads()
            if self._choked and len(self._ahead) > _AHEAD_BYTES:
                self.stop()
        elif stage is _BODY:
            self._since_s = self._shared.now()
            self._read_body(data)
        elif stage is _ANSWER:
            self._ahead += data
            if len(self._ahead) > _AHEAD_BYTES:
                self.stop()
        elif stage is _TUNNEL:
            self._exchange.through(data)

    def _take_head(self, raw: bytes) -> None:
        """What came is one head, and nothing else."""
        self._since_s = self._shared.now()
        try:
            plan = self.front.plan(raw)
        except BadMessage as bad:
            self._refuse(bad)
        else:
            self._begin(plan)

    def _read_heads(self) -> None:
        self._reading = True
        try:
            # Who does not read its answers gets no more of them.
            while self._stage is _HEAD and self._ahead and not self._choked and not self.transport.is_closing():
                if self._ahead.startswith(b"\r\n"):
                    self._ahead = self._ahead[2:]  # RFC 9112 2.2: some clients end a body with one
                    continue
                end = self._ahead.find(b"\r\n\r\n") + 4
                if end < 4:
                    check_unfinished(self._ahead)
                    if self._ended:
                        self._close()
                    return
                raw, self._ahead = self._ahead[:end], self._ahead[end:]
                if end > MAX_HEAD_BYTES:
                    check_unfinished(raw)
                self._begin(self.front.plan(raw))
        except BadMessage as bad:
            self._refuse(bad)
        finally:
            self._reading = False

    def _begin(self, plan: Plan) -> None:
        if not plan.has_body:
            self._stage = _ANSWER
            self._exchange.begin(plan)
            return
        head = plan.head
        self._stage = _BODY
        self._reader = ChunkReader() if head.framing is Framing.CHUNKED else LengthReader(head.length)
        self._exchange.begin(plan)
        if self._ahead and self._stage is _BODY:
            data, self._ahead = self._ahead, b""
            self._read_body(data)
        if self._ended and self._stage is _BODY:
            self.transport.abort()

    def _read_body(self, data: bytes) -> None:
        reader = self._reader
        assert reader is not None
        try:
            content = reader.take(data)
        except BadMessage as bad:
            self._refuse(bad)
            return
        if content:
            self._exchange.body(content)
        if reader.ended and self._stage is _BODY:
            self._reader = None
            self._stage = _ANSWER
            self._ahead = reader.rest
            self._exchange.body_ended(reader.trailers)

    def _refuse(self, why: BadMessage) -> None:
        """Tell the client what is wrong, and end the connection: where its next request would begin is not known."""
        answering = self._exchange.begun and self._exchange.started
        self._exchange.abandon()
        self._ahead = b""
        if answering:
            self.break_off()
            return
        self._shared.send(self.transport, answer(why.status, why.message, close=True))
        self._shared.watcher.refused(self.front, why.status)
        self._linger()

    def _linger(self) -> None:
        """Read on for a moment without looking: a reset would take the answer from the client."""
        self._stage = _LINGER
        self._since_s = self._shared.now()
        self._reader = None
        self.go_on()
        if self._ended or not self.transport.can_write_eof():
            self._close()
        else:
            self._shared.flush()
            self.transport.write_eof()
