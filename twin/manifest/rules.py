"""What must hold inside one document beyond the types of its fields. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from twin.manifest.document import MESH, Document, DocumentKind
from twin.manifest.fields import is_nanoseconds
from twin.manifest.kinds import DeviceModelSpec, DeviceProperty, DeviceSpec, MapperSpec, ModelProperty
from twin.manifest.kube_rules import broken_kube_rules
from twin.manifest.problems import KeyPath, Problem
from twin.model import PropertySpec, Value, ValueType
from twin.validate import violation

_NUMERIC: Final = (ValueType.INT, ValueType.FLOAT, ValueType.DOUBLE)
_DURATION_KEYS: Final = ("collectCycle", "reportCycle", "minInterval", "maxInterval", "maxAge", "watchdog")


def broken_rules(document: Document) -> Iterator[Problem]:
    """Find what is wrong inside one document."""
    spec = document.spec
    if isinstance(spec, DeviceModelSpec):
        yield from _duplicates(document, spec.properties)
        for index, one in enumerate(spec.properties):
            yield from _model_property(document, one, ("spec", "properties", index))
    elif isinstance(spec, DeviceSpec):
        yield from _duplicates(document, spec.properties)
        yield from _device(document, spec)
    elif isinstance(spec, MapperSpec):
        yield from _offered(document, spec)
    elif document.kind is DocumentKind.PUSH:
        from twin.manifest.push_rules import broken_push  # what few documents need is loaded with the first

        yield from broken_push(document)
    else:
        yield from broken_kube_rules(document)


def doubtful(document: Document) -> Iterator[Problem]:
    """Find what is legal but may not mean what its writer thinks."""
    yield from _nanoseconds(document, document.raw.get("spec"), ("spec",))
    if isinstance(document.spec, DeviceSpec) and any(one.push_method for one in document.spec.properties):
        from twin.manifest.push_rules import doubtful_push_methods

        yield from doubtful_push_methods(document, document.spec)
    if document.kind in MESH:
        from twin.manifest.mesh_rules import doubtful_mesh  # what few documents need is loaded with the first

        yield from doubtful_mesh(document)


def _offered(document: Document, spec: MapperSpec) -> Iterator[Problem]:
    names: dict[str, int] = {}
    for index, one in enumerate(spec.ports):
        if (first := names.setdefault(one.name, index)) != index:
            text = f"the port {one.name} is already ports[{first}]"
            yield document.problem(("spec", "ports", index, "name"), text, "Keep one of the two, or rename one.")


def _duplicates(document: Document, properties: Iterable[ModelProperty | DeviceProperty]) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for index, one in enumerate(properties):
        first = seen.setdefault(one.name, index)
        if first != index:
            text = f"the property {one.name} is already properties[{first}]"
            yield document.problem(("spec", "properties", index, "name"), text, "Keep one of the two, or rename one.")


def _model_property(document: Document, one: ModelProperty, path: KeyPath) -> Iterator[Problem]:
    limits = (one.minimum, one.maximum)
    if limits != (None, None) and one.type not in _NUMERIC:
        key = "minimum" if one.minimum is not None else "maximum"
        yield document.problem((*path, key), f"a {one.type} has no limits", "Leave it out, or make the type FLOAT.")
    if one.minimum is not None and one.maximum is not None and one.minimum > one.maximum:
        text = f"the minimum {one.minimum:g} is above the maximum {one.maximum:g}"
        yield document.problem((*path, "minimum"), text, "Swap the two.")
    bounded = PropertySpec(one.name, type=one.type, minimum=one.minimum, maximum=one.maximum, unit=one.unit)
    for index, value in enumerate(one.enum):
        broken = violation(bounded, value)
        if broken:
            yield document.problem((*path, "enum", index), broken, "Write a value that the property can have.")
    yield from _intervals(document, one, path)


def _device(document: Document, spec: DeviceSpec) -> Iterator[Problem]:
    if spec.gateway and spec.node_name and spec.gateway != spec.node_name:
        text = f"nodeName says {spec.node_name}, gateway says {spec.gateway}"
        yield document.problem(("spec", "nodeName"), text, "Keep one of the two; they mean the same.")
    if spec.connection and spec.protocol:
        text = "the device has both a connection and a protocol"
        remedy = "Keep connection, the name of a Connection document, or protocol, with the settings in the device."
        yield document.problem(("spec", "protocol"), text, remedy)
    for index, one in enumerate(spec.properties):
        yield from _intervals(document, one, ("spec", "properties", index))


def _intervals(document: Document, one: ModelProperty | DeviceProperty, path: KeyPath) -> Iterator[Problem]:
    report = one.report
    if report and 0 < report.max_interval_ms < report.min_interval_ms:
        text = f"maxInterval ({report.max_interval_ms} ms) is shorter than minInterval ({report.min_interval_ms} ms)"
        yield document.problem((*path, "report", "maxInterval"), text, "Make maxInterval the longer one.")


def _nanoseconds(document: Document, value: Value, path: KeyPath) -> Iterator[Problem]:
    """Look at the durations of properties, reports and stateReport; free maps have none of ours."""
    if isinstance(value, list):
        for index, one in enumerate(value):
            yield from _nanoseconds(document, one, (*path, index))
    if not isinstance(value, dict):
        return
    for key, one in value.items():
        if key in _DURATION_KEYS and is_nanoseconds(one):
            text = f"{one} is read as nanoseconds, as plain numbers from 1000000 up are"
            yield document.problem((*path, key), text, "Write the unit, for example 10s.")
        elif key in ("properties", "report", "history", "stateReport"):
            yield from _nanoseconds(document, one, (*path, key))
