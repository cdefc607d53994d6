"""Listening to advertisements: one scanner for all devices of an adapter, on only while somebody wants to hear."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from bleak import BleakScanner
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData

from mappers.ble.config import BleDevice
from mappers.ble.heard import Heard, Part
from mappers.ble.radio import FAILURES, BleakRadio, error_of

Hearer = Callable[[Heard, frozenset[Part]], None]


class Ears:
    """The scanner of one adapter."""

    def __init__(self, radio: BleakRadio) -> None:
        self._radio = radio
        self._scanner: BleakScanner | None = None
        self._heard: dict[str, Heard] = {}
        self._hearers: dict[str, list[Hearer]] = {}

    async def heard(self, device: BleDevice) -> Heard:
        """What a device has advertised; begins to listen if nobody does. Raises NotConnected or DeviceTimeout."""
        if self._scanner is None:
            scanner = self._radio.scanner(self._on_seen)
            try:
                await scanner.start()
            except FAILURES as error:
                raise error_of(error, "listening to advertisements") from error
            self._scanner = scanner
        known = self._heard.get(device.mac)
        if known is None or known.key != device.key:
            known = self._heard[device.mac] = Heard(device.mac, device.key, device.silence_ms / 1000)
        return known

    def watch(self, mac: str, hearer: Hearer) -> None:
        """Call for each advertisement of a device."""
        self._hearers.setdefault(mac, []).append(hearer)

    def forget(self, mac: str, hearer: Hearer) -> None:
        """Call it no more."""
        with contextlib.suppress(KeyError, ValueError):
            self._hearers[mac].remove(hearer)

    async def close(self) -> None:
        """Listen no more."""
        scanner, self._scanner = self._scanner, None
        self._hearers.clear()
        self._heard.clear()
        if scanner is not None:
            with contextlib.suppress(*FAILURES):
                await scanner.stop()

    def _on_seen(self, device: BLEDevice, said: AdvertisementData) -> None:
        known = self._heard.get(device.address.upper())
        if known is None:
            return
        parts = known.take(said, asyncio.get_running_loop().time())
        for hearer in self._hearers.get(known.mac, ()):
            hearer(known, parts)
