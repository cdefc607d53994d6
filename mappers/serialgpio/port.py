"""A serial port driven from the event loop: pyserial opens it, its descriptor is read and written without blocking."""

from __future__ import annotations

import asyncio
import contextlib
import os
import termios
from dataclasses import dataclass
from typing import Final, Protocol

import serial  # type: ignore[import-untyped]  # pyserial has no types

from mappers.sdk import NotConnected

_MOST_WAITING_BYTES: Final = 65536
"""What may wait for a slow port; more means that it takes nothing any more."""
_EMPTY_READS: Final = 3
"""So many readable moments without a byte are a port that was pulled out; one or two happen."""
_PARITY: Final = {"none": serial.PARITY_NONE, "even": serial.PARITY_EVEN, "odd": serial.PARITY_ODD}


@dataclass(frozen=True, slots=True)
class LineSettings:
    """How bits are sent. ``parity`` is none, even or odd."""

    baudrate: int
    data_bits: int = 8
    parity: str = "none"
    stop_bits: int = 1


class PortListener(Protocol):
    """Takes what comes. Both methods are plain and quick."""

    def received(self, chunk: bytes) -> None:
        """Take some bytes."""
        ...

    def lost(self, error: NotConnected) -> None:
        """Note that the port is gone; it is closed already."""
        ...


class SerialPort:
    """One open port. What is written waits, within bounds, for a slow line."""

    def __init__(self, path: str, settings: LineSettings, listener: PortListener) -> None:
        """Store what to open; ``open`` acts."""
        self.path = path
        self._settings = settings
        self._listener = listener
        self._serial: serial.Serial | None = None
        self._waiting = bytearray()
        self._empty_reads = 0

    def open(self) -> None:
        """Open it, for nobody else. Raises NotConnected."""
        settings = self._settings
        try:
            self._serial = serial.Serial(
                self.path,
                settings.baudrate,
                bytesize=settings.data_bits,
                parity=_PARITY[settings.parity],
                stopbits=settings.stop_bits,
                timeout=0,
                write_timeout=0,
                exclusive=True,
            )
        except (OSError, ValueError, termios.error) as error:  # pyserial's own errors are OSErrors
            message = f"{self.path} cannot be opened: {error}"
            remedy = "Check that the port exists, that this account may open it, and that no other program has."
            raise NotConnected(message, remedy=remedy) from error
        asyncio.get_running_loop().add_reader(self._serial.fd, self._readable)

    def close(self) -> None:
        """Let go of it, at once: what still waits is not sent."""
        port, self._serial = self._serial, None
        self._waiting.clear()
        if port is None:
            return
        with contextlib.suppress(RuntimeError):  # no loop runs any more
            self._forget(port.fd)
        with contextlib.suppress(OSError, termios.error):
            termios.tcflush(port.fd, termios.TCOFLUSH)  # else closing waits for a line that may be dead
        with contextlib.suppress(OSError):
            port.close()

    def write(self, chunk: bytes) -> None:
        """Send, now or when there is room. Raises NotConnected."""
        if self._serial is None:
            message = f"{self.path} is closed"
            raise NotConnected(message)
        if len(self._waiting) + len(chunk) > _MOST_WAITING_BYTES:
            message = f"{self.path} takes no more bytes"
            raise NotConnected(message, remedy="Is something at the other end of the line?")
        idle = not self._waiting
        self._waiting += chunk
        if idle:
            self._writable()

    def _writable(self) -> None:
        if self._serial is None:
            return
        loop = asyncio.get_running_loop()
        try:
            del self._waiting[: os.write(self._serial.fd, self._waiting)]
        except BlockingIOError:
            pass
        except OSError as error:
            self._lose(str(error))
            return
        if self._waiting:
            loop.add_writer(self._serial.fd, self._writable)
        else:
            loop.remove_writer(self._serial.fd)

    def _readable(self) -> None:
        if self._serial is None:
            return
        try:
            chunk = os.read(self._serial.fd, 4096)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(str(error))
            return
        if chunk:
            self._empty_reads = 0
            self._listener.received(chunk)
            return
        self._empty_reads += 1
        if self._empty_reads >= _EMPTY_READS:
            self._lose("it was pulled out")

    def _lose(self, cause: str) -> None:
        self.close()
        self._listener.lost(NotConnected(f"{self.path} is gone: {cause}", remedy="Check the cable."))

    def _forget(self, descriptor: int) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(descriptor)
        loop.remove_writer(descriptor)
