"""Services, characteristics and descriptors of a connected device as objects; ATT's errors as BlueZ words them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Final, TypeVar

from bumble.att import ATT_Error
from bumble.core import BaseBumbleError
from bumble.device import Connection
from bumble.gatt_client import CharacteristicProxy, DescriptorProxy
from dbus_fast import Message, Variant

from mappers.ble.virtual_scanner import uuid_of
from tests.peers.bluez_facade.objects import Call, Objects, Refused

T = TypeVar("T")

_SERVICE: Final = "org.bluez.GattService1"
_CHARACTERISTIC: Final = "org.bluez.GattCharacteristic1"
_DESCRIPTOR: Final = "org.bluez.GattDescriptor1"
_NOT_PAIRED: Final = ("NotPermitted", "Not paired")
_REFUSALS: Final = {  # create_gatt_dbus_error of src/gatt-client.c
    0x02: ("NotPermitted", "Read not permitted"),
    0x03: ("NotPermitted", "Write not permitted"),
    0x05: _NOT_PAIRED,
    0x0C: _NOT_PAIRED,
    0x0F: _NOT_PAIRED,
    0x06: ("NotSupported", "Operation is not supported"),
    0x07: ("InvalidArguments", "Invalid offset"),
    0x08: ("NotAuthorized", "Operation Not Authorized"),
    0x0D: ("InvalidArguments", "Invalid Length"),
}


async def export(objects: Objects, device: str, connection: Connection) -> None:
    """Discover everything over ATT and have it as objects. Raises bumble's errors."""
    for service in await connection.gatt_client.discover_services():
        place = f"{device}/service{service.handle:04x}"
        named = {"UUID": Variant("s", uuid_of(service.uuid)), "Device": Variant("o", device)}
        objects.add(place, _SERVICE, named | {"Primary": Variant("b", True), "Includes": Variant("ao", [])})
        for one in await service.discover_characteristics():
            at = f"{place}/char{one.handle - 1:04x}"  # BlueZ numbers the declaration, which is before the value
            flags = [flag.name.lower().replace("_", "-") for flag in one.properties if flag.name]
            objects.add(
                at,
                _CHARACTERISTIC,
                {
                    "UUID": Variant("s", uuid_of(one.uuid)),
                    "Service": Variant("o", place),
                    "Flags": Variant("as", flags),
                    "MTU": Variant("q", connection.att_mtu),
                },
                _calls(objects, at, one) | _notifications(objects, at, one, flags),
            )
            for each in await one.discover_descriptors():
                objects.add(
                    f"{at}/desc{each.handle:04x}",
                    _DESCRIPTOR,
                    {"UUID": Variant("s", uuid_of(each.type)), "Characteristic": Variant("o", at)},
                    _calls(objects, f"{at}/desc{each.handle:04x}", each),
                )


def _calls(objects: Objects, path: str, attribute: CharacteristicProxy[bytes] | DescriptorProxy) -> dict[str, Call]:
    async def read(_: Message) -> tuple[str, list[Any]]:
        value = bytes(await _answer(attribute.read_value()))
        objects.change(path, Value=Variant("ay", value))  # a read is told too, to whoever is notified
        return "ay", [value]

    async def write(message: Message) -> tuple[str, list[Any]]:
        value, options = message.body
        kind = options.get("type")
        await _answer(attribute.write_value(bytes(value), with_response=kind is None or kind.value == "request"))
        return "", []

    return {"ReadValue": read, "WriteValue": write}


def _notifications(objects: Objects, path: str, one: CharacteristicProxy[bytes], flags: list[str]) -> dict[str, Call]:
    def on_value(value: bytes) -> None:
        if objects.value(path, "UUID") is not None:  # else the link has ended
            objects.change(path, Value=Variant("ay", bytes(value)))

    async def start(_: Message) -> tuple[str, list[Any]]:
        if not {"notify", "indicate"} & set(flags):
            raise Refused("NotSupported", "Operation is not supported")
        await _answer(one.subscribe(on_value, prefer_notify="notify" in flags))
        objects.change(path, Notifying=Variant("b", True))
        return "", []

    async def stop(_: Message) -> tuple[str, list[Any]]:
        await _answer(one.unsubscribe(on_value))
        objects.change(path, Notifying=Variant("b", False))
        return "", []

    return {"StartNotify": start, "StopNotify": stop}


async def _answer(call: Awaitable[T]) -> T:
    try:
        return await call
    except ATT_Error as error:
        code = int(error.error_code)
        raise Refused(*_REFUSALS.get(code, ("Failed", f"Operation failed with ATT error: 0x{code:02x}"))) from error
    except (BaseBumbleError, TimeoutError) as error:
        raise Refused("Failed", str(error)) from error
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise Refused("Failed", "Not connected") from None  # bumble cancels what a disconnection ends
