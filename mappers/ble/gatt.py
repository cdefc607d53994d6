"""Reads, writes and notifications over one link: characteristics found by UUID, bytes to values."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from bleak import BleakClient
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.exc import BleakError

from mappers.ble.encoding import Encoding, NotDecodable, NotEncodable
from mappers.ble.numbers import NoValue
from mappers.ble.point import BlePoint
from mappers.ble.radio import refusal_of
from mappers.ble.uuids import short_uuid
from mappers.sdk import Fault, Point, Quality, Readings, Reason, Value, ValueType, WriteRefused

_WRITABLE: Final = {"write", "write-without-response", "authenticated-signed-writes"}
_NEVER_WRITTEN: Final = Fault(Reason.STALE, "not written since the mapper started, and not readable", Quality.UNCERTAIN)


@dataclass(slots=True, eq=False)
class Link:
    """A client that is connected. Its notifications go to all who asked, for a device knows only one of us."""

    client: BleakClient
    _takers: dict[int, list[Callable[[bytes], None]]] = field(default_factory=dict)

    async def notify(self, characteristic: BleakGATTCharacteristic, take: Callable[[bytes], None]) -> None:
        """Have values of a characteristic taken for as long as the link stands. Raises bleak's errors."""
        takers = self._takers.get(characteristic.handle)
        if takers is not None:
            takers.append(take)
            return
        takers = [take]

        def on_value(_: BleakGATTCharacteristic, given: bytearray) -> None:
            value = bytes(given)
            for one in takers:
                one(value)

        await self.client.start_notify(characteristic, on_value)
        self._takers[characteristic.handle] = takers


@dataclass(frozen=True, slots=True)
class Reader:
    """One point, ready to be decoded."""

    name: str
    type: ValueType
    address: BlePoint
    encoding: Encoding

    @classmethod
    def of(cls, point: Point[BlePoint]) -> Reader:
        """Compile a point."""
        return cls(point.name, point.type, point.address, point.address.encoding())

    def put(self, readings: Readings, given: bytes) -> None:
        """Decode into readings; what cannot be is a fault."""
        try:
            readings.values[self.name] = self.encoding.decode(given, self.type)
        except NotDecodable as error:
            readings.faults[self.name] = Fault(Reason.DECODE_ERROR, str(error))
        except NoValue as error:
            readings.faults[self.name] = Fault(Reason.DEVICE_FAILURE, str(error))


def find(client: BleakClient, address: BlePoint) -> BleakGATTCharacteristic | Fault:
    """The characteristic of a point: the first of its UUID, in its service if one is named."""
    title = short_uuid(address.characteristic)
    for service in client.services:
        if not address.service or service.uuid == address.service:
            for one in service.characteristics:
                if one.uuid == address.characteristic:
                    return one
    where = f" in its service {short_uuid(address.service)}" if address.service else ""
    return Fault(Reason.ILLEGAL_ADDRESS, f"the device has no characteristic {title}{where}")


def grouped(
    client: BleakClient, readers: Iterable[Reader], readings: Readings
) -> dict[int, tuple[BleakGATTCharacteristic, list[Reader]]]:
    """Readers by characteristic, for one read serves all of them; those without one get a fault."""
    groups: dict[int, tuple[BleakGATTCharacteristic, list[Reader]]] = {}
    for reader in readers:
        found = find(client, reader.address)
        if isinstance(found, Fault):
            readings.faults[reader.name] = found
        else:
            groups.setdefault(found.handle, (found, []))[1].append(reader)
    return groups


async def read(
    client: BleakClient, readers: Iterable[Reader], written: Mapping[str, Value], timeout_s: float
) -> Readings:
    """Read all of them. Raises bleak's errors; a refusal is a fault of its points."""
    readings = Readings()
    for characteristic, some in grouped(client, readers, readings).values():
        if "read" not in characteristic.properties:
            _put_written(readings, some, written)
            continue
        try:
            async with asyncio.timeout(timeout_s):
                given = bytes(await client.read_gatt_char(characteristic))
        except BleakError as error:
            if (fault := refusal_of(error)) is None:
                raise
            readings.faults.update(dict.fromkeys((reader.name for reader in some), fault))
            continue
        for reader in some:
            reader.put(readings, given)
    return readings


async def write(client: BleakClient, reader: Reader, value: Value, timeout_s: float) -> None:
    """Write a value; into a part of a characteristic after reading the rest. Raises WriteRefused and bleak's errors."""
    name, address = reader.name, reader.address
    found = find(client, address)
    if isinstance(found, Fault):
        raise _refused(name, found.text)
    if not _WRITABLE & set(found.properties):
        raise _refused(name, f"the characteristic {short_uuid(address.characteristic)} takes no writes")
    response = address.response if address.response is not None else "write" in found.properties
    try:
        async with asyncio.timeout(timeout_s):
            held = b""
            if "read" in found.properties and (reader.encoding.partial or not address.type.size):
                held = bytes(await client.read_gatt_char(found))
            given = reader.encoding.encode(value, reader.type, held)
            await client.write_gatt_char(found, given, response=response)
    except NotEncodable as error:
        raise _refused(name, str(error)) from None
    except BleakError as error:
        if (fault := refusal_of(error)) is None:
            raise
        raise _refused(name, fault.text) from error


async def notify(link: Link, readers: Iterable[Reader], tell: Callable[[Readings], None]) -> frozenset[str]:
    """Have the device tell what it can tell by itself; returns the names of those points. Raises bleak's errors."""
    told: set[str] = set()
    for characteristic, some in grouped(link.client, readers, Readings()).values():
        wanted = [reader for reader in some if reader.address.notify]
        if wanted and {"notify", "indicate"} & set(characteristic.properties):
            try:
                await link.notify(characteristic, _on_value(wanted, tell))
            except BleakError as error:
                if refusal_of(error) is None:
                    raise
                continue  # it is polled, which says why it has no value
            told |= {reader.name for reader in wanted}
    return frozenset(told)


def _on_value(readers: list[Reader], tell: Callable[[Readings], None]) -> Callable[[bytes], None]:
    def on_value(given: bytes) -> None:
        readings = Readings()
        for reader in readers:
            reader.put(readings, given)
        tell(readings)

    return on_value


def _refused(name: str, why: str) -> WriteRefused:
    message = f"{name} was not written: {why}"
    return WriteRefused(message)


def _put_written(readings: Readings, readers: Iterable[Reader], written: Mapping[str, Value]) -> None:
    """What cannot be read stands at what was last written."""
    for reader in readers:
        if reader.name in written:
            readings.values[reader.name] = written[reader.name]
        else:
            readings.faults[reader.name] = _NEVER_WRITTEN
