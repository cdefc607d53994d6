"""Two sockets whose bytes go across, in both directions, until both have said their end.

    client ──read──> held ──write──> endpoint        Each direction holds at most one read: while the other side does
    client <──write── held <──read── endpoint        not take it, nothing more is read, and the sender is slowed down.

A stream that keeps filling the buffer is moved by os.splice, inside the kernel. An end (FIN) is passed on for its
direction alone; a reset is passed on as a reset, after what arrived before it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import socket
import struct
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mesh.planes.l4.pipes import SIZE_BYTES, Pipe, Pipes
from mesh.planes.l4.poller import BROKEN, READ, WRITE, Poller

BUFFER_BYTES: Final = 64 * 1024
_BIG_BYTES: Final = 16 * 1024
"""Reads of a stream worth splicing; below, splice costs more than it saves."""
_SPLICE_AFTER_BYTES: Final = 256 * 1024
_SMALL_TURNS: Final = 16
"""After so many small ones in a row a spliced direction is copied again."""
_LAST_BYTES_S: Final = 2.0
_LOOK_EVERY_S: Final = 0.01
_NOW: Final = struct.pack("ii", 1, 0)
_NO_SPLICE: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
_SPLICE_FLAGS: Final = 0x1 | 0x2  # SPLICE_F_MOVE, SPLICE_F_NONBLOCK: Python 3.11 has no names for them


@dataclass(slots=True, eq=False)
class Wire:
    """What the pairs of a process share. The buffer is free between two calls: whatever stays is copied out of it."""

    poller: Poller
    pipes: Pipes
    buffer: memoryview

    @classmethod
    def new(cls) -> Wire:
        """With a poller that is not open yet."""
        return cls(Poller(), Pipes(), memoryview(bytearray(BUFFER_BYTES)))


def reset(sock: socket.socket) -> None:
    """Close a socket so that the other side sees a reset, not an end."""
    reset_on_close(sock)
    sock.close()


def reset_on_close(sock: socket.socket) -> None:
    """The next close is a reset."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NOW)


