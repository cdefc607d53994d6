"""OPC UA as a mapper; asyncua is imported when the first driver is made."""

from __future__ import annotations

from typing import cast

from mappers.opcua.config import OpcuaConnection, OpcuaDevice, OpcuaPoint, OpcuaScan, split_kubeedge
from mappers.sdk import Capability, ConnectionConfig, DeviceConfig, Driver, Mapper, PointConfig

__all__ = ["MAPPER"]


def _driver(config: ConnectionConfig) -> Driver[DeviceConfig, PointConfig, object]:
    from mappers.opcua.driver import OpcuaDriver  # listing mappers must not cost the import of asyncua

    # The runner hands a driver only plans of its own, and configurations of the models named below.
    return cast("Driver[DeviceConfig, PointConfig, object]", OpcuaDriver(OpcuaConnection.model_validate(config)))


MAPPER = Mapper(
    name="opcua",
    connection=OpcuaConnection,
    device=OpcuaDevice,
    point=OpcuaPoint,
    driver=_driver,
    aliases={"opcua": "opcua", "opc-ua": "opcua"},
    split=split_kubeedge,
    scan=OpcuaScan,
    capabilities=frozenset({Capability.SUBSCRIBE, Capability.DISCOVER}),
)
