"""Bluetooth without hardware: bleak's backends over bumble's virtual controllers, with real HCI, L2CAP and ATT bytes.

    bleak ── VirtualClient, VirtualScanner ── bumble host ── controller ──┐
                                                                          ├ Air
                             a peripheral ─── bumble host ── controller ──┘

For tests, benches and demonstrations; a gateway does not need bumble.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, TypeVar

from bleak.args import SizedBuffer
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient
from bleak.backends.descriptor import BleakGATTDescriptor
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import BleakDeviceNotFoundError, BleakError, BleakGATTProtocolError
from bumble.att import ATT_Error
from bumble.controller import Controller
from bumble.core import BaseBumbleError, PhysicalTransport
from bumble.device import Connection, Device
from bumble.gatt_client import CharacteristicProxy
from bumble.hci import (
    Address,
    HCI_ErrorCode,
    HCI_LE_Connection_Complete_Event,
    HCI_LE_Create_Connection_Cancel_Command,
    HCI_StatusReturnParameters,
    Role,
)
from bumble.host import Host
from bumble.link import LocalLink
from bumble.ll import ControlPdu
from bumble.transport.common import AsyncPipeSink

from mappers.ble.radio import BleakRadio
from mappers.ble.virtual_scanner import Adapter, VirtualScanner, uuid_of

T = TypeVar("T")
_MTU = 247
_CUT = "disconnected"


class _Ether(LocalLink):
    """bumble's link, in which a packet to nobody is lost as over a radio."""

    def send_ll_control_pdu(self, sender_address: Address, receiver_address: Address, packet: ControlPdu) -> None:
        if self.find_le_controller(receiver_address) is not None:
            super().send_ll_control_pdu(sender_address, receiver_address, packet)

    def send_acl_data(
        self, sender_controller: Controller, destination_address: Address, transport: PhysicalTransport, data: bytes
    ) -> None:
        """Send from the address that the connection was made with: BlueZ scans with others all the while."""
        connection = sender_controller.le_connections.get(destination_address)
        receiver = self.find_le_controller(destination_address)
        if connection is None or receiver is None:
            super().send_acl_data(sender_controller, destination_address, transport, data)
            return
        asyncio.get_running_loop().call_soon(receiver.on_link_acl_data, connection.self_address, transport, data)


class _Controller(Controller):
    """bumble's controller, which gives up connecting when its host wants that."""

    def on_hci_le_create_connection_cancel_command(
        self, command: HCI_LE_Create_Connection_Cancel_Command
    ) -> HCI_StatusReturnParameters:
        """Cancel, and say so as the specification has it (Vol 4, Part E, 7.8.13)."""
        pending, self.pending_le_connection = self.pending_le_connection, None
        if pending is not None:
            self.send_hci_packet(
                HCI_LE_Connection_Complete_Event(
                    status=HCI_ErrorCode.UNKNOWN_CONNECTION_IDENTIFIER_ERROR,
                    connection_handle=0,
                    role=Role.CENTRAL,
                    peer_address_type=pending.peer_address.address_type,
                    peer_address=pending.peer_address,
                    connection_interval=0,
                    peripheral_latency=0,
                    supervision_timeout=0,
                    central_clock_accuracy=0,
                )
            )
        return super().on_hci_le_create_connection_cancel_command(command)


class Air:
    """The space in which virtual devices hear each other. ``central`` is the gateway's own adapter."""

    def __init__(self) -> None:
        self.link = _Ether()  # type: ignore[no-untyped-call]  # bumble has no annotation there
        self._central: Device | None = None

    async def device(self, mac: str, name: str = "") -> Device:
        """A powered device at an address."""
        controller = _Controller(name or mac, link=self.link, public_address=mac)
        device = Device(name=name, address=Address(mac), host=Host(controller, AsyncPipeSink(controller)))
        await device.power_on()
        return device

    async def central(self) -> Device:
        """The gateway's adapter, on."""
        if self._central is None:
            self._central = await self.device("F0:F1:F2:F3:F4:F5", "gateway")
        return self._central

    def leave(self, device: Device) -> None:
        """Take a device out of earshot, without a word to whom it is connected to."""
        controller = next(one for one in self.link.controllers if one.random_address == device.random_address)
        self.link.remove_controller(controller)

    def radio(self) -> BleakRadio:
        """What the mapper's driver uses in place of the platform's Bluetooth."""
        client, scanner = backends(self)
        return BleakRadio("", client_backend=client, scanner_backend=scanner)


def backends(adapter: Adapter) -> tuple[type[VirtualClient], type[VirtualScanner]]:
    """Bleak's backends over an adapter."""
    client = type("VirtualClientHere", (VirtualClient,), {"air": adapter})
    scanner = type("VirtualScannerHere", (VirtualScanner,), {"air": adapter})
    return client, scanner


