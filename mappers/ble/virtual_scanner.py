"""bleak's scanner over a bumble device; see ``mappers.ble.virtual``."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
from bumble.core import UUID, AdvertisingData
from bumble.device import Advertisement, Device

from mappers.ble.uuids import full_uuid

_AD = AdvertisingData.Type


class Adapter(Protocol):
    """The gateway's side of the air."""

    async def central(self) -> Device:
        """The adapter, on. Raises BleakError."""
        ...


class VirtualScanner(BaseBleakScanner):
    """bleak's scanner over a bumble device."""

    air: ClassVar[Adapter]

    def __init__(self, detection_callback: Any, service_uuids: list[str] | None, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002  # the base class has it
        super().__init__(detection_callback, service_uuids)

    async def start(self) -> None:
        """Listen."""
        central = await self.air.central()
        central.on(central.EVENT_ADVERTISEMENT, self._on_advertisement)
        await central.start_scanning(filter_duplicates=False)

    async def stop(self) -> None:
        """Listen no more."""
        central = await self.air.central()
        central.remove_listener(central.EVENT_ADVERTISEMENT, self._on_advertisement)
        await central.stop_scanning()

    def _on_advertisement(self, heard: Advertisement) -> None:
        said = advertised(heard)
        mac = heard.address.to_string(with_type_qualifier=False)
        device = self.create_or_update_device(mac, mac, said.local_name, heard, said)
        self.call_detection_callbacks(device, said)


def advertised(heard: Advertisement) -> AdvertisementData:
    """What an advertisement says, as bleak has it."""
    name, power = None, None
    makers: dict[int, bytes] = {}
    services: dict[str, bytes] = {}
    uuids: list[str] = []
    for kind, given in heard.data.ad_structures:
        if kind in (_AD.COMPLETE_LOCAL_NAME, _AD.SHORTENED_LOCAL_NAME):
            name = given.decode("utf-8", "replace")
        elif kind == _AD.MANUFACTURER_SPECIFIC_DATA:
            makers[int.from_bytes(given[:2], "little")] = given[2:]
        elif kind == _AD.SERVICE_DATA_16_BIT_UUID:
            services[uuid_of(UUID.from_bytes(given[:2]))] = given[2:]
        elif kind == _AD.SERVICE_DATA_128_BIT_UUID:
            services[uuid_of(UUID.from_bytes(given[:16]))] = given[16:]
        elif kind == _AD.TX_POWER_LEVEL:
            power = int.from_bytes(given, "little", signed=True)
        elif kind in (
            _AD.COMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS,
            _AD.INCOMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS,
        ):
            uuids += [uuid_of(UUID.from_bytes(given[at : at + 2])) for at in range(0, len(given), 2)]
    return AdvertisementData(name, makers, services, uuids, power, heard.rssi, (heard,))


def uuid_of(uuid: UUID) -> str:
    """A UUID of bumble as bleak writes it."""
    return full_uuid(uuid.to_hex_str())
