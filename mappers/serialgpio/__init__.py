"""Boards and modules on serial lines as a mapper; pyserial is imported when the first driver is made."""

from __future__ import annotations

from typing import cast

from mappers.sdk import Capability, ConnectionConfig, DeviceConfig, Driver, Mapper, PointConfig
from mappers.serialgpio.config import Backend, SerialgpioConnection, SerialgpioDevice, SerialgpioScan
from mappers.serialgpio.point import SerialgpioPoint

__all__ = ["MAPPER"]


def _driver(config: ConnectionConfig) -> Driver[DeviceConfig, PointConfig, object]:
    from mappers.serialgpio.firmata_driver import FirmataDriver  # listing mappers must not cost the import of pyserial
    from mappers.serialgpio.frames_driver import FramesDriver

    wanted = SerialgpioConnection.model_validate(config)
    driver = FirmataDriver(wanted) if wanted.backend is Backend.FIRMATA else FramesDriver(wanted)
    # The runner hands a driver only plans of its own, and configurations of the models named below.
    return cast("Driver[DeviceConfig, PointConfig, object]", driver)


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
