"""Writes, with the functions that a unit knows: 5 and 6, 15 and 16 for those who know only these, 22 and 23.

What a unit does not know is remembered while the connection stands, so it is asked once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Final, Protocol

from pymodbus.constants import ExcCodes
from pymodbus.pdu import ModbusPDU

from mappers.modbus.client import READ, RegistersReply
from mappers.modbus.plan import Table
from mappers.modbus.reading import Learnt
from mappers.modbus.wire import Send
from mappers.sdk import DeviceTimeout, WriteRefused

MOST_READ_WRITE: Final = 121
"""Registers that function 23 can write."""


class Ask(Protocol):
    """Makes one request."""

    def __call__(self, send: Send, place: str, *, again: bool) -> Awaitable[ModbusPDU]:
        """Raise NotConnected or DeviceTimeout; again: whether it may be made twice."""


class Writing:
    """Writes one value of one unit; each method returns the unit's exception code, 0 for none."""

    def __init__(self, ask: Ask, learnt: Learnt, unit: int, address: int, place: str) -> None:
        self._ask = ask
        self._learnt = learnt
        self._unit = unit
        self._address = address
        self._place = place
        self.read_back: bytes | None = None
        """Registers that the answer brought with it."""

    async def coil(self, *, on: bool) -> int:
        """Write a coil."""
        code = await self._code(lambda client: client.write_coil(self._address, on, device_id=self._unit))
        if code == ExcCodes.ILLEGAL_FUNCTION:
            code = await self._code(lambda client: client.write_coils(self._address, [on], device_id=self._unit))
        return code

    async def registers(self, words: Sequence[int]) -> int:
        """Write registers as sent."""
        if len(words) == 1:
            code = await self._code(lambda client: client.write_register(self._address, words[0], device_id=self._unit))
            if code != ExcCodes.ILLEGAL_FUNCTION:
                return code
        return await self._code(lambda client: client.write_registers(self._address, list(words), device_id=self._unit))

    async def registers_read_back(self, words: Sequence[int]) -> int:
        """Write registers and have the unit answer with what it then holds, if it can."""
        if not self._learnt.read_write:
            return await self.registers(words)
        reply = await self._ask(
            lambda client: client.readwrite_registers(
                read_address=self._address,
                read_count=len(words),
                write_address=self._address,
                values=list(words),
                device_id=self._unit,
            ),
            self._place,
            again=False,
        )
        if reply.isError() and reply.exception_code == ExcCodes.ILLEGAL_FUNCTION:
            self._learnt.read_write = False
            return await self.registers(words)
        if isinstance(reply, RegistersReply) and len(reply.raw) == 2 * len(words):
            self.read_back = reply.raw
        return reply.exception_code if reply.isError() else 0

    async def bits(self, mask: int, word: int) -> int:
        """Write the bits of a register that are in the mask."""
        if self._learnt.mask_write:
            try:
                code = await self._masked(mask, word)
            except DeviceTimeout:
                # Some units leave a function that they do not know without an answer.
                self._learnt.mask_write = False
                try:
                    return await self._replaced(mask, word)
                except DeviceTimeout:
                    self._learnt.mask_write = True  # it answers nothing at all
                    raise
            if code != ExcCodes.ILLEGAL_FUNCTION:
                return code
            self._learnt.mask_write = False
        return await self._replaced(mask, word)

    async def _masked(self, mask: int, word: int) -> int:
        return await self._code(
            lambda client: client.mask_write_register(
                address=self._address, and_mask=~mask & 0xFFFF, or_mask=word & mask, device_id=self._unit
            )
        )

    async def _replaced(self, mask: int, word: int) -> int:
        """Read the register, change the bits, write it: another master's change of that moment is lost."""
        reply = await self._ask(
            lambda client: READ[Table.HOLDING](client, self._address, 1, self._unit), self._place, again=True
        )
        if reply.isError():
            return reply.exception_code
        if not isinstance(reply, RegistersReply) or len(reply.raw) != 2:
            message = f"{self._place} was not written: its other bits could not be read"
            raise WriteRefused(message)
        held = int.from_bytes(reply.raw, "big")
        return await self.registers([held & ~mask | word & mask])

    async def _code(self, send: Send) -> int:
        reply = await self._ask(send, self._place, again=False)
        return reply.exception_code if reply.isError() else 0
