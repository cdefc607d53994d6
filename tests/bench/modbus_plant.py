"""Documents of Modbus devices on the libmodbus peer, whose holding registers all change at every poll of the first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

NAMESPACE: Final = "bench"
SWITCH: Final = "switch"
"""A coil, the one property that can be set; the peer leaves it as it was written."""


def twin(device: int) -> str:
    """Key of a device's twin."""
    return f"device/{NAMESPACE}/plc{device:03d}"


def documents(port: int, *, devices: int, points: int, cycle: str) -> str:
    """One connection, devices with a number of registers and the switch, polled each cycle."""
    registers = [{"name": f"r{number}", "type": "INT", "accessMode": "ReadOnly"} for number in range(points - 1)]
    switch = {"name": SWITCH, "type": "BOOLEAN", "accessMode": "ReadWrite"}
    model = _document("DeviceModel", "plc", {"properties": [*registers, switch]})
    config = {"transport": "tcp", "host": "127.0.0.1", "port": port}
    connection = _document("Connection", "bus", {"mapper": "modbus", "config": config})
    made = [model, connection, *(_device(number, points, cycle) for number in range(devices))]
    return "\n---\n".join(map(json.dumps, made)) + "\n"


def _device(number: int, points: int, cycle: str) -> dict[str, object]:
    first = number * (points - 1)
    visitors: dict[str, dict[str, object]] = {
        f"r{index}": {"table": "holding", "address": first + index, "type": "uint16"} for index in range(points - 1)
    }
    visitors[SWITCH] = {"table": "coil", "address": number}
    properties = [
        {"name": name, "visitors": {"protocolName": "modbus", "configData": visitor}, "collectCycle": cycle}
        for name, visitor in visitors.items()
    ]
    address = {"unit": number % 247 + 1}
    spec = {"deviceModelRef": {"name": "plc"}, "connection": "bus", "address": address, "properties": properties}
    return _document("Device", twin(number).rsplit("/", 1)[-1], spec)


def _document(kind: str, name: str, spec: Mapping[str, object]) -> dict[str, object]:
    metadata = {"namespace": NAMESPACE, "name": name}
    return {"apiVersion": "edgetwin.dev/v1", "kind": kind, "metadata": metadata, "spec": spec}
