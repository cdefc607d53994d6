"""Listening to advertisements: one scanner for all devices of an adapter, on only while somebody wants to hear.

BlueZ lets a program have one discovery at a time, so whoever looks for a device to connect to shares it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from bleak import BleakScanner
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from bleak.exc import BleakDeviceNotFoundError

from mappers.ble.config import BleDevice
from mappers.ble.heard import Heard, Part
from mappers.ble.radio import FAILURES, BleakRadio, error_of

Hearer = Callable[[Heard, frozenset[Part]], None]


class Ears:
    """The scanner of one adapter."""

    def __init__(self, radio: BleakRadio) -> None:
        self._radio = radio
        self._turning = asyncio.Lock()  # on or off
        self._scanner: BleakScanner | None = None
        self._heard: dict[str, Heard] = {}
        self._hearers: dict[str, list[Hearer]] = {}
        self._sought: dict[asyncio.Future[BLEDevice], str] = {}

    async def heard(self, device: BleDevice) -> Heard:
        """What a device has advertised; begins to listen if nobody does. Raises NotConnected or DeviceTimeout."""
        try:
            await self._listen()
        except FAILURES as error:
            raise error_of(error, "listening to advertisements") from error
        known = self._heard.get(device.mac)
        if known is None or known.key != device.key:
            known = self._heard[device.mac] = Heard(device.mac, device.key, device.silence_ms / 1000)
        return known

    async def seek(self, mac: str, timeout_s: float) -> BLEDevice | str:
        """What to connect to: a device once it is heard, where that is needed. Raises bleak's errors."""
        if not self._radio.seeks:
            return mac
        found: asyncio.Future[BLEDevice] = asyncio.get_running_loop().create_future()
        self._sought[found] = mac
        try:
            async with asyncio.timeout(timeout_s):
                await self._listen()
                return await found
        except TimeoutError:
            message = f"{mac} was not heard for {timeout_s:g} s"
            raise BleakDeviceNotFoundError(mac, message) from None
        finally:
            self._sought.pop(found, None)
            await self._rest()

    def watch(self, mac: str, hearer: Hearer) -> None:
        """Call for each advertisement of a device."""
        self._hearers.setdefault(mac, []).append(hearer)

    def forget(self, mac: str, hearer: Hearer) -> None:
        """Call it no more."""
        with contextlib.suppress(KeyError, ValueError):
            self._hearers[mac].remove(hearer)

    async def close(self) -> None:
        """Listen no more."""
        self._hearers.clear()
        self._heard.clear()
        self._sought.clear()
        await self._rest()

    async def _listen(self) -> None:
        async with self._turning:
            if self._scanner is None:
                scanner = self._radio.scanner(self._on_seen)
                await scanner.start()
                self._scanner = scanner

    async def _rest(self) -> None:
        """Listen no more if nobody wants to hear."""
        async with self._turning:
            if self._scanner is not None and not (self._heard or self._sought):
                scanner, self._scanner = self._scanner, None
                with contextlib.suppress(*FAILURES):
                    await scanner.stop()

    def _on_seen(self, device: BLEDevice, said: AdvertisementData) -> None:
        mac = device.address.upper()
        for found, sought in self._sought.items():
            if sought == mac and not found.done():
                found.set_result(device)
        known = self._heard.get(mac)
        if known is None:
            return
        parts = known.take(said, asyncio.get_running_loop().time())
        for hearer in self._hearers.get(known.mac, ()):
            hearer(known, parts)
