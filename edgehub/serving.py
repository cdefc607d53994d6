"""Documents -> what twins and the mapper host are told. Pure.

Connection (or a Device's own protocol)  ──> ConnectionSettings
Device + DeviceModel                     ──> DeviceSettings with one point for each property that has a visitor
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from mappers.sdk.checks import CheckedMapper, CheckedMappers, Part
from mappers.sdk.config import ConnectionSettings, DeviceSettings, HostSettings, PointSettings
from mappers.sdk.driver import WriteBack
from mappers.sdk.errors import InvalidSettings
from twin.manifest.catalog import RegistryView
from twin.manifest.document import Document, DocumentKind
from twin.manifest.kinds import ConnectionSpec, DeviceModelSpec, DeviceSpec, MapperSpec
from twin.manifest.kube import PodSpec
from twin.manifest.mistakes import as_sentences
from twin.manifest.problems import KeyPath, Problem
from twin.manifest.specs import device_twin, visitor_of
from twin.model import DEFAULT_NAMESPACE, TwinSpec

DEFAULT_CYCLE_MS: Final = 1000


def twin_specs(view: RegistryView) -> list[TwinSpec]:
    """The spec of every device's twin, with the desired values that its document asks for."""
    specs = []
    for stored in view.all(DocumentKind.DEVICE):
        made = device_twin(_model_of(view, stored.document), stored.document, stored.uid)
        specs.append(replace(made.spec, desired=made.desired))
    return specs


def host_settings(view: RegistryView, mappers: CheckedMappers, gateway: str) -> HostSettings:
    """All connections that this gateway's mapper host is to serve."""
    links: dict[str, _Served] = {}
    for stored in view.all(DocumentKind.DEVICE):
        device = stored.document
        spec = device.spec
        assert isinstance(spec, DeviceSpec)
        if spec.gateway_name not in ("", gateway):
            continue
        link = _link_of(view, device, mappers)
        points = tuple(_points(_model_of(view, device), device))
        if link is None or not points:
            continue
        settings = DeviceSettings(
            twin=f"device/{device.namespace}/{device.name}",
            address=dict(link.address),
            points=points,
            simulate=link.simulate if spec.simulate is None else spec.simulate,
        )
        links.setdefault(link.name, _Served(link, [])).devices.append(settings)
    return HostSettings(
        connections=tuple(
            ConnectionSettings(
                name=name, mapper=one.link.mapper, config=dict(one.link.config), devices=tuple(one.devices)
            )
            for name, one in links.items()
        )
    )


def foreign_devices(documents: Iterable[Document], gateway: str) -> Iterator[Problem]:
    """Devices that name another gateway: legal, but nothing here will read them."""
    for document in documents:
        spec = document.spec
        if isinstance(spec, DeviceSpec) and spec.gateway_name not in ("", gateway):
            path = ("spec", "gateway" if spec.gateway else "nodeName")
            text = f"names the gateway {spec.gateway_name}, this is {gateway}; it is kept, and not served here"
            yield document.problem(path, text, f"Set gateway.name: {spec.gateway_name} here, or remove the key.")


def foreign_pods(documents: Iterable[Document], gateway: str) -> Iterator[Problem]:
    """Pods that name another gateway: legal, but they do not run here."""
    for document in documents:
        spec = document.spec
        if isinstance(spec, PodSpec) and spec.node_name not in (None, gateway):
            text = f"names the gateway {spec.node_name}, this is {gateway}; it is kept, and does not run here"
            remedy = f"Set gateway.name: {spec.node_name} here, or remove the key."
            yield document.problem(("spec", "nodeName"), text, remedy)


