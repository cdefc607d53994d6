"""A device and its model, put together: what the twin, the validator and the mapper go by. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from twin.manifest.document import Document
from twin.manifest.kinds import DeviceModelSpec, DeviceProperty, DeviceSpec, History, ModelProperty, Report, Visitor
from twin.manifest.problems import KeyPath, Problem, suggestion
from twin.model import Access, HistoryPolicy, Kind, PropertySpec, ReportPolicy, TwinKey, TwinSpec, Value, ValueType
from twin.validate import violation

_WHOLE: Final = re.compile(r"[-+]?[0-9]{1,40}")
_NUMBER: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_BOOLEANS: Final = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class DeviceTwin:
    """The spec of a device's twin, the desired values its document asks for, and what is wrong with both."""

    spec: TwinSpec
    desired: dict[str, Value] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


def device_twin(model: Document, device: Document, uid: str) -> DeviceTwin:
    """Put a Device and its DeviceModel together; every property of the model is one of the twin."""
    said, wanted = _specs(model, device)
    own = {one.name: (index, one) for index, one in enumerate(wanted.properties)}
    properties: dict[str, PropertySpec] = {}
    desired: dict[str, Value] = {}
    problems = list(_unknown(said, device, wanted))
    for one in said.properties:
        index, instance = own.get(one.name, (0, None))
        path: KeyPath = ("spec", "properties", index)
        spec = properties[one.name] = _property(one, instance)
        problems.extend(_deadband(spec, model, device, path if instance and instance.report else ()))
        if instance is None or instance.desired is None or instance.desired.value is None:
            continue
        value = converted(spec.type, instance.desired.value)
        broken = _refused(spec, value)
        if broken is None:
            desired[one.name] = value
        else:
            problems.append(device.problem((*path, "desired", "value"), *broken))
    key = TwinKey(Kind.DEVICE, device.namespace, device.name)
    labels = tuple(sorted(device.labels.items()))
    spec_of_twin = TwinSpec(key, uid, wanted.device_model_ref.name, wanted.gateway_name, labels, properties)
    return DeviceTwin(spec_of_twin, desired, tuple(problems))


def visitor_of(model: Document, device: Document, name: str) -> Visitor:
    """The visitor of a property: the model's is the default, the device's keys go over it one by one."""
    said, wanted = _specs(model, device)
    default = next((one.visitors for one in said.properties if one.name == name), None) or Visitor()
    own = next((one.visitors for one in wanted.properties if one.name == name), None) or Visitor()
    protocol = own.protocol_name or default.protocol_name
    return Visitor(protocolName=protocol, configData={**default.config_data, **own.config_data})


def converted(type_: ValueType, value: Value) -> Value:
    """Read KubeEdge's string as the type asks; what cannot be read comes back as it was."""
    if not isinstance(value, str):
        return value
    if type_ is ValueType.INT and _WHOLE.fullmatch(value):
        return int(value)
    if type_ in (ValueType.FLOAT, ValueType.DOUBLE) and _NUMBER.fullmatch(value):
        return float(value)
    if type_ is ValueType.BOOLEAN:
        return _BOOLEANS.get(value.lower(), value)
    return value


def _specs(model: Document, device: Document) -> tuple[DeviceModelSpec, DeviceSpec]:
    assert isinstance(model.spec, DeviceModelSpec)
    assert isinstance(device.spec, DeviceSpec)
    return model.spec, device.spec


def _unknown(said: DeviceModelSpec, device: Document, wanted: DeviceSpec) -> Iterator[Problem]:
    known = [one.name for one in said.properties]
    for index, one in enumerate(wanted.properties):
        if one.name not in known:
            model = wanted.device_model_ref.name
            text = f"the device model {model} has no property {one.name}"
            remedy = suggestion(one.name, known, what="It has") if known else "Add the property to the device model."
            yield device.problem(("spec", "properties", index, "name"), text, remedy)


def _property(one: ModelProperty, instance: DeviceProperty | None) -> PropertySpec:
    report, tolerance, conflict, history = one.report, one.tolerance, one.conflict, one.history
    if instance is not None:
        report = instance.report or report
        history = instance.history or history
        tolerance = tolerance if instance.tolerance is None else instance.tolerance
        conflict = instance.conflict or conflict
    return PropertySpec(
        name=one.name,
        type=one.type,
        access=one.access_mode,
        minimum=one.minimum,
        maximum=one.maximum,
        enum=tuple(one.enum),
        unit=one.unit,
        description=one.description,
        tolerance=tolerance,
        conflict=conflict,
        report=_policy(report),
        history=_history(history),
    )


def _policy(report: Report | None) -> ReportPolicy:
    if report is None:
        return ReportPolicy()
    return ReportPolicy(
        always=report.always,
        deadband=report.deadband.absolute,
        deadband_percent=report.deadband.percent,
        min_interval_ms=report.min_interval_ms,
        max_interval_ms=report.max_interval_ms,
    )


def _history(history: History | None) -> HistoryPolicy:
    return HistoryPolicy(history.keep, history.drop, history.max_age_ms) if history else HistoryPolicy()


def _deadband(spec: PropertySpec, model: Document, device: Document, own: KeyPath) -> Iterator[Problem]:
    """A percentage is of the range, so there must be one. ``own``: the path of the property if the device sets it."""
    if not spec.report.deadband_percent or (spec.minimum is not None and spec.maximum is not None):
        return
    text = f"the deadband of {spec.name} is in percent of its range, and the device model gives no range"
    remedy = "Add minimum and maximum to the property in the device model, or write the deadband as a number."
    if own:
        yield device.problem((*own, "report", "deadband"), text, remedy)
    else:
        yield device.problem(("spec", "deviceModelRef"), f"in {model.ref}, {text}", remedy)


def _refused(spec: PropertySpec, value: Value) -> tuple[str, str] | None:
    """Text and remedy if the desired value cannot be."""
    if spec.access is Access.READ_ONLY:
        remedy = "Leave desired out, or set accessMode: ReadWrite in the device model."
        return f"{spec.name} is ReadOnly and takes no desired value", remedy
    broken = violation(spec, value)
    return (broken, "Write a value that the device model allows.") if broken else None
