"""A line to one Firmata board: its greeting, what it has, and what it said last.

closed ──open──> booting ──firmware──> asked what it has ──both answers──> ready ──firmware──> lost: it began anew
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from mappers.sdk import DeviceTimeout, NotConnected
from mappers.serialgpio.firmata import (
    CAPABILITY_QUERY,
    FIRMWARE_QUERY,
    MAPPING_QUERY,
    Analog,
    AnalogMapping,
    Capabilities,
    Firmware,
    Message,
    PinState,
    PinStateQuery,
    Ports,
    Sampling,
    Text,
    Version,
    VersionQuery,
)
from mappers.serialgpio.firmata_decoder import Decoder, Side
from mappers.serialgpio.port import LineSettings, SerialPort

_ASK_EVERY_S: Final = 0.5
_AT_ONCE: Final = 8
"""Queries on the way: a board keeps 64 bytes until it reads them."""


class FirmataLink:
    """One board. ``on_news`` is called after each port or analog message, ``on_lost`` once when the link is gone."""

    def __init__(
        self,
        path: str,
        settings: LineSettings,
        *,
        on_news: Callable[[Message], None] = lambda _: None,
        on_lost: Callable[[NotConnected], None] = lambda _: None,
    ) -> None:
        """Store what to open; ``open`` acts."""
        self.version = Version(0, 0)
        self.firmware: Firmware | None = None
        self.capabilities = Capabilities(())
        self.mapping = AnalogMapping(())
        self.ports: dict[int, int] = {}
        self.analog: dict[int, int] = {}
        self.heard = 0
        """Rises with each message."""
        self.last_text = ""
        self._port = SerialPort(path, settings, self)
        self._decoder = Decoder(Side.BOARD)
        self._states: dict[int, PinState] = {}
        self._versions = 0
        self._ready = False
        self._error: NotConnected | None = None
        self._news = asyncio.Event()
        self._on_news = on_news
        self._on_lost = on_lost

    async def open(self, boot_s: float, timeout_s: float) -> None:
        """Open the port and learn what the board has. Raises NotConnected."""
        self._port.open()
        try:
            await self._greet(boot_s)
            self.capabilities, self.mapping = Capabilities(()), AnalogMapping(())
            self.send(CAPABILITY_QUERY, MAPPING_QUERY)
            await self.until(lambda: bool(self.capabilities.pins and self.mapping.channels), timeout_s)
        except TimeoutError:
            what = "told no pins" if self.firmware else "no Firmata board answers"
            message = f"{self._port.path}: {what}"
            remedy = "Does the board run StandardFirmata, and is baudRate that of its sketch?"
            raise NotConnected(message, remedy=remedy) from None
        self._ready = True

    def close(self) -> None:
        """Let go of the port."""
        self._port.close()

    def sample_every(self, interval_ms: int) -> None:
        """Set how often analog channels are told. Raises NotConnected."""
        self.send(Sampling(interval_ms))

    def send(self, *messages: Message) -> None:
        """Send, or have sent. Raises NotConnected."""
        if self._error is not None:
            raise self._error
        self._port.write(b"".join(one.wire() for one in messages))

    async def until(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Wait for what the board has still to say. Raises TimeoutError, and NotConnected when the link is lost."""
        async with asyncio.timeout(timeout_s):
            while not ready():
                if self._error is not None:
                    raise self._error
                self._news.clear()
                await self._news.wait()
        if self._error is not None:
            raise self._error

    async def catch_up(self, timeout_s: float) -> None:
        """Wait for an answer, before which came all that the board had to say. Raises DeviceTimeout, NotConnected."""
        before = self._versions
        self.send(VersionQuery())
        try:
            await self.until(lambda: self._versions > before, timeout_s)
        except TimeoutError:
            raise self._silent(timeout_s) from None

    async def pin_states(self, pins: list[int], timeout_s: float) -> dict[int, PinState]:
        """What pins do and hold. Raises DeviceTimeout, NotConnected."""
        for at in range(0, len(pins), _AT_ONCE):
            some = pins[at : at + _AT_ONCE]
            for pin in some:
                self._states.pop(pin, None)
            self.send(*map(PinStateQuery, some))
            try:
                await self.until(lambda some=some: self._states.keys() >= set(some), timeout_s)  # type: ignore[misc]
            except TimeoutError:
                raise self._silent(timeout_s) from None
        return {pin: self._states[pin] for pin in pins}

    def received(self, chunk: bytes) -> None:
        """Take bytes of the port."""
        for message in self._decoder.feed(chunk):
            if self._error is None:
                self._take(message)
        self._news.set()

    def lost(self, error: NotConnected) -> None:
        """Note that the port is gone."""
        if self._error is None:
            self._error = error
            self._port.close()
            self._news.set()
            if self._ready:
                self._on_lost(error)

    async def _greet(self, boot_s: float) -> None:
        """Ask until the board has booted: opening the port resets many."""
        async with asyncio.timeout(boot_s):
            while True:
                self.send(FIRMWARE_QUERY, VersionQuery())
                try:
                    return await self.until(lambda: self.firmware is not None and self._versions > 0, _ASK_EVERY_S)
                except TimeoutError:
                    continue

    def _take(self, message: Message) -> None:
        self.heard += 1
        match message:
            case Ports(port, mask):
                self.ports[port] = mask
                self._on_news(message)
            case Analog(channel, value):
                self.analog[channel] = value
                self._on_news(message)
            case PinState(pin):
                self._states[pin] = message
            case Version():
                self.version = message
                self._versions += 1
            case Capabilities():
                self.capabilities = message
            case AnalogMapping():
                self.mapping = message
            case Text(text):
                self.last_text = text
            case Firmware() if self._ready:
                # Answers to our own questions all came before the board said what it has.
                self.lost(NotConnected(f"the board at {self._port.path} began anew", remedy="Check its supply."))
            case Firmware():
                self.firmware = message

    def _silent(self, timeout_s: float) -> DeviceTimeout:
        return DeviceTimeout(f"the board at {self._port.path} gave no answer in {timeout_s * 1000:.0f} ms")
