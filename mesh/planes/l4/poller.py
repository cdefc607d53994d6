"""An epoll set of our own inside the event loop's: one callback of the loop serves every socket that is ready.

The loop's own add_reader costs an object and a context switch for each event, which is much of what a small request
costs; here it is a dictionary look-up and a call. Works with any loop that has add_reader.
"""

from __future__ import annotations

import asyncio
import logging
import select
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT
BROKEN: Final = select.EPOLLERR | select.EPOLLHUP
"""Reported whether it was asked for or not."""

_BATCH: Final = 64
_ROUNDS: Final = 8
_BUSY: Final = 2
"""With so many ready at once more are likely to be soon; asking again costs less than a turn of the loop."""


class Poller:
    """Calls what watches a socket when it is ready. Use from the loop that opened it only."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watching: dict[int, Callable[[int], None]] = {}
        self._stale: set[int] = set()
        """Numbers that were given back since the last look: what the kernel said of them then is of no use."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self.change: Callable[[int, int], None] = self._epoll.modify
        """Ask for other events of a socket that is watched."""

    def open(self) -> None:
        """Start to serve, in the running loop."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._epoll.fileno(), self._serve)

    def close(self) -> None:
        """Serve no more."""
        if self._loop is not None:
            self._loop.remove_reader(self._epoll.fileno())
            self._loop = None
        self._watching.clear()
        self._epoll.close()

    def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """Call with the events that a socket has."""
        self._watching[fd] = callback
        self._epoll.register(fd, events)

    def redirect(self, fd: int, callback: Callable[[int], None]) -> None:
        """Call another for a socket that is watched."""
        self._watching[fd] = callback

    def forget(self, fd: int) -> None:
        """Call no more; nothing happens if it is not watched. To be called before the socket is closed."""
        if self._watching.pop(fd, None) is not None:
            self._epoll.unregister(fd)
            self._stale.add(fd)

    def _serve(self) -> None:
        watching, poll, stale = self._watching, self._epoll.poll, self._stale
        for _ in range(_ROUNDS):
            if stale:
                stale.clear()
            ready = poll(0, _BATCH)
            for fd, events in ready:
                if stale and (fd in stale or fd not in watching):
                    continue  # closed by one before it in the batch; another may have its number already
                try:
                    watching[fd](events)
                except Exception:
                    log.exception("a connection was given up")
                    self.forget(fd)
            if len(ready) < _BUSY:
                return
