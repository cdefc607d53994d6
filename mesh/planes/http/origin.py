"""One connection to an endpoint: sends a request, reads the answer to it, and is kept for the next."""

from __future__ import annotations

import asyncio
import select
from enum import Enum
from typing import Final, Protocol, cast

from mesh.planes.http.bad_message import BadMessage
from mesh.planes.http.body import BodyReader, ChunkReader, LengthReader, UntilCloseReader
from mesh.planes.http.fields import Lines
from mesh.planes.http.head import MAX_HEAD_BYTES, Framing, ResponseHead, read_response
from mesh.planes.http.pool import Pool
from mesh.upstream import Target

_HEADS: Final = 256
_HEAD_BYTES: Final = 1024
_MOST_INTERIMS: Final = 50
"""So many 1xx may come before an answer."""


class Asker(Protocol):
    """Who sent the request, and is told of the answer. Of `whole`, `done`, `broken`, `bad` exactly one comes, once."""

    def whole(self, origin: OriginConnection, head: ResponseHead, raw: bytes, end: int) -> None:
        """The answer came in one piece; its body is ``raw[end:]``. The connection is free."""

    def interim(self, head: ResponseHead) -> None:
        """Something before the answer, such as 100 Continue."""

    def began(self, head: ResponseHead, framing: Framing) -> None:
        """The answer's head."""

    def piece(self, content: bytes) -> None:
        """Some of its body."""

    def done(self, origin: OriginConnection, trailers: bytes) -> None:
        """Its end. The connection is free."""

    def switched(self, head: ResponseHead, rest: bytes) -> None:
        """The endpoint changed the protocol: bytes go through as they are from now on."""

    def broken(self, origin: OriginConnection) -> None:
        """The connection ended before the answer did."""

    def bad(self, origin: OriginConnection, why: BadMessage) -> None:
        """What came is no answer."""

    def stop(self) -> None:
        """The connection takes no more for now."""

    def go_on(self) -> None:
        """It takes more again."""

    def half_closed(self) -> None:
        """The endpoint sends no more through the tunnel."""


class _Stage(Enum):
    IDLE = 1
    HEAD = 2
    BODY = 3
    TUNNEL = 4
    OVER = 5


# Looking a member up in its Enum takes longer than anything else that is done for a request.
_IDLE: Final = _Stage.IDLE
_HEAD: Final = _Stage.HEAD
_BODY: Final = _Stage.BODY
_TUNNEL: Final = _Stage.TUNNEL
_OVER: Final = _Stage.OVER


class Heads:
    """Heads that were read lately, by their very bytes: endpoints send the same ones again and again."""

    __slots__ = ("_lines", "get", "known")

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self.known: dict[bytes, ResponseHead] = {}
        self.get = self.known.get

    def read(self, raw: bytes) -> ResponseHead:
        """Read a head that is not known. Raises BadMessage."""
        head = read_response(raw, self._lines)
        if len(raw) <= _HEAD_BYTES:
            if len(self.known) >= _HEADS:
                self.known.clear()
            self.known[raw] = head
        return head