def keep_alive(sock: socket.socket, idle_s: int) -> None:
    """Ask the other side now and then whether it is still there: one without power says nothing."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle_s)


def unsent_bytes(sock: socket.socket) -> int:
    """What the kernel has taken from us and the other side has not acknowledged."""
    try:
        return int.from_bytes(fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0\0\0\0"), "little")
    except OSError:
        return 0


class Side:
    """One socket of a pair, and the direction that begins at it."""

    __slots__ = (
        "broken", "buffer", "ended", "fd", "held", "in_pipe", "moved", "other", "pair", "pipe", "plugged", "ready",
        "recv_into", "send", "small", "sock", "streak", "watched",
    )  # fmt: skip

    other: Side

    def __init__(self, pair: Pair, sock: socket.socket) -> None:
        self.pair = pair
        self.buffer = pair.wire.buffer
        self.sock = sock
        self.fd = sock.fileno()
        self.recv_into = sock.recv_into
        self.send = sock.send
        self.moved = 0
        """Bytes read here."""
        self.held: memoryview | None = None
        """Read here, not yet taken by the other side; or it is in the pipe."""
        self.pipe: Pipe | None = None
        self.in_pipe = 0
        self.streak = 0
        self.small = 0
        self.ended = False
        """Nothing more comes from here, and the other side was told."""
        self.broken = False
        """Takes no bytes any more."""
        self.watched = 0
        self.plugged = False
        self.ready: Callable[[int], None] = self.copied

    # -- events --------------------------------------------------------------------------------------------------------

    def copied(self, events: int) -> None:
        """Read this socket once and write what was read to the other: the hot path."""
        if events != READ:
            self._other_events(events)
            return
        try:
            count = self.recv_into(self.buffer)
        except BlockingIOError:
            return
        except OSError:
            self.pair.broke(self)
            return
        if not count:
            self._end()
            return
        self.moved += count
        try:
            sent = self.other.send(self.buffer[:count])
        except BlockingIOError:
            sent = 0
        except OSError:
            self.other.fail()
            return
        if sent < count:
            self.held = memoryview(bytes(self.buffer[sent:count]))
            self._hold()
        if count >= _BIG_BYTES:
            self.streak += count
            if self.streak >= _SPLICE_AFTER_BYTES:
                self._go(self.spliced)
        elif self.streak:
            self.streak = 0

    def spliced(self, events: int) -> None:
        """The same, without the bytes ever being in this process."""
        if events != READ:
            self._other_events(events)
            return
        pipes = self.pair.wire.pipes
        pipe = pipes.take()
        if pipe is None:
            self._go(self.copied)
            return
        try:
            count = os.splice(self.fd, pipe.into, SIZE_BYTES, flags=_SPLICE_FLAGS)
        except BlockingIOError:
            pipes.give(pipe)
            return
        except OSError as problem:
            pipes.give(pipe)
            if problem.errno in _NO_SPLICE:
                self._go(self.copied)
            else:
                self.pair.broke(self)
            return
        if not count:
            pipes.give(pipe)
            self._end()
            return
        self.moved += count
        self.pipe, self.in_pipe = pipe, count
        if not self._drain():
            return
        if self.in_pipe:
            self._hold()
        self.small = self.small + 1 if count < _BIG_BYTES else 0
        if self.small > _SMALL_TURNS:
            self._go(self.copied)

    def _other_events(self, events: int) -> None:
        if self.watched & WRITE and events & (WRITE | BROKEN) and not self.other.flush():
            return
        if self.watched & READ:
            if events & (READ | BROKEN):
                self.ready(READ)
        elif events & BROKEN and self.plugged:
            self._broke_unread()

    def _broke_unread(self) -> None:
        """It was reset while nothing is read from it; the kernel would say so for ever."""
        if self.ended or self.other.broken:
            self.pair.broke(self)
            return
        # What is held for the other side goes first. Then this is watched again, read to its end, and found reset.
        self.pair.wire.poller.forget(self.fd)
        self.plugged = False

    # -- the direction that begins here --------------------------------------------------------------------------------

    def begin(self, head: bytes = b"") -> None:
        """Read from now on; ``head`` was read before."""
        self.watch(READ)
        if head:
            self.moved = len(head)
            self.held = memoryview(head)
            self._hold()

    def flush(self) -> bool:
        """Write what is held to the other side, as much as it takes; False: that ended the pair."""
        if self.pipe is not None:
            if not self._drain():
                return False
        elif self.held is not None:
            try:
                sent = self.other.send(self.held)
            except BlockingIOError:
                return True
            except OSError:
                return self.other.fail()
            self.held = self.held[sent:] if sent < len(self.held) else None
        if self.held is None and self.pipe is None:
            self.other.watch(self.other.watched & ~WRITE)
            if not self.ended and not self.other.broken:
                self.watch(self.watched | READ)
        return True

    def fail(self) -> bool:
        """This side takes no more bytes. What it has said already still goes to the other; False: nothing is left."""
        self.broken = True
        self.other.drop()
        if self.ended:
            self.pair.broke(self)
            return False
        self.other.watch(self.other.watched & ~READ)
        self.watch(self.watched & ~WRITE)
        return True

    def drop(self) -> None:
        """Forget what is held."""
        self.held = None
        self.in_pipe = 0
        pipe, self.pipe = self.pipe, None
        if pipe is not None:
            pipe.close()

    def watch(self, events: int) -> None:
        """Be told of these events, and of a reset."""
        if self.plugged:
            if events != self.watched:
                self.pair.wire.poller.change(self.fd, events)
        elif events:
            self.pair.wire.poller.watch(self.fd, events, self.ready)
            self.plugged = True
        self.watched = events

    def _hold(self) -> None:
        self.watch(self.watched & ~READ)
        self.other.watch(self.other.watched | WRITE)

    def _drain(self) -> bool:
        pipe = self.pipe
        assert pipe is not None
        while self.in_pipe:
            try:
                self.in_pipe -= os.splice(pipe.out, self.other.fd, self.in_pipe, flags=_SPLICE_FLAGS)
            except BlockingIOError:
                return True
            except OSError:
                return self.other.fail()
        self.pipe = None
        self.pair.wire.pipes.give(pipe)
        return True

    def _end(self) -> None:
        self.ended = True
        if self.broken or self.other.broken:
            self.pair.broke(self)
        elif self.other.ended:
            self.pair.finish()
        else:
            self.watch(self.watched & ~READ)
            with contextlib.suppress(OSError):  # reset meanwhile: its own event says so
                self.other.sock.shutdown(socket.SHUT_WR)

    def _go(self, way: Callable[[int], None]) -> None:
        self.streak = self.small = 0
        self.ready = way
        if self.plugged:
            self.pair.wire.poller.redirect(self.fd, way)


class Pair:
    """A client and an endpoint. ``on_over`` is called once, with the side that was reset, or None for another end."""

    __slots__ = ("_resetting", "client", "endpoint", "on_over", "over", "wire")

    def __init__(
        self,
        wire: Wire,
        client: socket.socket,
        endpoint: socket.socket,
        on_over: Callable[[Pair, Side | None], None],
    ) -> None:
        self.wire = wire
        self.client = Side(self, client)
        self.endpoint = Side(self, endpoint)
        self.client.other = self.endpoint
        self.endpoint.other = self.client
        self.on_over = on_over
        self.over = False
        self._resetting: asyncio.TimerHandle | None = None

    @property
    def held_bytes(self) -> int:
        """What was read of either side and not written to the other yet."""
        return sum(len(side.held or b"") + side.in_pipe for side in (self.client, self.endpoint))

    def begin(self, head: bytes = b"") -> None:
        """Let the bytes go; ``head`` was read from the client before."""
        self.endpoint.begin()
        self.client.begin(head)

    def finish(self) -> None:
        """Both sides have said their end."""
        self._let_go()
        self.client.sock.close()
        self.endpoint.sock.close()
        self.on_over(self, None)

    def broke(self, side: Side) -> None:
        """A side was reset: so is the other, as soon as the bytes before it are sent."""
        self._let_go()
        reset(side.sock)
        self._reset_other(side, time.monotonic() + _LAST_BYTES_S)

    def abort(self) -> None:
        """Reset both sides now."""
        if not self.over:
            self._let_go()
        elif self._resetting is None:
            return
        else:
            self._resetting.cancel()
            self._resetting = None
        reset(self.client.sock)
        reset(self.endpoint.sock)
        self.on_over(self, None)

    def _reset_other(self, side: Side, until_s: float) -> None:
        self._resetting = None
        other = side.other.sock
        if unsent_bytes(other) and time.monotonic() < until_s:
            loop = asyncio.get_running_loop()
            self._resetting = loop.call_later(_LOOK_EVERY_S, self._reset_other, side, until_s)
            return
        reset(other)
        self.on_over(self, side)

    def _let_go(self) -> None:
        self.over = True
        for side in (self.client, self.endpoint):
            self.wire.poller.forget(side.fd)
            side.plugged = False
            side.drop()
