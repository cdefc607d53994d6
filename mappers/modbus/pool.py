"""The connections of one host: one for each request in flight, as many as are wanted and as the host allows."""

from __future__ import annotations

import asyncio
import logging

from pymodbus.pdu import ModbusPDU

from mappers.modbus.config import ModbusConnection
from mappers.modbus.wire import Send, Wire, not_connected
from mappers.sdk import NotConnected

log = logging.getLogger(__name__)


class Pool:
    """Open connections; at least one, or it is not connected."""

    def __init__(self, config: ModbusConnection) -> None:
        """Store the settings; ``open`` acts."""
        self._config = config
        self._wires: list[Wire] = []
        self._idle: list[Wire] = []
        self._freed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._wires)

    async def open(self) -> None:
        """Connect; a host that takes fewer than were wanted is served with those. Raises NotConnected for none."""
        self.close()
        wires: list[Wire] = []
        try:
            for _ in range(self._config.connections):
                wires.append(Wire(self._config))
                await wires[-1].open()
        except NotConnected as error:
            wires.pop().close()
            if not wires:
                raise
            log.info("%s takes %d connections, not %d: %s", self._config.where, len(wires), self._config.connections,
                     error.message)  # fmt: skip
        except BaseException:
            for wire in wires:
                wire.close()
            raise
        self._wires, self._idle = wires, list(wires)

    def close(self) -> None:
        """Let go of all."""
        wires, self._wires, self._idle = self._wires, [], []
        for wire in wires:
            wire.close()
        self._freed.set()

    def never_give_up(self) -> None:
        """Stay connected however many requests get no answer."""
        for wire in self._wires:
            wire.never_give_up()

    async def ask(self, send: Send, place: str, *, again: bool = True) -> ModbusPDU:
        """Make one request on a connection that is free. Raises NotConnected or DeviceTimeout.

        again: it does no harm twice, so it may be repeated on another connection when the first is lost.
        """
        while True:
            wire = await self._take()
            try:
                return await wire.ask(send, place)
            except NotConnected:
                if not self._drop(wire) or not again:
                    raise
            finally:
                if wire in self._wires:
                    self._idle.append(wire)
                self._freed.set()

    async def _take(self) -> Wire:
        while not self._idle:
            if not self._wires:
                raise not_connected(self._config, "the connection is gone")
            self._freed.clear()
            await self._freed.wait()  # no time-out: each request in flight has one
        return self._idle.pop()

    def _drop(self, wire: Wire) -> bool:
        """Go on without a connection that is gone; false if it was the last, which stays as a sign of the loss."""
        if len(self._wires) < 2:
            return False
        if wire in self._wires:
            self._wires.remove(wire)
            wire.close()
            log.info("%s ended a connection; going on with %d", self._config.where, len(self._wires))
        return True
