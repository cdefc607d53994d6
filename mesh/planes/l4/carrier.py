"""Carries raw connections, and TLS connections by the server name of their first message: a Carrier."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from random import Random
from typing import Final, Protocol

from mesh.model.programme import Frontend
from mesh.model.services import PortKey
from mesh.planes.dialer import Dialer
from mesh.planes.l4.call import Call, Why
from mesh.planes.l4.choosing import Choosing
from mesh.planes.l4.pair import Wire
from mesh.upstream import Outcome, Upstreams

log = logging.getLogger(__name__)

SWEEP_S: Final = 1.0


class RawWatcher(Protocol):
    """Is told of connections, for metrics."""

    def stands(self, call: Call) -> None:
        """A client is connected to an endpoint."""

    def moved(self, call: Call, up_bytes: int, down_bytes: int) -> None:
        """So much more was carried."""

    def ended(self, call: Call, outcome: Outcome) -> None:
        """It is over."""

    def refused(self, call: Call, why: Why) -> None:
        """It was turned away."""


class RawCarrier:
    """All raw connections of a process."""

    def __init__(
        self, upstreams: Upstreams, rng: Random, watcher: RawWatcher, clock: Callable[[], float], dialer: Dialer | None
    ) -> None:
        self.upstreams = upstreams
        self.clock = clock
        self.dialer = dialer
        self.wire = Wire.new()
        self.choosing = Choosing(rng, clock)
        self._watcher = watcher
        self._calls: set[Call] = set()
        self._sweeping: asyncio.TimerHandle | None = None
        self._emptied = asyncio.Event()

    def __len__(self) -> int:
        return len(self._calls)

    def open(self) -> None:
        """Start, in the running loop."""
        self.wire.poller.open()
        self._sweep_later()

    def accepted(self, sock: socket.socket, client: str, frontend: Frontend) -> None:
        """Take over a connection that has just been accepted."""
        call = Call(self, sock, client, frontend)
        self._calls.add(call)
        call.begin()

    def changed(self, frontend: Frontend) -> str:
        """Open connections stay where they are, and new ones bring their rules with them."""
        del frontend
        return ""

    def forgotten(self, key: PortKey) -> None:
        """Open connections go on to their end."""
        del key

    async def close(self, grace_s: float) -> None:
        """Let the open ones end, and end those that do not."""
        if self._calls:
            self._emptied.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self._emptied.wait()
        for call in list(self._calls):
            call.abort()
        if self._sweeping is not None:
            self._sweeping.cancel()
        self.wire.poller.close()
        self.wire.pipes.close()

    # -- what a call tells ---------------------------------------------------------------------------------------------

    def stands(self, call: Call) -> None:
        """A client is connected to an endpoint."""
        self._watcher.stands(call)

    def ended(self, call: Call, outcome: Outcome) -> None:
        """It is over."""
        self._report(call)
        self._watcher.ended(call, outcome)
        self._drop(call)

    def refused(self, call: Call, why: Why) -> None:
        """It was turned away."""
        self._watcher.refused(call, why)
        self._drop(call)

    def _drop(self, call: Call) -> None:
        self._calls.discard(call)
        if not self._calls:
            self._emptied.set()

    def _report(self, call: Call) -> bool:
        up_bytes, down_bytes = call.moved()
        if not up_bytes and not down_bytes:
            return False
        self._watcher.moved(call, up_bytes, down_bytes)
        return True

    def _sweep_later(self) -> None:
        self._sweeping = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        """Count what moved and end what is idle; once a second, so that the hot path knows no clock."""
        now_s = self.clock()
        for call in list(self._calls):
            call.looked_at(self._report(call), now_s)
        self._sweep_later()
