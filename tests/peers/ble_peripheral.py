"""A Bluetooth device of bumble's own: a weather sensor with a lamp, which also advertises. Shares no code with ours."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable

from bumble.att import ATT_Error
from bumble.core import AdvertisingData
from bumble.device import AdvertisingType, Connection, Device
from bumble.gatt import Characteristic, CharacteristicValue, Descriptor, Service

READ, WRITE = Characteristic.READABLE, Characteristic.WRITEABLE
P = Characteristic.Properties
LAMP, LABEL, COMMAND, FAST, CONFIG, LOCKED, SECRET = (f"f000aa0{n}-0451-4000-b000-000000000000" for n in range(1, 8))


class Sensor:
    """``values`` by UUID are what it has; ``delay_s`` is how slow it is."""

    def __init__(self) -> None:
        self.values = {
            "2A6E": struct.pack("<h", 2150),
            "2A19": b"\x57",
            "2A29": b"Acme",
            LAMP: b"\x00",
            LABEL: b"hall",
            COMMAND: b"",
            CONFIG: bytes.fromhex("0102ff04"),
            FAST: bytes(4),
        }
        self.reads = 0
        self.delay_s = 0.0
        self.connections: list[Connection] = []
        self.temperature = self._characteristic("2A6E", P.READ | P.NOTIFY)
        self.lamp = self._characteristic(LAMP, P.READ | P.WRITE | P.NOTIFY)
        self.fast = self._characteristic(FAST, P.NOTIFY)
        self._service = Service(
            "181A",
            [
                self.temperature,
                self.lamp,
                self.fast,
                self._characteristic("2A19", P.READ),
                self._characteristic("2A29", P.READ),
                self._characteristic(LABEL, P.READ | P.WRITE),
                self._characteristic(COMMAND, P.WRITE_WITHOUT_RESPONSE),
                self._characteristic(CONFIG, P.READ | P.WRITE, [(0x2904, "0efe2f27010000")]),
                Characteristic(LOCKED, P.READ, READ, CharacteristicValue(read=_locked)),
                Characteristic(SECRET, P.READ, READ | Characteristic.READ_REQUIRES_ENCRYPTION, b"\x2a"),
            ],
        )
        self.device: Device | None = None

    async def start(self, device: Device, advertised: bytes = b"") -> None:
        """Serve and advertise on a powered device."""
        self.device = device
        device.add_service(self._service)
        device.on(device.EVENT_CONNECTION, self._on_connection)
        await self.advertise(advertised)

    async def advertise(self, advertised: bytes = b"", name: str = "Sensor") -> None:
        """Advertise these AD structures, and a name, ten times a second."""
        assert self.device is not None
        title = bytes(AdvertisingData([(AdvertisingData.COMPLETE_LOCAL_NAME, name.encode())]))
        self.device.advertising_interval_min = self.device.advertising_interval_max = 20
        await self.device.start_advertising(
            advertising_type=AdvertisingType.UNDIRECTED_CONNECTABLE_SCANNABLE,
            auto_restart=True,
            advertising_data=advertised + title,
            scan_response_data=b"",
        )

    async def set(self, characteristic: Characteristic, uuid: str, value: bytes) -> None:
        """Change a value and notify."""
        self.values[uuid] = value
        assert self.device is not None
        await self.device.notify_subscribers(characteristic, value)

    async def cut(self) -> None:
        """Drop who is connected."""
        for connection in list(self.connections):
            await connection.disconnect()

    def _characteristic(
        self, uuid: str, properties: Characteristic.Properties, descriptors: list[tuple[int, str]] | None = None
    ) -> Characteristic:
        value = CharacteristicValue(read=self._reader(uuid), write=self._writer(uuid))
        extra = [Descriptor(f"{number:04X}", READ, bytes.fromhex(given)) for number, given in descriptors or ()]
        return Characteristic(uuid, properties, READ | WRITE, value, extra)

    def _reader(self, uuid: str) -> Callable:
        async def read(_: Connection) -> bytes:
            self.reads += 1
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            return self.values[uuid]

        return read

    def _writer(self, uuid: str) -> Callable:
        def write(_: Connection, value: bytes) -> None:
            if uuid == LABEL and value == b"refuse me":
                raise ATT_Error(0x80)
            self.values[uuid] = bytes(value)

        return write

    def _on_connection(self, connection: Connection) -> None:
        self.connections.append(connection)
        connection.on(connection.EVENT_DISCONNECTION, lambda _: self.connections.remove(connection))


def _locked(_: Connection) -> bytes:
    raise ATT_Error(0x05)


def structures(*parts: tuple[int, bytes]) -> bytes:
    """AD structures as they go over the air."""
    return b"".join(bytes([len(given) + 1, kind]) + given for kind, given in parts)
