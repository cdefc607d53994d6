"""The devices of the twin benchmarks: 10 properties of mixed types, limits, deadband, one desired value never met."""

from __future__ import annotations

import json
from typing import Final

from twin.model import Access, Kind, PropertySpec, ReportPolicy, TwinKey, TwinSpec, Value, ValueType

NAMESPACE: Final = "bench"
NEVER_MET: Final = 950_000
"""Desired of ``count``, whose reported values stay below 900 000."""

_LIMIT: Final = 1_000_000
_KEPT: Final = "level"


def values(device: int, turn: int) -> dict[str, Value]:
    """Readings of one device; each differs from those of the turn before by more than its deadband."""
    whole = turn % 900_000
    return {
        "count": whole,
        "speed": whole * 3 % 900_000,
        "state": (whole + device) % 7,
        "level": whole % 1000 * 0.5,
        "temperature": 20.25 + whole % 100,
        "pressure": whole % 500 + 0.125,
        "pump": whole % 2 == 0,
        "alarm": whole % 2 == 1,
        "batch": f"batch-{whole:06d}",
        "operator": f"shift {whole % 3} of line {device}",
    }


def payload(device: int, turn: int, report_id: int, at_ms: int, count: int = 10) -> bytes:
    """A report of the first ``count`` values as it goes over the wire."""
    some = dict(list(values(device, turn).items())[:count])
    return json.dumps({"id": report_id, "at": at_ms, "values": some}, separators=(",", ":")).encode()


def name(device: int) -> str:
    """Name of a device."""
    return f"d{device:03d}"


def spec(device: int) -> TwinSpec:
    """The twin of a device, as the documents below make it."""
    properties = {name_: _PROPERTIES[name_] for name_ in values(device, 0)}
    key = TwinKey(Kind.DEVICE, NAMESPACE, name(device))
    return TwinSpec(key, f"uid-{device}", "bench", properties=properties, desired={"count": NEVER_MET})


def documents(devices: int, *, history: bool = False) -> str:
    """A device model and its devices as a file of documents, JSON being YAML; with history of one in ten properties."""
    model = {
        "apiVersion": "edgetwin.dev/v1",
        "kind": "DeviceModel",
        "metadata": {"namespace": NAMESPACE, "name": "bench"},
        "spec": {"properties": [_document(one, history=history) for one in _PROPERTIES.values()]},
    }
    made = [model, *(_device(number) for number in range(devices))]
    return "\n---\n".join(map(json.dumps, made)) + "\n"


def _float(name_: str) -> PropertySpec:
    policy = ReportPolicy(deadband=0.01)
    return PropertySpec(name_, ValueType.DOUBLE, minimum=-_LIMIT, maximum=_LIMIT, tolerance=0.001, report=policy)


_PROPERTIES: Final = {
    one.name: one
    for one in (
        PropertySpec("count", ValueType.INT, Access.READ_WRITE, minimum=0, maximum=_LIMIT),
        PropertySpec("speed", ValueType.INT, minimum=0, maximum=_LIMIT),
        PropertySpec("state", ValueType.INT, minimum=0, maximum=10),
        _float("level"),
        _float("temperature"),
        _float("pressure"),
        PropertySpec("pump", ValueType.BOOLEAN),
        PropertySpec("alarm", ValueType.BOOLEAN),
        PropertySpec("batch", ValueType.STRING),
        PropertySpec("operator", ValueType.STRING),
    )
}


def _document(one: PropertySpec, *, history: bool) -> dict[str, object]:
    said: dict[str, object] = {"name": one.name, "type": one.type.value, "accessMode": one.access.value}
    if one.minimum is not None:
        said |= {"minimum": one.minimum, "maximum": one.maximum}
    if history and one.name == _KEPT:
        said |= {"history": {"keep": "changes"}}
    if one.report.deadband:
        said |= {"tolerance": one.tolerance, "report": {"deadband": one.report.deadband}}
    return said


def _device(number: int) -> dict[str, object]:
    return {
        "apiVersion": "edgetwin.dev/v1",
        "kind": "Device",
        "metadata": {"namespace": NAMESPACE, "name": name(number)},
        "spec": {
            "deviceModelRef": {"name": "bench"},
            "properties": [{"name": "count", "desired": {"value": NEVER_MET}}],
        },
    }
