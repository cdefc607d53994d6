"""What the KubeEdge dialect keeps of a device beside its twin, how it follows the twin, and as which notes. Pure.

    twin engine:  value of a property, typed          note ns/name/0, 1, ...:  text, versions, type, optional, ticks
                                                      note ns/name:            uid, state, last_online, attributes

A text stays as it came for as long as the engine's slot has the tick that was taken in with it; after that the slot's
value is the text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final, NamedTuple

from pydantic_core import to_json

from twin.deadband import equal, same
from twin.dialects.kubeedge import Twins, is_deleted, type_of, value_of
from twin.dialects.kubeedge_json import HALVES, Json
from twin.dialects.kubeedge_values import is_float, kind_of
from twin.document import Leaf, Slot, TwinDocument
from twin.merge import standing
from twin.merge import value_of as slot_value
from twin.model import Access, PropertySpec, TwinKey, TwinSpec, Value, ValueType

ADDED: Final = "added by a KubeEdge message"
"""Description of a property that the device model does not name."""

PER_NOTE: Final = 16
"""Properties of one note: a message with many is a few writes, and one with one is no large one."""

Ticks = tuple[int, int]


class Record(NamedTuple):
    """A device as KubeEdge sees it; ``ticks`` are those of the engine's desired and reported slots taken in so far."""

    uid: str
    twins: Twins = MappingProxyType({})
    ticks: Mapping[str, Ticks] = MappingProxyType({})
    version: int = -1
    """The twin's version that was followed last."""
    state: str = ""
    last_online: str = ""
    attributes: Mapping[str, Json] = MappingProxyType({})


def follow(record: Record, document: TwinDocument, now_ms: int) -> Record:
    """Take in what others changed in the twin; the same record if nothing is new."""
    if record.version == document.version:
        return record
    twins, ticks = dict(record.twins), dict(record.ticks)
    for name, spec in document.spec.properties.items():
        before = ticks.get(name)
        now = ticks_of(document, name)
        if (before == now and name in twins) or (name not in twins and spec.description == ADDED):
            continue
        twin = twins.get(name) or {"optional": False, "metadata": {"type": _NAMES[spec.type]}}
        was = before or _NEVER
        for half, slot, fresh in zip(HALVES, _slots(document, name), (was[0] != now[0], was[1] != now[1]), strict=True):
            if fresh:
                twin = _taken(twin, half, slot, spec, now_ms)
        twins[name], ticks[name] = twin, now
    return record._replace(twins=twins, ticks=ticks, version=document.version)


def ticks_of(document: TwinDocument, name: str) -> Ticks:
    """Ticks of the slots that stand in the twin, 0 where none does."""
    desired, reported = _slots(document, name)
    return (desired.tick if desired else 0, reported.tick if reported else 0)


def value_from(text: str, type_: ValueType) -> Value:
    """Read a text as the property's type; what cannot be read stays text, which the property's rule then refuses."""
    if type_ is ValueType.INT:
        try:
            return int(text)
        except ValueError:
            return text
    if type_ in (ValueType.FLOAT, ValueType.DOUBLE):
        if not is_float(text):
            return text
        return float.fromhex(text) if "x" in text.lower() else float(text)
    if type_ is ValueType.BOOLEAN:
        return {"true": True, "false": False}.get(text, text)
    if type_ is ValueType.JSON:
        try:
            found: Value = json.loads(text)
        except (ValueError, RecursionError):
            return text
        return found
    return text


def text_from(value: Value) -> str:
    """Write a value as KubeEdge's text."""
    return value if isinstance(value, str) else to_json(value).decode()


def is_met(spec: PropertySpec | None, expected: str, actual: str) -> bool:
    """Whether two texts are the same value of a property: 5 is 5.0, and numbers may differ by the tolerance."""
    if spec is None or expected == actual:
        return expected == actual
    a, b = value_from(expected, spec.type), value_from(actual, spec.type)
    return same(a, b, spec.tolerance)


def property_of(name: str, twin: Json) -> PropertySpec:
    """What the engine is told of a property that KubeEdge's messages added and the device model does not name."""
    return PropertySpec(name, _TYPES.get(kind_of(type_of(twin)), ValueType.JSON), Access.READ_WRITE, description=ADDED)


def completed(spec: TwinSpec, record: Record) -> TwinSpec:
    """The spec with the properties that messages added."""
    added = {name: property_of(name, twin) for name, twin in record.twins.items() if name not in spec.properties}
    return replace(spec, properties={**spec.properties, **added}) if added else spec


