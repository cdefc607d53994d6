"""Devices of documents with simulated values: lent to a running hub for a while, or worked out here. No sockets."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass

from edgehub.checking import Checked
from edgehub.serving import host_settings
from mappers.sdk.binding import spec_of
from mappers.sdk.checks import CheckedMappers
from mappers.sdk.config import DeviceSettings
from mappers.sdk.signals import Signal, seed_of
from twin.client import TwinClient
from twin.errors import EdgetwinError, InvalidDocuments
from twin.manifest.catalog import Action
from twin.manifest.document import Document, DocumentKind
from twin.manifest.kinds import DeviceSpec
from twin.manifest.yaml import dump
from twin.model import TwinKey, Value
from twin.wire.api import ApplyMode, ApplyReply, DocumentSource


class StillSimulated(EdgetwinError):
    """Documents that were lent to a hub are still there."""

    code = "still_simulated"


@dataclass(frozen=True, slots=True)
class SimulatedValue:
    """What a simulated device says of one property."""

    key: TwinKey
    name: str
    value: Value
    unit: str


def simulated_values(found: Checked, mappers: CheckedMappers, time_s: float) -> Iterator[SimulatedValue]:
    """What a hub's simulated devices would report at this wall-clock time, whichever gateways they are of."""
    for device in _served(found, mappers):
        for point in device.points:
            signal = Signal(spec_of(point), seed_of(device.twin, point.property))
            yield SimulatedValue(TwinKey.parse(device.twin), point.property, signal.at(time_s), point.unit)


@contextlib.asynccontextmanager
async def lent(client: TwinClient, found: Checked) -> AsyncIterator[ApplyReply]:
    """Have the hub serve these documents with every device simulated; at the end they are as they were.

    Documents that the hub does not have are deleted at the end, with their twins. Raises InvalidDocuments if it has
    one that differs.
    """
    documents = found.manifest.documents
    before = await client.apply(_sources(documents), mode=ApplyMode.DIFF)
    actions = {change.document: change.action for change in before.changes}
    differing = [str(one.ref) for one in documents if actions[str(one.ref)] == Action.UPDATED]
    if differing:
        message = f"the gateway has other documents of these names: {', '.join(differing)}"
        raise InvalidDocuments(message, remedy="Apply the file first, or give its documents other names.")
    created = [one for one in documents if actions[str(one.ref)] == Action.CREATED]
    known_devices = [one for one in documents if one.kind is DocumentKind.DEVICE and one not in created]
    try:
        yield await client.apply([_source(_simulating(one)) for one in documents])
    finally:
        try:
            if known_devices:
                await client.apply(_sources(known_devices))
            if created:
                await client.apply(_sources(created), mode=ApplyMode.DELETE)
        except EdgetwinError as error:
            message = f"the gateway's documents were not put back: {error.message}"
            remedy = "Apply the file to have its devices read, or `edgetwin delete -f` it to have them gone."
            raise StillSimulated(message, remedy=remedy) from error


def _served(found: Checked, mappers: CheckedMappers) -> Iterable[DeviceSettings]:
    gateways = {""}
    for stored in found.view.all(DocumentKind.DEVICE):
        assert isinstance(stored.document.spec, DeviceSpec)
        gateways.add(stored.document.spec.gateway_name)
    return {
        device.twin: device
        for gateway in sorted(gateways)
        for connection in host_settings(found.view, mappers, gateway).connections
        for device in connection.devices
    }.values()


def _simulating(document: Document) -> dict[str, Value]:
    spec = document.raw["spec"]
    assert isinstance(spec, dict)
    if document.kind is not DocumentKind.DEVICE:
        return document.raw
    return {**document.raw, "spec": {**spec, "simulate": True}}


def _sources(documents: Iterable[Document]) -> list[DocumentSource]:
    return [_source(document.raw) for document in documents]


def _source(raw: dict[str, Value]) -> DocumentSource:
    return DocumentSource(name="simulated", text=dump(raw))
