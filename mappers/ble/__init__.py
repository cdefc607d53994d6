"""Bluetooth LE as a mapper; bleak is imported when the first driver is made."""

from __future__ import annotations

from typing import cast

from mappers.ble.config import BleConnection, BleDevice, BleScan, split_kubeedge
from mappers.ble.point import BlePoint
from mappers.sdk import Capability, ConnectionConfig, DeviceConfig, Driver, Mapper, PointConfig

__all__ = ["MAPPER"]


def _driver(config: ConnectionConfig) -> Driver[DeviceConfig, PointConfig, object]:
    from mappers.ble.driver import BleDriver  # listing mappers must not cost the import of bleak

    # The runner hands a driver only plans of its own, and configurations of the models named below.
    return cast("Driver[DeviceConfig, PointConfig, object]", BleDriver(BleConnection.model_validate(config)))


MAPPER = Mapper(
    name="ble",
    connection=BleConnection,
    device=BleDevice,
    point=BlePoint,
    driver=_driver,
    aliases={"ble": "ble", "bluetooth": "ble", "bluetooth-le": "ble"},
    split=split_kubeedge,
    scan=BleScan,
    capabilities=frozenset({Capability.SUBSCRIBE, Capability.DISCOVER}),
)
