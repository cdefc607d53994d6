"""Boards and modules on serial lines, and GPIO chips; pyserial is imported when the first driver is made."""

from __future__ import annotations

from typing import cast

from mappers.sdk import Capability, ConnectionConfig, DeviceConfig, Driver, Mapper, PointConfig
from mappers.serialgpio.config import Backend, SerialgpioConnection, SerialgpioDevice, SerialgpioScan, split_kubeedge
from mappers.serialgpio.point import SerialgpioPoint

__all__ = ["MAPPER"]


def _driver(config: ConnectionConfig) -> Driver[DeviceConfig, PointConfig, object]:
    wanted = SerialgpioConnection.model_validate(config)
    driver: object
    match wanted.backend:  # listing mappers must not cost the import of pyserial
        case Backend.FIRMATA:
            from mappers.serialgpio.firmata_driver import FirmataDriver

            driver = FirmataDriver(wanted)
        case Backend.GPIOCHIP:
            from mappers.serialgpio.chip_driver import ChipDriver

            driver = ChipDriver(wanted)
        case _:
            from mappers.serialgpio.frames_driver import FramesDriver

            driver = FramesDriver(wanted)
    # The runner hands a driver only plans of its own, and configurations of the models named below.
    return cast("Driver[DeviceConfig, PointConfig, object]", driver)


MAPPER = Mapper(
    name="serialgpio",
    connection=SerialgpioConnection,
    device=SerialgpioDevice,
    point=SerialgpioPoint,
    driver=_driver,
    aliases={"serialgpio": "serialgpio", "serial-gpio": "serialgpio", "gpio": "serialgpio", "firmata": "serialgpio"},
    split=split_kubeedge,
    scan=SerialgpioScan,
    capabilities=frozenset({Capability.SUBSCRIBE, Capability.DISCOVER}),
)