def notes_of(key: TwinKey, before: Record | None, after: Record) -> Iterator[tuple[str, str | None]]:
    """The notes to write so that the record is on disk, by name; None deletes."""
    place = f"{key.namespace}/{key.name}"
    kept = 0 if before is None else len(before.twins)
    if before is None or before.uid != after.uid:
        before = Record("")
    head = (after.uid, after.state, after.last_online, after.attributes)
    if head != (before.uid, before.state, before.last_online, before.attributes):
        body = {"uid": after.uid, "state": after.state, "last_online": after.last_online}
        yield place, to_json({**body, "attributes": dict(after.attributes)}).decode()
    old, new = list(before.twins.items()), list(after.twins.items())
    for start in range(0, len(new), PER_NOTE):
        part, was = new[start : start + PER_NOTE], old[start : start + PER_NOTE]
        ticks = [after.ticks.get(name, _NEVER) for name, _ in part]
        if part != was or ticks != [before.ticks.get(name, _NEVER) for name, _ in was]:
            yield f"{place}/{start // PER_NOTE}", to_json({"twins": dict(part), "ticks": ticks}).decode()
    for start in range(-(-len(new) // PER_NOTE) * PER_NOTE, kept, PER_NOTE):
        yield f"{place}/{start // PER_NOTE}", None


def erased(key: TwinKey, record: Record) -> Iterator[tuple[str, None]]:
    """The notes to delete when the device is gone."""
    place = f"{key.namespace}/{key.name}"
    yield place, None
    for start in range(0, len(record.twins), PER_NOTE):
        yield f"{place}/{start // PER_NOTE}", None


def records_from(notes: Mapping[str, str]) -> dict[str, Record]:
    """Read all notes back, by ``<namespace>/<name>``; properties without their device's note are left out."""
    heads: dict[str, Json] = {}
    parts: dict[str, dict[int, Json]] = {}
    for name, text in notes.items():
        namespace, device, *rest = name.split("/", 2)
        place = f"{namespace}/{device}"
        if rest:
            parts.setdefault(place, {})[int(rest[0])] = json.loads(text)
        else:
            heads[place] = json.loads(text)
    found: dict[str, Record] = {}
    for place, head in heads.items():
        twins: dict[str, Json] = {}
        ticks: dict[str, Ticks] = {}
        for _, part in sorted(parts.get(place, {}).items()):  # in the order they were noted, which numbers the notes
            twins |= part["twins"]
            ticks |= {name: (a, b) for name, (a, b) in zip(part["twins"], part["ticks"], strict=True)}
        attributes = MappingProxyType(head["attributes"])
        found[place] = Record(
            head["uid"], twins, ticks, state=head["state"], last_online=head["last_online"], attributes=attributes
        )
    return found


def _slots(document: TwinDocument, name: str) -> tuple[Slot | None, Slot | None]:
    spec = document.spec.properties.get(name)
    leaf = document.desired.get(name)
    desired = standing(leaf, spec.conflict) if isinstance(leaf, Leaf) and spec is not None else None
    return desired, document.reported.get(name)


def _taken(twin: Json, half: str, slot: Slot | None, spec: PropertySpec, now_ms: int) -> Json:
    value = None if slot is None else slot_value(slot)
    text = value_of(twin, half)
    if value is None or slot is None:
        if text is None or is_deleted(twin):
            return twin
        return {name: part for name, part in twin.items() if name != half}
    if text is not None and equal(value_from(text, spec.type), value):
        return twin
    old = twin.get(f"{half}_version") or {"cloud": 0, "edge": 0}
    made = {**twin, half: {"value": text_from(value), "metadata": {"timestamp": slot.at or now_ms}}}
    made[f"{half}_version"] = {"cloud": old["cloud"], "edge": old["edge"] + 1}
    if is_deleted(twin):
        made["metadata"] = {"type": _NAMES[spec.type]}
    return {name: made[name] for name in _ORDER if name in made}


_NEVER: Final[Ticks] = (0, 0)
_ORDER: Final = ("expected", "actual", "optional", "metadata", "expected_version", "actual_version")
_NAMES: Final = {
    ValueType.INT: "int",
    ValueType.FLOAT: "float",
    ValueType.DOUBLE: "float",
    ValueType.BOOLEAN: "boolean",
    ValueType.STRING: "string",
    ValueType.BYTES: "string",
    ValueType.STREAM: "string",
    ValueType.JSON: "string",
}
_TYPES: Final = {
    "int": ValueType.INT,
    "float": ValueType.DOUBLE,
    "boolean": ValueType.BOOLEAN,
    "string": ValueType.STRING,
}
