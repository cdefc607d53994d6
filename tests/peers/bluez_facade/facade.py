"""Adapters and devices of the facade: discovery, connections, bonds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final

from bumble.core import BaseBumbleError
from bumble.device import Advertisement, Connection, Device
from bumble.hci import Address
from dbus_fast import BusType, Message, Variant
from dbus_fast.aio import MessageBus

from mappers.ble.virtual_scanner import advertised
from tests.peers.bluez_facade import gatt
from tests.peers.bluez_facade.objects import Objects, Refused

_ADAPTER: Final = "org.bluez.Adapter1"
_DEVICE: Final = "org.bluez.Device1"
_CONNECT_S: Final = 20.0
_MTU: Final = 247


class Facade:
    """Entering it owns ``org.bluez`` on a bus, with these adapters."""

    def __init__(self, address: str, adapters: Mapping[str, Device]) -> None:
        self.address = address
        self._devices = adapters
        self.adapters: dict[str, Adapter] = {}
        self._bus: MessageBus | None = None
        self._objects: Objects | None = None

    async def __aenter__(self) -> Facade:
        self._bus = await MessageBus(self.address, BusType.SYSTEM).connect()
        self._objects = Objects(self._bus)
        for name, device in self._devices.items():
            self.adapters[name] = Adapter(f"/org/bluez/{name}", device, self._objects)
        await self._bus.request_name("org.bluez")
        return self

    def value(self, path: str, name: str) -> Any:
        """A property of an object; None if there is no such object."""
        assert self._objects is not None
        return self._objects.value(path, name)

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        assert self._bus is not None
        assert self._objects is not None
        self._bus.disconnect()
        await self._objects.close()


class Adapter:
    """One controller. ``connections`` counts the links that were asked of it."""

    def __init__(self, path: str, device: Device, objects: Objects) -> None:
        self._path = path
        self._device = device
        self._objects = objects
        self._discoverers: set[str] = set()
        self.connections = 0
        properties = {
            "Address": Variant("s", str(device.public_address).partition("/")[0]),
            "Name": Variant("s", path[-4:]),
            "Alias": Variant("s", path[-4:]),
            "Powered": Variant("b", True),
            "Discovering": Variant("b", False),
            "Roles": Variant("as", ["central", "peripheral"]),
            "UUIDs": Variant("as", []),
        }
        calls = {
            "SetDiscoveryFilter": self._set_filter,
            "StartDiscovery": self._start,
            "StopDiscovery": self._stop,
        }
        objects.add(path, _ADAPTER, properties, calls)
        device.on(device.EVENT_ADVERTISEMENT, self._on_advertisement)

    @property
    def discovering(self) -> bool:
        """Whether somebody has it listen."""
        return bool(self._discoverers)

    def power(self, *, on: bool) -> None:
        """Switch it as ``bluetoothctl power off`` does."""
        self._objects.change(self._path, Powered=Variant("b", on))

    async def _set_filter(self, _: Message) -> tuple[str, list[Any]]:
        return "", []

    async def _start(self, message: Message) -> tuple[str, list[Any]]:
        if not self._objects.value(self._path, "Powered"):
            raise Refused("NotReady", "Resource Not Ready")
        if message.sender in self._discoverers:  # src/adapter.c: every client can only start one discovery
            raise Refused("InProgress", "Operation already in progress")
        self._discoverers.add(message.sender or "")
        if len(self._discoverers) == 1:
            await self._device.start_scanning(filter_duplicates=False)
            self._objects.change(self._path, Discovering=Variant("b", True))
        return "", []

    async def _stop(self, message: Message) -> tuple[str, list[Any]]:
        if message.sender not in self._discoverers:
            raise Refused("Failed", "No discovery started")
        self._discoverers.discard(message.sender)
        if not self._discoverers:
            await self._device.stop_scanning()
            self._objects.change(self._path, Discovering=Variant("b", False))
        return "", []

    def _on_advertisement(self, heard: Advertisement) -> None:
        if not self._discoverers:
            return
        said = advertised(heard)
        mac = heard.address.to_string(with_type_qualifier=False)
        path = f"{self._path}/dev_{mac.replace(':', '_')}"
        changed = {"RSSI": Variant("n", said.rssi)}
        if said.local_name:
            changed |= {"Name": Variant("s", said.local_name), "Alias": Variant("s", said.local_name)}
        if said.manufacturer_data:
            makers = {number: Variant("ay", given) for number, given in said.manufacturer_data.items()}
            changed["ManufacturerData"] = Variant("a{qv}", makers)
        if said.service_data:
            services = {uuid: Variant("ay", given) for uuid, given in said.service_data.items()}
            changed["ServiceData"] = Variant("a{sv}", services)
        if said.tx_power is not None:
            changed["TxPower"] = Variant("n", said.tx_power)
        if self._objects.value(path, "Address") is None:
            Peripheral(self, path, mac, self._device, self._objects, changed)
        else:
            self._objects.change(path, **changed)


class Peripheral:
    """One device that was heard."""

    def __init__(
        self, adapter: Adapter, path: str, mac: str, central: Device, objects: Objects, heard: dict[str, Variant]
    ) -> None:
        self._adapter = adapter
        self._path = path
        self._mac = mac
        self._central = central
        self._objects = objects
        self._connection: Connection | None = None
        no, none = Variant("b", False), Variant("as", [])
        properties = {
            "Address": Variant("s", mac),
            "AddressType": Variant("s", "random"),
            "Alias": Variant("s", mac.replace(":", "-")),
            "Adapter": Variant("o", path.rpartition("/")[0]),
            "UUIDs": none,
            **dict.fromkeys(("Paired", "Bonded", "Trusted", "Blocked", "Connected", "ServicesResolved"), no),
        }
        calls = {"Connect": self._connect, "Disconnect": self._disconnect, "Pair": self._pair}
        objects.add(path, _DEVICE, properties | heard, calls)

    async def _connect(self, _: Message) -> tuple[str, list[Any]]:
        if self._connection is None:
            await self._link()
        return "", []

    async def _disconnect(self, _: Message) -> tuple[str, list[Any]]:
        if self._connection is None:
            raise Refused("NotConnected", "Not Connected")
        with contextlib.suppress(BaseBumbleError, TimeoutError):
            async with asyncio.timeout(1):
                await self._connection.disconnect()
        self._ended()
        return "", []

    async def _pair(self, _: Message) -> tuple[str, list[Any]]:
        if self._objects.value(self._path, "Paired"):
            raise Refused("AlreadyExists", "Already Exists")
        connection = self._connection or await self._link()
        try:
            await connection.pair()
        except (BaseBumbleError, TimeoutError) as error:
            raise Refused("AuthenticationFailed", "Authentication Failed") from error
        self._objects.change(self._path, Paired=Variant("b", True), Bonded=Variant("b", True))
        return "", []

    async def _link(self) -> Connection:
        self._adapter.connections += 1
        try:
            connection = await self._central.connect(Address(self._mac), timeout=_CONNECT_S)
            if self._objects.value(self._path, "Paired"):
                # BlueZ would encrypt with the key it has kept; bumble keeps it under another kind of address than it
                # looks it up with, so that the link is bonded anew.
                await connection.pair()
        except (BaseBumbleError, TimeoutError) as error:
            raise Refused("Failed", "Host is down") from error
        self._connection = connection
        connection.on(connection.EVENT_DISCONNECTION, lambda _: self._ended())
        self._objects.change(self._path, Connected=Variant("b", True))
        self._objects.run(self._resolve(connection))
        return connection

    async def _resolve(self, connection: Connection) -> None:
        with contextlib.suppress(BaseBumbleError, TimeoutError):
            await connection.gatt_client.request_mtu(_MTU)
            await gatt.export(self._objects, self._path, connection)
            self._objects.change(self._path, ServicesResolved=Variant("b", True))

    def _ended(self) -> None:
        if self._connection is None:
            return
        self._connection = None
        self._objects.remove(self._objects.under(self._path))
        no = Variant("b", False)
        self._objects.change(self._path, ServicesResolved=no)
        self._objects.change(self._path, Connected=no)
