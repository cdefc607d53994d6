"""The seam to bleak: clients and scanners of one adapter, and bleak's errors as ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from bleak import BleakClient, BleakScanner
from bleak.args.bluez import BlueZClientArgs, BlueZScannerArgs
from bleak.backends.client import BaseBleakClient
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
from bleak.exc import BleakBluetoothNotAvailableError, BleakDBusError, BleakError, BleakGATTProtocolError

from mappers.sdk import DeviceTimeout, Fault, MapperError, NotConnected, Reason

OnSeen = Callable[[BLEDevice, AdvertisementData], None]
FAILURES: Final = (BleakError, TimeoutError, OSError, EOFError, AssertionError)
"""What bleak raises; the D-Bus library beneath lets some of its own through."""

_TCP: Final = "tcp:"
_NO_SERVICE: Final = ("org.freedesktop.DBus.Error.ServiceUnknown", "org.bluez.Error.NotReady")
_DENIED: Final = (0x02, 0x05, 0x08, 0x0C, 0x0F)
_NOWHERE: Final = (0x01, 0x0A)


class BleakRadio:
    """One adapter. Connections are made one at a time, for an adapter can do no more."""

    def __init__(
        self,
        adapter: str,
        *,
        client_backend: type[BaseBleakClient] | None = None,
        scanner_backend: type[BaseBleakScanner] | None = None,
    ) -> None:
        """Store the adapter's name, empty for the system's default; backends are the platform's if not given."""
        self.adapter = adapter
        self.connecting = asyncio.Lock()
        self._client_backend = client_backend
        self._scanner_backend = scanner_backend

    async def close(self) -> None:
        """Let go of the adapter; the platform's is nobody's."""

    def client(self, mac: str, on_lost: Callable[[BleakClient], None], *, timeout_s: float, pair: bool) -> BleakClient:
        """A client that is not connected yet."""
        bluez: BlueZClientArgs = {"adapter": self.adapter} if self.adapter else {}
        return BleakClient(mac, on_lost, timeout=timeout_s, pair=pair, bluez=bluez, backend=self._client_backend)

    def scanner(self, on_seen: OnSeen) -> BleakScanner:
        """A scanner that is not started yet."""
        bluez: BlueZScannerArgs = {"adapter": self.adapter} if self.adapter else {}
        return BleakScanner(on_seen, bluez=bluez, backend=self._scanner_backend)


def radio_of(adapter: str) -> BleakRadio:
    """The radio of the platform, or of a controller behind TCP; see ``virtual_hci``."""
    if adapter.startswith(_TCP):
        from mappers.ble.virtual_hci import HciRadio  # needs bumble, which a gateway has no need of

        return HciRadio(adapter.removeprefix(_TCP))
    return BleakRadio(adapter)


def is_adapter_gone(error: BaseException) -> bool:
    """Whether the whole adapter is missing or off, not one device."""
    if isinstance(error, BleakBluetoothNotAvailableError | FileNotFoundError):
        return True
    return isinstance(error, BleakDBusError) and error.dbus_error in _NO_SERVICE


def error_of(error: BaseException, place: str) -> MapperError:
    """What a failure means: NotConnected of the adapter, DeviceTimeout of the device at a place."""
    said = str(error) or type(error).__name__
    if is_adapter_gone(error):
        return NotConnected(f"Bluetooth is not available: {said}", remedy="Is the adapter there and on, and BlueZ up?")
    return DeviceTimeout(f"{place}: {said}", remedy="Is it on, in reach, and connected to nobody else?")


def fault_of(error: BleakGATTProtocolError) -> Fault:
    """An ATT error as the fault of one point."""
    code = int(error.code)
    reason = Reason.ACCESS_DENIED if code in _DENIED else Reason.DEVICE_FAILURE
    if code in _NOWHERE:
        reason = Reason.ILLEGAL_ADDRESS
    hint = "; pair: true bonds with the device" if code in (0x05, 0x0C, 0x0F) else ""
    return Fault(reason, f"the device answered {error}{hint}")
