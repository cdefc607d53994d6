"""pymodbus's framers, made deaf to noise: bytes that are no frame are dropped, whatever they look like.

pymodbus lets some of them end in an exception inside the event loop, which ends a TCP connection or is lost in a log.
"""

from __future__ import annotations

import struct
from typing import Final

from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerAscii, FramerBase, FramerRTU, FramerSocket
from pymodbus.pdu import ModbusPDU

from mappers.modbus.config import Transport


class SocketFramer(FramerSocket):
    """Frames with the header of Modbus TCP; over TLS too, where pymodbus takes each read for a whole frame."""

    def handleFrame(self, data: bytes, exp_devid: int, exp_tid: int) -> tuple[int, ModbusPDU | None]:  # noqa: N802  pymodbus's name
        """Return how many bytes were used, and the frame in them."""
        try:
            return super().handleFrame(data, exp_devid, exp_tid)
        except _NO_FRAME:
            return len(data), None


class RtuFramer(FramerRTU):
    """Binary frames of a serial line; what stands before the expected unit is noise of a line that turned around."""

    def handleFrame(self, data: bytes, exp_devid: int, exp_tid: int) -> tuple[int, ModbusPDU | None]:  # noqa: N802  pymodbus's name
        """Return how many bytes were used, and the frame in them."""
        noise = max(0, data.find(exp_devid))
        try:
            used, pdu = super().handleFrame(data[noise:], exp_devid, exp_tid)
        except _NO_FRAME:
            return len(data), None
        return used + noise if used else 0, pdu


class AsciiFramer(FramerAscii):
    """Frames of hexadecimal digits."""

    def handleFrame(self, data: bytes, exp_devid: int, exp_tid: int) -> tuple[int, ModbusPDU | None]:  # noqa: N802  pymodbus's name
        """Return how many bytes were used, and the frame in them."""
        try:
            return super().handleFrame(data, exp_devid, exp_tid)
        except _NO_FRAME:
            return len(data), None


FRAMERS: Final[dict[Transport, type[FramerBase]]] = {
    Transport.TCP: SocketFramer,
    Transport.TLS: SocketFramer,
    Transport.RTU: RtuFramer,
    Transport.ASCII: AsciiFramer,
    Transport.RTU_OVER_TCP: RtuFramer,
}

_NO_FRAME: Final = (ModbusException, ValueError, IndexError, struct.error)
