"""What a scan found, as documents: a connection, device models, devices. Pure.

Devices with the same properties share a model. A visitor that they share too is the model's, any other the device's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mappers.sdk import FoundDevice, FoundPoint
from twin.manifest.kinds import OURS
from twin.manifest.yaml import dump
from twin.model import DEFAULT_NAMESPACE, Access, Value

_LONGEST = 60


@dataclass(frozen=True, slots=True)
class Place:
    """Where the devices were found, as its Connection will say it."""

    name: str
    namespace: str
    mapper: str
    config: Mapping[str, Value]


def documents(place: Place, found: Sequence[FoundDevice]) -> str:
    """YAML with all of them; what a device says of itself is in comments."""
    texts = [dump(_document("Connection", place, place.name, {"mapper": place.mapper, "config": dict(place.config)}))]
    names = list(_unique(plain_name(one.name) for one in found))
    for members in _alike(found):
        model = names[members[0]]
        shared = _shared([found[index] for index in members])
        properties: list[Value] = [_property(point, shared) for point in found[members[0]].points]
        texts.append(dump(_document("DeviceModel", place, model, {"properties": properties})))
        texts.extend(_device(place, found[index], names[index], model, shared) for index in members)
    return "---\n".join(texts)


def plain_name(title: str) -> str:
    """Any text in the alphabet of names."""
    return re.sub(r"[^a-z0-9.-]+", "-", title.lower())[:_LONGEST].strip("-.") or "device"


def _device(place: Place, one: FoundDevice, name: str, model: str, shared: frozenset[str]) -> str:
    spec: dict[str, Value] = {
        "deviceModelRef": {"name": model},
        "connection": place.name,
        "address": dict(one.address),
    }
    own: list[Value] = [
        {"name": point.name, "visitors": {"configData": dict(point.visitor)}}
        for point in one.points
        if point.name not in shared
    ]
    if own:
        spec["properties"] = own
    said = {"says": one.description, **one.identity}
    comments = "".join(f"# {_line(key)}: {_line(text)}\n" for key, text in said.items() if text)
    return comments + dump(_document("Device", place, name, spec))


def _document(kind: str, place: Place, name: str, spec: dict[str, Value]) -> dict[str, Value]:
    metadata: dict[str, Value] = {"name": name}
    if place.namespace != DEFAULT_NAMESPACE:
        metadata = {"namespace": place.namespace, "name": name}
    return {"apiVersion": OURS, "kind": kind, "metadata": metadata, "spec": spec}


def _property(point: FoundPoint, shared: frozenset[str]) -> dict[str, Value]:
    written: dict[str, Value] = {"name": point.name, "type": str(point.type)}
    if point.access is not Access.READ_ONLY:
        written["accessMode"] = str(point.access)
    if point.unit:
        written["unit"] = _line(point.unit)
    if point.description:
        written["description"] = _line(point.description)
    if point.name in shared:
        written["visitors"] = {"configData": dict(point.visitor)}
    return written


def _alike(found: Sequence[FoundDevice]) -> list[list[int]]:
    """Indexes of devices with the same properties, in the order in which they were found."""
    groups: dict[object, list[int]] = {}
    for index, one in enumerate(found):
        signature = tuple((point.name, point.type, point.access, point.unit) for point in one.points)
        groups.setdefault(signature, []).append(index)
    return list(groups.values())


def _shared(members: Sequence[FoundDevice]) -> frozenset[str]:
    """Properties that are reached alike in all of the devices."""
    first, *others = ({point.name: dict(point.visitor) for point in one.points} for one in members)
    return frozenset(name for name, visitor in first.items() if all(other[name] == visitor for other in others))


def _unique(names: Iterable[str]) -> Iterator[str]:
    taken: set[str] = set()
    for name in names:
        unique, number = name, 2
        while unique in taken:
            unique, number = f"{name[:_LONGEST]}-{number}", number + 1
        taken.add(unique)
        yield unique


def _line(text: str) -> str:
    """Text on one line of printable characters."""
    return "".join(one if one.isprintable() else " " for one in text)[:200]
