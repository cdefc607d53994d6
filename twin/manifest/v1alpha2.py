"""KubeEdge's older API, v1alpha2: its layout as models, and how it reads as v1beta1. Pure.

    spec.nodeSelector, key '' or kubernetes.io/hostname In [node]    spec.nodeName
    spec.protocol {modbus | opcua | bluetooth | customizedProtocol, common {com, tcp, customizedValues, ...}}
                                                                     spec.protocol {protocolName, configData}
    spec.propertyVisitors [{propertyName, modbus | opcua | bluetooth | customizedProtocol, customizedValues}]
                                                                     spec.properties [{name, visitors}]
    status.twins [{propertyName, desired}]                           spec.properties [{desired}]
    model: properties [{type: {int: {accessMode, ...}}}]             properties [{type: INT, accessMode, ...}]

A desired value stands in the status there, and people write it there. ``spec.data`` and default values are read and
left aside. Every key that has moved keeps its old path, so that a problem is told where it was written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import Field, JsonValue

from twin.manifest.fields import FreeMap
from twin.manifest.kinds import Part
from twin.manifest.problems import KeyPath

VERSION: Final = "devices.kubeedge.io/v1alpha2"

_HOSTNAME: Final = ("", "kubernetes.io/hostname")
_GROUPS: Final = ("com", "tcp", "customizedValues")


class Details(Part):
    """What a type says of its values."""

    access_mode: JsonValue = Field(None, examples=["ReadWrite"])
    default_value: JsonValue = None
    minimum: JsonValue = Field(None, examples=[0])
    maximum: JsonValue = Field(None, examples=[100])
    unit: JsonValue = Field(None, examples=["Celsius"])


class Type(Part):
    """Exactly one of the types."""

    int_: Details | None = Field(None, alias="int", examples=["{accessMode: ReadOnly}"])
    string: Details | None = Field(None, examples=["{accessMode: ReadOnly}"])
    double: Details | None = Field(None, examples=["{accessMode: ReadOnly}"])
    float_: Details | None = Field(None, alias="float", examples=["{accessMode: ReadOnly}"])
    boolean: Details | None = Field(None, examples=["{accessMode: ReadOnly}"])
    bytes_: Details | None = Field(None, alias="bytes", examples=["{accessMode: ReadOnly}"])


class ModelProperty(Part):
    """One property of a device model."""

    name: JsonValue = Field(examples=["temperature"])
    description: JsonValue = None
    type: Type = Field(examples=["{int: {accessMode: ReadOnly}}"])


class AlphaModelSpec(Part):
    """The spec of a DeviceModel."""

    protocol: JsonValue = None
    properties: tuple[ModelProperty, ...] = ()


class Customized(Part):
    """A protocol that KubeEdge has no keys for."""

    protocol_name: str = Field(examples=["my-protocol"])
    config_data: FreeMap = Field({}, examples=["{port: 9}"])


class Protocol(Part):
    """At most one protocol, and what it has in common with others."""

    opcua: FreeMap | None = Field(None, examples=["{url: 'opc.tcp://192.0.2.10:4840'}"])
    modbus: FreeMap | None = Field(None, examples=["{slaveID: 1}"])
    bluetooth: FreeMap | None = Field(None, examples=["{macAddress: '00:00:5E:00:53:01'}"])
    customized_protocol: Customized | None = None
    common: FreeMap = Field({}, examples=["{tcp: {ip: 192.0.2.10, port: 502}}"])


class PropertyVisitor(Part):
    """How a property is reached."""

    property_name: JsonValue = Field(examples=["temperature"])
    report_cycle: JsonValue = None
    collect_cycle: JsonValue = None
    customized_values: FreeMap = Field({}, examples=["{unit: 1}"])
    opcua: FreeMap | None = Field(None, examples=["{nodeID: 'ns=2;i=2'}"])
    modbus: FreeMap | None = Field(None, examples=["{register: HoldingRegister, offset: 2, limit: 1}"])
    bluetooth: FreeMap | None = Field(None, examples=["{characteristicUUID: fff1}"])
    customized_protocol: Customized | None = None


class Expression(Part):
    """A condition on the labels of a node."""

    key: str = ""
    operator: str = Field(examples=["In"])
    values: tuple[str, ...] = Field((), examples=["[edge-node]"])


class Term(Part):
    """Conditions that all hold."""

    match_expressions: tuple[Expression, ...] = ()
    match_fields: tuple[Expression, ...] = ()


class NodeSelector(Part):
    """Which node serves the device."""

    node_selector_terms: tuple[Term, ...] = ()


class AlphaDeviceSpec(Part):
    """The spec of a Device."""

    device_model_ref: JsonValue = Field(examples=["{name: boiler}"])
    protocol: Protocol | None = Field(None, examples=["{modbus: {slaveID: 1}}"])
    node_selector: NodeSelector | None = None
    property_visitors: tuple[PropertyVisitor, ...] = ()
    data: FreeMap | None = None


@dataclass(slots=True)
class Modern:
    """A spec in the layout of v1beta1, and where its parts stood."""

    spec: dict[str, Any]
    moved: dict[KeyPath, KeyPath] = field(default_factory=dict)


def modern_model(spec: AlphaModelSpec) -> Modern:
    """The spec of a device model. Raises LookupError with the index of a property that has not exactly one type."""
    found = Modern({"protocol": spec.protocol})
    properties = found.spec["properties"] = []
    for index, one in enumerate(spec.properties):
        types = _said(one.type)
        if len(types) != 1:
            raise LookupError(index)
        ((name, details),) = types.items()
        path: KeyPath = ("spec", "properties", index)
        for key in ("accessMode", "minimum", "maximum", "unit"):
            found.moved[*path, key] = (*path, "type", name, key)
        said = details.model_dump(by_alias=True, exclude={"default_value"})
        properties.append({"name": one.name, "description": one.description, "type": name.upper(), **said})
    return found


def modern_device(spec: AlphaDeviceSpec, status: Mapping[str, Any]) -> Modern:
    """The spec of a device; ``status`` is that of its document."""
    found = Modern({"deviceModelRef": spec.device_model_ref, "nodeName": _node(spec.node_selector)})
    found.moved["spec", "nodeName"] = ("spec", "nodeSelector")
    if spec.protocol is not None and (named := _named(spec.protocol)):
        key, name, config = named
        found.spec["protocol"] = {"protocolName": name, "configData": {**_opened(spec.protocol.common), **config}}
        found.moved["spec", "protocol", "configData"] = ("spec", "protocol")
        found.moved["spec", "protocol", "protocolName"] = ("spec", "protocol", key)
    found.spec["properties"] = list(_properties(spec, status, found.moved))
    return found


def _properties(
    spec: AlphaDeviceSpec, status: Mapping[str, Any], moved: dict[KeyPath, KeyPath]
) -> Iterator[dict[str, Any]]:
    desired = dict(_desired(status))
    count = 0
    for index, one in enumerate(spec.property_visitors):
        old: KeyPath = ("spec", "propertyVisitors", index)
        new: KeyPath = ("spec", "properties", index)
        moved[new] = old
        moved[*new, "name"] = (*old, "propertyName")
        said: dict[str, Any] = {"name": one.property_name}
        said |= {"collectCycle": one.collect_cycle, "reportCycle": one.report_cycle}
        if named := _named(one):
            key, name, config = named
            said["visitors"] = {"protocolName": name, "configData": {**one.customized_values, **config}}
            moved[*new, "visitors"] = moved[*new, "visitors", "configData"] = (*old, key)
        place, value = desired.pop(str(one.property_name), (None, None))
        if place is not None:
            said["desired"] = value
            moved[*new, "desired"] = place
        yield said
        count += 1
    for number, (name, (place, value)) in enumerate(desired.items(), start=count):
        moved["spec", "properties", number] = place[:-1]
        moved["spec", "properties", number, "name"] = (*place[:-1], "propertyName")
        moved["spec", "properties", number, "desired"] = place
        yield {"name": name, "desired": value}


def _desired(status: Mapping[str, Any]) -> Iterator[tuple[str, tuple[KeyPath, Any]]]:
    """Each property that has a desired value in the status, with its place; a status of another shape has none."""
    twins = status.get("twins")
    for index, one in enumerate(twins if isinstance(twins, list) else []):
        if isinstance(one, dict) and isinstance(name := one.get("propertyName"), str):
            value = one.get("desired")
            if isinstance(value, dict) and value.get("value") is not None:
                yield name, (("status", "twins", index, "desired"), {"value": value["value"]})


def _named(said: Protocol | PropertyVisitor) -> tuple[str, str, dict[str, Any]] | None:
    """Key, protocol and its map, of the one that is said."""
    if (custom := said.customized_protocol) is not None:
        return "customizedProtocol", custom.protocol_name, custom.config_data
    for name, config in (("modbus", said.modbus), ("opcua", said.opcua), ("bluetooth", said.bluetooth)):
        if config is not None:
            return name, name, config
    return None


def _opened(common: Mapping[str, Any]) -> dict[str, Any]:
    """The groups' keys beside the others."""
    opened = {key: value for key, value in common.items() if key not in _GROUPS}
    for group in _GROUPS:
        inner = common.get(group)
        opened |= inner if isinstance(inner, dict) else {}
    return opened


def _node(selector: NodeSelector | None) -> str | None:
    """The node, if the selector names exactly one by its name."""
    terms = selector.node_selector_terms if selector else ()
    names = {
        value
        for term in terms
        for one in term.match_expressions
        if one.key in _HOSTNAME and one.operator == "In"
        for value in one.values
    }
    return names.pop() if len(names) == 1 else None


def _said(type_: Type) -> dict[str, Details]:
    return {
        field.alias or name: details
        for name, field in Type.model_fields.items()
        if (details := getattr(type_, name)) is not None
    }