def _is_cancelled() -> bool:
    """Whether somebody cancelled this task: bumble has a disconnection as a cancellation, too."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class VirtualClient(BaseBleakClient):
    """bleak's client over a bumble connection."""

    air: ClassVar[Adapter]
    _connection: Connection | None = None

    @property
    def name(self) -> str:
        """The address; the name is a characteristic."""
        return self.address

    @property
    def mtu_size(self) -> int:
        """Of the connection."""
        return self._connection.att_mtu if self._connection else 23

    @property
    def is_connected(self) -> bool:
        """Whether the connection stands."""
        return self._connection is not None

    async def connect(self, pair: bool, **kwargs: Any) -> None:  # noqa: ARG002  # the base class has it
        """Connect and discover all services."""
        central = await self.air.central()
        try:
            self._connection = connection = await central.connect(Address(self.address), timeout=self._timeout)
            connection.on(connection.EVENT_DISCONNECTION, self._on_disconnection)
            if pair:
                await connection.pair()
            await connection.gatt_client.request_mtu(_MTU)
            await self._discover(connection)
        except asyncio.CancelledError:
            if not _is_cancelled():
                await self.disconnect()
                raise BleakError(_CUT) from None
            if self._connection is None:
                # Not cancel_connection(): that believes nobody is connecting, once its connect() was cancelled.
                with contextlib.suppress(BaseBumbleError, TimeoutError):
                    async with asyncio.timeout(0.5):
                        await central.send_sync_command(HCI_LE_Create_Connection_Cancel_Command())
            raise
        except (BaseBumbleError, TimeoutError) as error:
            await self.disconnect()
            raise BleakDeviceNotFoundError(self.address, f"{self.address} was not found: {error}") from error

    async def disconnect(self) -> None:
        """Let go."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(BaseBumbleError, TimeoutError):
                async with asyncio.timeout(0.5):
                    await connection.disconnect()

    async def pair(self, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002  # the base class has them
        """Bond."""
        assert self._connection is not None
        await self._connection.pair()

    async def unpair(self) -> None:
        """Bonds of virtual devices are not kept."""

    async def read_gatt_char(
        self,
        characteristic: BleakGATTCharacteristic,
        *,
        use_cached: bool = False,  # noqa: ARG002  # the base class has it
        **kwargs: Any,  # noqa: ARG002  # the base class has it
    ) -> bytearray:
        """Read over ATT."""
        return bytearray(await self._answer(characteristic.obj.read_value()))

    async def read_gatt_descriptor(
        self,
        descriptor: BleakGATTDescriptor,
        *,
        use_cached: bool = False,  # noqa: ARG002  # the base class has it
        **kwargs: Any,  # noqa: ARG002  # the base class has it
    ) -> bytearray:
        """Read over ATT."""
        return bytearray(await self._answer(descriptor.obj.read_value()))

    async def write_gatt_char(self, characteristic: BleakGATTCharacteristic, data: SizedBuffer, response: bool) -> None:
        """Write over ATT."""
        await self._answer(characteristic.obj.write_value(bytes(data), with_response=response))

    async def write_gatt_descriptor(self, descriptor: BleakGATTDescriptor, data: SizedBuffer) -> None:
        """Write over ATT."""
        await self._answer(descriptor.obj.write_value(bytes(data), with_response=True))

    async def start_notify(
        self,
        characteristic: BleakGATTCharacteristic,
        callback: Callable[[bytearray], None],
        **kwargs: Any,  # noqa: ARG002  # the base class has it
    ) -> None:
        """Subscribe by the descriptor, as any client does."""
        indicated = "notify" not in characteristic.properties
        proxy: CharacteristicProxy[bytes] = characteristic.obj
        await self._answer(proxy.subscribe(lambda value: callback(bytearray(value)), prefer_notify=not indicated))

    async def stop_notify(self, characteristic: BleakGATTCharacteristic) -> None:
        """Unsubscribe."""
        await self._answer(characteristic.obj.unsubscribe(force=True))

    async def _answer(self, call: Awaitable[T]) -> T:
        """Wait for an answer; a disconnection ends it as an error, which bumble has as a cancellation."""
        try:
            return await call
        except ATT_Error as error:
            raise BleakGATTProtocolError(error.error_code) from error
        except BaseBumbleError as error:
            raise BleakError(str(error)) from error
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            raise BleakError(_CUT) from None

    async def _discover(self, connection: Connection) -> None:
        collection = BleakGATTServiceCollection()
        for found in await connection.gatt_client.discover_services():
            service = BleakGATTService(found, found.handle, uuid_of(found.uuid))
            collection.add_service(service)
            for one in await found.discover_characteristics():
                names: Any = [flag.name.lower().replace("_", "-") for flag in one.properties if flag.name]
                characteristic = BleakGATTCharacteristic(
                    one, one.handle, uuid_of(one.uuid), names, lambda: self.mtu_size - 3, service
                )
                collection.add_characteristic(characteristic)
                for each in await one.discover_descriptors():
                    collection.add_descriptor(
                        BleakGATTDescriptor(each, each.handle, uuid_of(each.type), characteristic)
                    )
        self.services = collection

    def _on_disconnection(self, _reason: int) -> None:
        if self._connection is not None:  # else it was our own wish
            self._connection = None
            if self._disconnected_callback is not None:
                self._disconnected_callback()
