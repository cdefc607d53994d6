"""What a device has advertised: the newest of each part, for an advertisement has not all of them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mappers.ble import bthome
from mappers.ble.encoding import NotDecodable
from mappers.ble.point import Advertised, BlePoint
from mappers.sdk import Fault, Quality, Readings, Reason, Value

if TYPE_CHECKING:
    from bleak.backends.scanner import AdvertisementData

    from mappers.ble.gatt import Reader

Part = tuple[str, str | int, int]
"""Where in an advertisement: which kind of part, which of them, and its number among equals."""


@dataclass(slots=True)
class Heard:
    """All that one device said. ``key`` opens its encrypted messages."""

    mac: str
    key: bytes | None
    silence_s: float
    _parts: dict[Part, tuple[Value | bytes, float]] = field(default_factory=dict)
    _sealed: Fault | None = None
    """Why its BTHome messages cannot be read."""
    _counter: tuple[int, float] = (-1, 0.0)

    def take(self, said: AdvertisementData, now_s: float) -> frozenset[Part]:
        """Note an advertisement; returns which parts it had."""
        parts: dict[Part, Value | bytes] = {("service", uuid, 1): given for uuid, given in said.service_data.items()}
        parts |= {("maker", company, 1): given for company, given in said.manufacturer_data.items()}
        if bthome.UUID in said.service_data:
            parts |= self._opened(said.service_data[bthome.UUID], now_s)
        parts["advertised", Advertised.RSSI, 1] = said.rssi
        if said.tx_power is not None:
            parts["advertised", Advertised.TX_POWER, 1] = said.tx_power
        if said.local_name:
            parts["advertised", Advertised.NAME, 1] = said.local_name
        self._parts |= {part: (given, now_s) for part, given in parts.items()}
        return frozenset(parts)

    def put(self, readings: Readings, reader: Reader, now_s: float) -> None:
        """Put a point into readings: its value, or why there is none, or that it is old."""
        part = part_of(reader.address)
        if part not in self._parts:
            sealed = self._sealed if part[0] == "bthome" else None
            readings.faults[reader.name] = sealed or Fault(Reason.TIMEOUT, f"{self.mac} has not advertised it yet")
            return
        given, at_s = self._parts[part]
        if isinstance(given, bytes):
            reader.put(readings, given)
        else:
            readings.values[reader.name] = given
        if now_s - at_s > self.silence_s and reader.name in readings.values:
            text = f"{self.mac} has not advertised it for {now_s - at_s:.0f} s"
            readings.faults[reader.name] = Fault(Reason.STALE, text, Quality.UNCERTAIN)

    def _opened(self, given: bytes, now_s: float) -> dict[Part, Value | bytes]:
        try:
            packet = bthome.packet(given, self.mac, self.key)
        except NotDecodable as error:
            self._sealed = Fault(Reason.DECODE_ERROR, str(error))
            return {}
        if packet.counter is not None:
            newest, at_s = self._counter
            if packet.counter < newest and now_s - at_s < self.silence_s:
                return {}  # sent again by somebody else; a device that began anew was silent before
            self._counter = packet.counter, now_s
        self._sealed = None
        return {("bthome", one.name, one.number): one.value for one in packet.found}


def part_of(address: BlePoint) -> Part:
    """The part that a point wants."""
    if address.service_data:
        return "service", address.service_data, 1
    if address.manufacturer_data is not None:
        return "maker", address.manufacturer_data, 1
    if address.bthome:
        return "bthome", address.bthome, address.number
    assert address.advertised is not None
    return "advertised", address.advertised, 1