class OriginConnection(asyncio.Protocol):
    """A connection of a pool."""

    __slots__ = (
        "_buffer",
        "_close_after",
        "_heads",
        "_interims",
        "_known",
        "_reader",
        "_stage",
        "_to_head",
        "asker",
        "home",
        "idle_since_s",
        "pool",
        "requests",
        "target",
        "transport",
        "usable",
    )

    transport: asyncio.Transport

    def __init__(self, pool: Pool, target: Target, heads: Heads) -> None:
        self.pool = pool
        self.target = target
        self.asker: Asker | None = None
        self.requests = 0
        self.home = pool.home(target)
        """Where it rests when it has nothing to do."""
        self.idle_since_s = 0.0
        self.usable = False
        """It stands, and may be asked something."""
        self._heads = heads
        self._known = heads.get
        self._stage = _IDLE
        self._buffer = b""
        self._reader: BodyReader | None = None
        self._to_head = False
        self._interims = 0
        self._close_after = False

    # -- what is asked of it ---------------------------------------------------------------------------------------

    def ask(self, asker: Asker, *, to_head: bool) -> None:
        """Wait for the answer to a request that is sent now. ``to_head``: no body comes back."""
        self.asker = asker
        self.requests += 1
        self._to_head = to_head
        self._interims = 0
        self._stage = _HEAD

    def drop(self) -> None:
        """Nobody wants the answer any more: the connection cannot be used for another."""
        self.asker = None
        self.usable = False
        self._stage = _OVER
        self.transport.abort()

    def leave(self) -> None:
        """Nobody wants what still comes; what was given to it is sent."""
        self.asker = None
        self.usable = False
        self._stage = _OVER
        self.transport.close()

    def close(self) -> None:
        """End it when all is sent."""
        self.usable = False
        self.transport.close()

    def ended_by_peer(self) -> bool:
        """Whether its end is here already; asked before something is sent that must not be sent twice."""
        sock = self.transport.get_extra_info("socket")
        if sock is None or sock.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(sock.fileno(), select.POLLIN | select.POLLRDHUP)
        return bool(poll.poll(0))

    # -- what the loop tells ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It stands."""
        self.transport = cast(asyncio.Transport, transport)
        self.usable = True

    def data_received(self, data: bytes) -> None:
        """Read some of the answer."""
        stage = self._stage
        if stage is _HEAD:
            if self._buffer:
                data = self._buffer + data
                self._buffer = b""
            end = data.find(b"\r\n\r\n") + 4
            if end > 3:
                raw = data[:end]
                head = self._known(raw)
                # The usual answer: it is known, it is all here, and nothing has to be seen to.
                if head is not None and head.simple and len(data) == end + head.length and not self._to_head:
                    asker = self.asker
                    assert asker is not None
                    self.asker = None
                    self._stage = _IDLE
                    asker.whole(self, head, data, end)
                    return
                self._read_head(data, end, head)
            elif len(data) > MAX_HEAD_BYTES:
                self._bad(BadMessage(f"The endpoint's head is longer than {MAX_HEAD_BYTES} bytes", status=502))
            else:
                self._buffer = data
        elif stage is _BODY:
            self._take(data)
        elif stage is _TUNNEL:
            assert self.asker is not None
            self.asker.piece(data)
        elif stage is _IDLE:
            # Nothing was asked: what comes now would be taken for the answer to the next request.
            self.drop()

    def eof_received(self) -> bool:
        """The endpoint sends no more."""
        if self._stage is _TUNNEL:
            assert self.asker is not None
            self.asker.half_closed()
            return True
        self.usable = False
        if self._stage is _BODY and isinstance(self._reader, UntilCloseReader):
            self._done(b"")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        del exc
        self.usable = False
        self._stage = _OVER
        self.pool.open -= 1
        if self.asker is not None:
            asker, self.asker = self.asker, None
            asker.broken(self)

    def pause_writing(self) -> None:
        """Too much waits to be sent."""
        if self.asker is not None:
            self.asker.stop()

    def resume_writing(self) -> None:
        """Enough of it was sent."""
        if self.asker is not None:
            self.asker.go_on()

    # -- the rest --------------------------------------------------------------------------------------------------

    def _read_head(self, data: bytes, end: int, head: ResponseHead | None) -> None:
        asker = self.asker
        assert asker is not None
        try:
            head = head or self._heads.read(data[:end])
        except BadMessage as bad:
            self._bad(bad)
            return
        if head.status == 101:
            self._stage = _TUNNEL
            asker.switched(head, data[end:])
            return
        if head.status < 200:
            self._interims += 1
            if self._interims > _MOST_INTERIMS:
                self._bad(BadMessage("The endpoint does not come to its answer", status=502))
                return
            asker.interim(head)
            if data[end:] and self._stage is _HEAD:
                self.data_received(data[end:])
            return
        framing = Framing.NONE if self._to_head else head.framing
        self._close_after = head.close or framing is Framing.UNTIL_CLOSE
        whole = framing is Framing.NONE or (framing is Framing.LENGTH and len(data) - end >= head.length)
        if whole:
            stop = end if framing is Framing.NONE else end + head.length
            if len(data) > stop:
                self._close_after = True
                data = data[:stop]
            self.asker = None
            self._stage = _IDLE
            self.usable = self.usable and not self._close_after
            asker.whole(self, head, data, end)
            return
        self._stage = _BODY
        if framing is Framing.LENGTH:
            self._reader = LengthReader(head.length)
        else:
            self._reader = ChunkReader() if framing is Framing.CHUNKED else UntilCloseReader()
        asker.began(head, framing)
        if len(data) > end and self._stage is _BODY:
            self._take(data[end:])

    def _take(self, data: bytes) -> None:
        reader, asker = self._reader, self.asker
        assert reader is not None
        assert asker is not None
        try:
            content = reader.take(data)
        except BadMessage as bad:
            self._bad(bad)
            return
        if content:
            asker.piece(content)
        if reader.ended and self._stage is _BODY:
            self._close_after = self._close_after or bool(reader.rest)
            self._done(reader.trailers)

    def _done(self, trailers: bytes) -> None:
        asker = self.asker
        assert asker is not None
        self.asker = None
        self._reader = None
        self._stage = _IDLE
        self.usable = self.usable and not self._close_after
        asker.done(self, trailers)

    def _bad(self, why: BadMessage) -> None:
        asker = self.asker
        self.drop()
        if asker is not None:
            asker.bad(self, why)
