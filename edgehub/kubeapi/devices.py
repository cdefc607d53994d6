"""Devices in KubeEdge's layout: v1beta1, values as text, the twins as the status. Pure."""

from __future__ import annotations

import json
from typing import Final

from edgehub.kubeapi.objects import Json, elements, mapping
from twin.document import Slot, TwinDocument
from twin.manifest.catalog import Stored
from twin.manifest.kinds import DeviceModelSpec, DeviceSpec
from twin.manifest.v1alpha2 import VERSION as V1ALPHA2
from twin.merge import standing, value_of
from twin.model import ConflictPolicy, PropertySpec, Quality, Value, ValueType

_CYCLES: Final = {"collectCycle": "collect_cycle_ms", "reportCycle": "report_cycle_ms"}
_TYPES: Final = {
    ValueType.INT: "int",
    ValueType.FLOAT: "float",
    ValueType.DOUBLE: "double",
    ValueType.BOOLEAN: "boolean",
}


def device_body(stored: Stored, status: Json) -> Json:
    """A Device as KubeEdge's clients read it: values are text, cycles are milliseconds, the gateway is nodeName."""
    spec = stored.document.spec
    assert isinstance(spec, DeviceSpec)
    if stored.document.api_version == V1ALPHA2:
        written = mapping(spec.model_dump(mode="json", by_alias=True, exclude_unset=True))
    else:
        written = dict(mapping(stored.document.raw.get("spec")))
    properties: list[Value] = []
    for one, said in zip(spec.properties, map(mapping, elements(written.get("properties"))), strict=True):
        cycles = {key: getattr(one, name) for key, name in _CYCLES.items() if key in said}
        desired = mapping(said.get("desired"))
        wanted: Json = {"desired": desired | {"value": _text(desired["value"])}} if "value" in desired else {}
        properties.append({**said, **cycles, **wanted})
    if properties:
        written["properties"] = properties
    if spec.gateway_name:
        written["nodeName"] = spec.gateway_name
    return {"spec": written, "status": status}


def model_body(stored: Stored) -> Json:
    """A DeviceModel as KubeEdge's clients read it: limits are text."""
    spec = stored.document.spec
    assert isinstance(spec, DeviceModelSpec)
    if stored.document.api_version == V1ALPHA2:
        written = mapping(spec.model_dump(mode="json", by_alias=True, exclude_unset=True))
    else:
        written = dict(mapping(stored.document.raw.get("spec")))
    properties: list[Value] = []
    for one, said in zip(spec.properties, map(mapping, elements(written.get("properties"))), strict=True):
        limits: Json = {key: _text(said[key]) for key in ("minimum", "maximum") if key in said}
        properties.append({**said, "type": one.type.value, "accessMode": one.access_mode.value, **limits})
    if properties:
        written["properties"] = properties
    return {"spec": written}


def device_status(document: TwinDocument) -> Json:
    """The twins of a device: what is desired and what it last reported, by property."""
    twins: list[Value] = []
    for name in sorted({*document.spec.properties, *document.desired, *document.reported}):
        known = document.spec.properties.get(name)
        twin: Json = {"propertyName": name}
        leaf = document.desired.get(name)
        wanted = standing(leaf, known.conflict if known else ConflictPolicy.LATEST) if leaf else None
        if wanted is not None:
            twin["observedDesired"] = _half(wanted, known)
        if name in document.reported:
            twin["reported"] = _half(document.reported[name], known)
        if len(twin) > 1:
            twins.append(twin)
    return {"twins": twins}


def _half(slot: Slot, spec: PropertySpec | None) -> Json:
    type_ = _TYPES.get(spec.type, "string") if spec is not None else "string"
    about: Json = {"timestamp": str(slot.at), "type": type_}
    if slot.quality is not Quality.GOOD:
        about |= {"quality": str(slot.quality), "reason": str(slot.reason)}
    return {"value": _text(value_of(slot)), "metadata": about}


def _text(value: Value) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
