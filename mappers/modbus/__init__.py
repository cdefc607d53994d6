"""Modbus as a mapper: TCP, TLS, RTU, ASCII, RTU over TCP; pymodbus is imported when the first driver is made."""

from __future__ import annotations

from typing import cast

from mappers.modbus.config import ModbusConnection, ModbusDevice, ModbusScan, split_kubeedge
from mappers.modbus.point import ModbusPoint
from mappers.sdk import Capability, ConnectionConfig, DeviceConfig, Driver, Mapper, PointConfig

__all__ = ["MAPPER"]


def _driver(config: ConnectionConfig) -> Driver[DeviceConfig, PointConfig, object]:
    from mappers.modbus.driver import ModbusDriver  # listing mappers must not cost the import of pymodbus

    # The runner hands a driver only plans of its own, and configurations of the models named below.
    return cast("Driver[DeviceConfig, PointConfig, object]", ModbusDriver(ModbusConnection.model_validate(config)))


MAPPER = Mapper(
    name="modbus",
    connection=ModbusConnection,
    device=ModbusDevice,
    point=ModbusPoint,
    driver=_driver,
    aliases={"modbus": "modbus", "modbus-tcp": "modbus", "modbus-rtu": "modbus"},
    split=split_kubeedge,
    scan=ModbusScan,
    capabilities=frozenset({Capability.DISCOVER}),
)
