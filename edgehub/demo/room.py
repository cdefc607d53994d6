"""The climate sensor of the demo plant: a Bluetooth device of bumble's, in the air of an adapter that TCP reaches."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, Self

# bumble has its home in mappers/ble; see the note in plant.py.
from bumble.core import AdvertisingData
from bumble.device import AdvertisingType, Connection
from bumble.gatt import Characteristic, CharacteristicValue, Service

from edgehub.demo.hall import Room
from mappers.ble.virtual import Air
from mappers.ble.virtual_hci import HciServer

MAC: Final = "C4:7C:8D:00:00:01"

_ENVIRONMENT: Final = "181A"
_TEMPERATURE: Final = "2A6E"
_HUMIDITY: Final = "2A6F"
_BATTERY: Final = "2A19"
_NOTIFIED: Final = Characteristic.Properties.READ | Characteristic.Properties.NOTIFY


class RoomSensor:
    """The sensor; ``async with`` switches it on, ``show`` gives it something to say."""

    port = 0
    """Where its adapter is reached."""

    def __init__(self) -> None:
        """Make the sensor; entering switches it on."""
        self._air = Air()
        self._server = HciServer(self._air)
        self._values = {_TEMPERATURE: b"\0\0", _HUMIDITY: b"\0\0", _BATTERY: b"\x57"}
        self._characteristics: dict[str, Characteristic[bytes]] = {
            uuid: Characteristic(uuid, _NOTIFIED, Characteristic.READABLE, CharacteristicValue(read=self._reader(uuid)))
            for uuid in self._values
        }

    async def __aenter__(self) -> Self:
        """Switch it on: it advertises, and waits for somebody to connect."""
        self._device = await self._air.device(MAC, "Climate")
        self._device.add_service(Service(_ENVIRONMENT, list(self._characteristics.values())))
        self._device.advertising_interval_min = self._device.advertising_interval_max = 100
        title = bytes(AdvertisingData([(AdvertisingData.COMPLETE_LOCAL_NAME, b"Climate")]))
        await self._device.start_advertising(
            advertising_type=AdvertisingType.UNDIRECTED_CONNECTABLE_SCANNABLE,
            auto_restart=True,
            advertising_data=title,
            scan_response_data=b"",
        )
        self.port = await self._server.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        """Switch it off."""
        await self._server.__aexit__(*error)
        await self._device.power_off()

    async def show(self, room: Room) -> None:
        """Measure; who has asked for it is told what has changed."""
        measured = {
            _TEMPERATURE: struct.pack("<h", round(room.temperature_c * 100)),
            _HUMIDITY: struct.pack("<H", round(room.humidity_pct * 100)),
        }
        for uuid, value in measured.items():
            if self._values[uuid] != value:
                self._values[uuid] = value
                await self._device.notify_subscribers(self._characteristics[uuid], value)

    def _reader(self, uuid: str) -> Callable[[Connection], bytes]:
        return lambda _: self._values[uuid]
