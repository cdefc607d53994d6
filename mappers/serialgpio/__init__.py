"""Boards with pins on serial lines as a mapper; pyserial is imported when the first driver is made."""

from __future__ import annotations

from typing import cast

from mappers.sdk import Capability, ConnectionConfig, DeviceConfig, Driver, Mapper, PointConfig
from mappers.serialgpio.config import SerialgpioConnection, SerialgpioDevice, SerialgpioScan
from mappers.serialgpio.point import SerialgpioPoint

__all__ = ["MAPPER"]


def _driver(config: ConnectionConfig) -> Driver[DeviceConfig, PointConfig, object]:
    from mappers.serialgpio.firmata_driver import FirmataDriver  # listing mappers must not cost the import of pyserial

    wanted = SerialgpioConnection.model_validate(config)
    # The runner hands a driver only plans of its own, and configurations of the models named below.
    return cast("Driver[DeviceConfig, PointConfig, object]", FirmataDriver(wanted))


MAPPER = Mapper(
    name="serialgpio",
    connection=SerialgpioConnection,
    device=SerialgpioDevice,
    point=SerialgpioPoint,
    driver=_driver,
    aliases={"serialgpio": "serialgpio", "serial-gpio": "serialgpio", "gpio": "serialgpio", "firmata": "serialgpio"},
    scan=SerialgpioScan,
    capabilities=frozenset({Capability.SUBSCRIBE, Capability.DISCOVER}),
)
