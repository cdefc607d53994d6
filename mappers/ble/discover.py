"""Looking for devices: whoever advertises becomes a device, with what it advertises and, if wanted, what it has."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from typing import Final

from bleak import BleakClient
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData

from mappers.ble import bthome
from mappers.ble.config import BleConnection, BleScan
from mappers.ble.encoding import NotDecodable
from mappers.ble.radio import FAILURES, BleakRadio, error_of
from mappers.ble.standard import PRESENTATION_FORMAT, STANDARDS, Standard, presented
from mappers.ble.uuids import assigned, short_uuid
from mappers.sdk import Access, FoundDevice, FoundPoint, NotConnected, Progress, Value, ValueType

log = logging.getLogger(__name__)

_READABLE: Final = {"read", "notify", "indicate"}
_WRITABLE: Final = {"write", "write-without-response"}
_GENERIC: Final = (0x1800, 0x1801)  # access and attribute: of every device, of no interest

_Seen = dict[str, tuple[BLEDevice, list[AdvertisementData]]]


async def discover(
    radio: BleakRadio, config: BleConnection, wanted: BleScan, tell: Callable[[Progress], None]
) -> AsyncGenerator[FoundDevice, None]:
    """Listen, then look into the devices one after the other. Raises NotConnected."""
    seen: _Seen = {}

    def on_seen(device: BLEDevice, said: AdvertisementData) -> None:
        known = seen.setdefault(device.address.upper(), (device, []))[1]
        if said not in known[-8:]:  # several kinds in turn are enough
            known.append(said)
            del known[:-8]

    scanner = radio.scanner(on_seen)
    try:
        await scanner.start()
        try:
            steps = max(1, round(wanted.seconds))
            for step in range(steps):
                tell(Progress(step, steps, "seconds"))
                await asyncio.sleep(wanted.seconds / steps)
        finally:
            await scanner.stop()
    except FAILURES as error:
        told = error_of(error, "listening to advertisements")
        raise NotConnected(told.message, remedy=told.remedy) from error
    chosen = {mac: one for mac, one in seen.items() if wanted.named.lower() in _name(one[1]).lower()}
    for done, (mac, (device, said)) in enumerate(sorted(chosen.items()), 1):
        points = list(_advertised(mac, said))
        if wanted.connect:
            points += await _looked_into(radio, config, device)
        tell(Progress(done, len(chosen), "devices"))
        yield found_device(mac, _name(said), points, max(one.rssi for one in said))


def found_device(mac: str, name: str, points: Iterable[FoundPoint], rssi: int) -> FoundDevice:
    """One device. Names of points are made unique."""
    unique: dict[str, FoundPoint] = {}
    for point in points:
        title, number = point.name, 2
        while title in unique:
            title, number = f"{point.name}-{number}", number + 1
        unique[title] = FoundPoint(title, point.type, point.access, point.visitor, point.unit, point.description)
    plain = re.sub(r"[^a-z0-9.-]+", "-", name.lower())[:40].strip("-.") or "ble"
    title = f"{plain}-{mac.replace(':', '').lower()[-4:]}"
    return FoundDevice(title, {"mac": mac}, tuple(unique.values()), f"{name or mac}, {rssi} dBm")


def _name(said: list[AdvertisementData]) -> str:
    return next((one.local_name for one in said if one.local_name), "")


def _advertised(mac: str, said: list[AdvertisementData]) -> Iterator[FoundPoint]:
    done: set[object] = set()
    for one in said:
        for uuid, given in one.service_data.items():
            if uuid == bthome.UUID:
                yield from _bthome(mac, given, done)
            elif uuid not in done:
                done.add(uuid)
                yield _point(f"data-{short_uuid(uuid)}", ValueType.BYTES, {"serviceData": short_uuid(uuid)})
        for company in one.manufacturer_data.keys() - done:
            done.add(company)
            yield _point(f"maker-{company}", ValueType.BYTES, {"manufacturerData": company})
    yield FoundPoint("rssi", ValueType.INT, Access.READ_ONLY, {"advertised": "rssi"}, "dBm")


def _bthome(mac: str, given: bytes, done: set[object]) -> Iterator[FoundPoint]:
    try:
        packet = bthome.packet(given)
    except NotDecodable as error:
        log.info("%s: %s", mac, error)
        return
    for one in packet.found:
        if (one.name, one.number) not in done and one.name != "packetId":
            done.add((one.name, one.number))
            visitor: dict[str, Value] = {"bthome": one.name} | ({"number": one.number} if one.number > 1 else {})
            yield FoundPoint(one.name, one.kind.type, Access.READ_ONLY, visitor, one.kind.unit)


async def _looked_into(radio: BleakRadio, config: BleConnection, device: BLEDevice) -> list[FoundPoint]:
    """Its characteristics; none if it lets nobody in."""
    client = radio.client(device, lambda _: None, timeout_s=config.connect_timeout_ms / 1000, pair=False)
    try:
        async with radio.connecting, asyncio.timeout(config.connect_timeout_ms / 1000), client:
            return [
                await _characteristic(client, one)
                for service in client.services
                if assigned(service.uuid) not in _GENERIC
                for one in service.characteristics
                if set(one.properties) & (_READABLE | _WRITABLE)
            ]
    except FAILURES as error:
        log.info("%s was not looked into: %s", device.address, error)
        return []


async def _characteristic(client: BleakClient, one: BleakGATTCharacteristic) -> FoundPoint:
    known = STANDARDS.get(assigned(one.uuid) or 0)
    visitor: dict[str, Value] = {"characteristic": short_uuid(one.uuid)}
    for descriptor in one.descriptors:
        if known is None and descriptor.uuid == PRESENTATION_FORMAT:
            known = presented(bytes(await client.read_gatt_descriptor(descriptor)))
            visitor |= _said(known)
    access = Access.READ_WRITE if set(one.properties) & _WRITABLE else Access.READ_ONLY
    title = re.sub(r"[^A-Za-z0-9]+", "-", known.title if known else "").strip("-").lower()
    if known is None:
        return FoundPoint(short_uuid(one.uuid), ValueType.BYTES, access, visitor)
    return FoundPoint(title or short_uuid(one.uuid), known.type, access, visitor, known.unit)


def _said(known: Standard | None) -> dict[str, Value]:
    if known is None:
        return {}
    encoding = known.encoding
    scale = encoding.multiplier / encoding.divisor
    return {"type": str(encoding.type)} | ({"scale": scale} if scale != 1 else {})


def _point(name: str, kind: ValueType, visitor: dict[str, Value]) -> FoundPoint:
    return FoundPoint(name, kind, Access.READ_ONLY, visitor)
