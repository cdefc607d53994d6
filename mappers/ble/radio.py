"""The seam to bleak: clients and scanners of one adapter, and bleak's errors as ours."""

from __future__ import annotations

import asyncio
import importlib
import re
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
_NO_ADAPTER: Final = re.compile(r"adapter '.+' not found")  # bleak has no kind of its own for it
_NOT_PERMITTED: Final = "org.bluez.Error.NotPermitted"
_IN_PROGRESS: Final = "org.bluez.Error.InProgress"
_ONE_EACH: Final = "Put all devices of an adapter into one Connection: BlueZ lets only one listen at a time."
_UNBONDED: Final = (0x05, 0x0C, 0x0F)
_BOND: Final = "; pair: true bonds with the device"
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
        if client_backend is None:
            # Now, for it takes long: what is imported within a call counts as the time that a device took.
            importlib.import_module("bleak.backends.bluezdbus.manager")
        self._scanner_backend = scanner_backend

    async def close(self) -> None:
        """Let go of the adapter; the platform's is nobody's."""

    @property
    def seeks(self) -> bool:
        """Whether a device has to be heard before it can be connected to, as BlueZ wants it."""
        return self._client_backend is None

    async def connected(self, mac: str) -> BLEDevice | None:
        """A device that the platform is connected to already: it advertises no more. Raises bleak's errors.

        BlueZ keeps the links of a program that was killed.
        """
        from bleak.backends.bluezdbus.manager import get_global_bluez_manager  # only if it is the platform

        manager = await get_global_bluez_manager()
        adapter = f"/org/bluez/{self.adapter}" if self.adapter else manager.get_default_adapter()
        path = f"{adapter}/dev_{mac.replace(':', '_')}"
        return BLEDevice(mac, None, {"path": path}) if manager.is_connected(path) else None

    def client(
        self, place: BLEDevice | str, on_lost: Callable[[BleakClient], None], *, timeout_s: float, pair: bool
    ) -> BleakClient:
        """A client that is not connected yet; with an address alone, the platform looks for the device itself."""
        bluez: BlueZClientArgs = {"adapter": self.adapter} if self.adapter else {}
        return BleakClient(place, on_lost, timeout=timeout_s, pair=pair, bluez=bluez, backend=self._client_backend)

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
    if isinstance(error, BleakDBusError):
        return error.dbus_error in _NO_SERVICE
    return isinstance(error, BleakError) and bool(_NO_ADAPTER.fullmatch(str(error)))


def error_of(error: BaseException, place: str) -> MapperError:
    """What a failure means: NotConnected of the adapter, DeviceTimeout of the device at a place."""
    said = str(error) or type(error).__name__
    if isinstance(error, BleakDBusError) and error.dbus_error == _IN_PROGRESS:
        return DeviceTimeout(f"{place}: {said}", remedy=_ONE_EACH)
    if is_adapter_gone(error):
        return NotConnected(f"Bluetooth is not available: {said}", remedy="Is the adapter there and on, and BlueZ up?")
    return DeviceTimeout(f"{place}: {said}", remedy="Is it on, in reach, and connected to nobody else?")


def refusal_of(error: BleakError) -> Fault | None:
    """What the device refuses of one characteristic, as the fault of its points; None if the link has failed."""
    if isinstance(error, BleakDBusError) and error.dbus_error == _NOT_PERMITTED:  # BlueZ's word for three ATT errors
        return Fault(Reason.ACCESS_DENIED, f"BlueZ answered {error.dbus_error_details}{_BOND}")
    if not isinstance(error, BleakGATTProtocolError):
        return None
    code = int(error.code)
    reason = Reason.ACCESS_DENIED if code in _DENIED else Reason.DEVICE_FAILURE
    if code in _NOWHERE:
        reason = Reason.ILLEGAL_ADDRESS
    return Fault(reason, f"the device answered {error}{_BOND if code in _UNBONDED else ''}")