def protocol_problems(
    view: RegistryView, mappers: CheckedMappers, standing: RegistryView | None = None
) -> Iterator[Problem]:
    """What the mappers' own models find wrong with connections, addresses and visitors.

    A mapper that broke later is no problem of documents that are ``standing`` as they were: it must not keep others
    from being applied.
    """
    for stored in view.all(DocumentKind.CONNECTION):
        document, spec = stored.document, stored.document.spec
        assert isinstance(spec, ConnectionSpec)
        try:
            mapper = mappers.checked(spec.mapper)
            yield from _checked(mapper, Part.CONNECTION, spec.config, document, ("spec", "config"))
        except InvalidSettings as error:
            if not _stands(standing, document):
                yield document.problem(("spec", "mapper"), error.message, error.remedy)
    for stored in view.all(DocumentKind.DEVICE):
        if _is_complete(view, stored.document):
            try:
                yield from _device_problems(view, stored.document, mappers)
            except InvalidSettings as error:  # its mapper fails on what it is asked
                if not _stands(standing, stored.document):
                    yield stored.document.problem(("spec",), error.message, error.remedy)
    for stored in view.all(DocumentKind.MAPPER):
        yield from _mapper_problems(stored.document, mappers)


def mapper_specs(view: RegistryView) -> dict[str, MapperSpec]:
    """What the Mapper documents say of processes, by mapper; ports are no reason to start one anew."""
    return {
        stored.document.name: stored.document.spec.model_copy(update={"ports": ()})
        for stored in view.all(DocumentKind.MAPPER)
        if isinstance(stored.document.spec, MapperSpec)
    }


def _stands(standing: RegistryView | None, document: Document) -> bool:
    before = standing.stored.get(document.ref) if standing is not None else None
    return before is not None and before.document.raw == document.raw


def _mapper_problems(document: Document, mappers: CheckedMappers) -> Iterator[Problem]:
    if document.namespace != DEFAULT_NAMESPACE:
        text = f"a mapper is of the whole gateway, not of the namespace {document.namespace}"
        yield document.problem(("metadata", "namespace"), text, "Leave namespace out.")
    elif document.name not in mappers.names():
        text = f"mapper {document.name!r} is not installed"
        remedy = f"Installed mappers: {', '.join(mappers.names())}."
        yield document.problem(("metadata", "name"), text, remedy)
    elif not mappers.is_plugin(document.name):
        spec = document.raw.get("spec")
        for key in (spec if isinstance(spec, dict) else {}).keys() - {"enabled"}:
            text = f"{document.name} shares a process with the other mappers of edgetwin, which has no limits"
            yield document.problem(("spec", key), text, f"Leave {key} out; only enabled is for it.")


@dataclass(frozen=True, slots=True)
class _Link:
    """How one device is reached."""

    name: str
    mapper: str
    config: Mapping[str, object]
    address: Mapping[str, object]
    simulate: bool = False
    """What a device that says nothing does."""


@dataclass(frozen=True, slots=True)
class _Served:
    link: _Link
    devices: list[DeviceSettings]


def _is_complete(view: RegistryView, device: Document) -> bool:
    """Whether what the device refers to is there; if not, the registry says so, and nothing more can be checked."""
    spec = device.spec
    assert isinstance(spec, DeviceSpec)
    model = view.get(DocumentKind.DEVICE_MODEL, device.namespace, spec.device_model_ref.name)
    linked = spec.connection is None or view.get(DocumentKind.CONNECTION, device.namespace, spec.connection)
    return model is not None and linked is not None


def _model_of(view: RegistryView, device: Document) -> Document:
    assert isinstance(device.spec, DeviceSpec)
    stored = view.get(DocumentKind.DEVICE_MODEL, device.namespace, device.spec.device_model_ref.name)
    assert stored is not None, "the registry keeps no device without its model"
    return stored.document


def _link_of(view: RegistryView, device: Document, mappers: CheckedMappers) -> _Link | None:
    spec = device.spec
    assert isinstance(spec, DeviceSpec)
    if spec.connection is not None:
        stored = view.get(DocumentKind.CONNECTION, device.namespace, spec.connection)
        assert stored is not None, "the registry keeps no device without its connection"
        connection = stored.document.spec
        assert isinstance(connection, ConnectionSpec)
        name = f"{device.namespace}/{spec.connection}"
        return _Link(name, connection.mapper, connection.config, spec.address, connection.simulate)
    if spec.protocol is None or (mapper := mappers.speaking(spec.protocol.protocol_name)) is None:
        return None
    config, address = mapper.split(_inline_config(view, device))
    # Devices that name the same bus share its connection; the name only has to be the same for the same bus.
    text = json.dumps([mapper.name, config], sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return _Link(f"{device.namespace}/{mapper.name}-{digest}", mapper.name, config, {**address, **spec.address})


def _inline_config(view: RegistryView, device: Document) -> dict[str, object]:
    """KubeEdge's one map of connection and device keys; the model's is the default."""
    spec, model = device.spec, _model_of(view, device).spec
    assert isinstance(spec, DeviceSpec)
    assert isinstance(model, DeviceModelSpec)
    own = spec.protocol.config_data if spec.protocol is not None else {}
    return {**model.protocol_config_data, **own}


def _points(model: Document, device: Document) -> Iterator[PointSettings]:
    spec = device_twin(model, device, "").spec
    assert isinstance(device.spec, DeviceSpec)
    cycles = {one.name: one.collect_cycle_ms for one in device.spec.properties}
    for name, known in spec.properties.items():
        visitor = visitor_of(model, device, name)
        if visitor.config_data:
            yield PointSettings(
                property=name,
                type=known.type,
                access=known.access,
                minimum=known.minimum,
                maximum=known.maximum,
                enum=tuple(known.enum),
                unit=known.unit,
                tolerance=known.tolerance,
                cycle_ms=cycles.get(name) or DEFAULT_CYCLE_MS,
                report=known.report,
                visitor=visitor.config_data,
            )


def _device_problems(view: RegistryView, device: Document, mappers: CheckedMappers) -> Iterator[Problem]:
    spec = device.spec
    assert isinstance(spec, DeviceSpec)
    if spec.protocol is not None and mappers.speaking(spec.protocol.protocol_name) is None:
        text = f"no mapper speaks the protocol {spec.protocol.protocol_name!r}"
        names = ", ".join(mappers.names())
        yield device.problem(("spec", "protocol", "protocolName"), text, f"Installed mappers: {names}.")
        return
    link = _link_of(view, device, mappers)
    if link is None:
        return
    try:
        mapper = mappers.checked(link.mapper)
    except InvalidSettings:
        return  # its Connection has the problem already
    if spec.protocol is not None:
        path: KeyPath = ("spec", "protocol", "configData")
        yield from _checked(mapper, Part.CONNECTION, link.config, device, path)
        yield from _checked(mapper, Part.DEVICE, link.address, device, path)
    else:
        yield from _checked(mapper, Part.DEVICE, link.address, device, ("spec", "address"))
    yield from _visitor_problems(_model_of(view, device), device, mapper)


def _visitor_problems(model: Document, device: Document, mapper: CheckedMapper) -> Iterator[Problem]:
    assert isinstance(device.spec, DeviceSpec)
    assert isinstance(model.spec, DeviceModelSpec)
    own = {one.name: number for number, one in enumerate(device.spec.properties) if one.visitors is not None}
    for number, known in enumerate(model.spec.properties):
        visitor = visitor_of(model, device, known.name)
        if not visitor.config_data:
            continue
        document, index = (device, own[known.name]) if known.name in own else (model, number)
        path = ("spec", "properties", index, "visitors", "configData")
        wrong = list(_checked(mapper, Part.POINT, visitor.config_data, document, path))
        yield from wrong
        if not wrong:
            others = {one.name for one in model.spec.properties} - {known.name}
            said = mapper.mismatch(visitor.config_data, known.type)
            said = said or WriteBack.of_visitor(visitor.config_data).mismatch(known.type, others)
            if said:
                yield document.problem(path, *as_sentences(f"{known.name}: {said}"))


def _checked(
    mapper: CheckedMapper, part: Part, given: Mapping[str, object], document: Document, path: KeyPath
) -> Iterable[Problem]:
    for one in mapper.mistakes(part, given):
        yield document.problem((*path, *one.path), one.text, one.remedy)
