"""AWS's rules of a shadow: how an update merges, what differs, when a leaf was written, and the messages. Pure.

before + Update ──> after ──> writes for the engine
                       └────> delta, accepted, documents

A twin's property is one leaf of ours, an object in it many of AWS's: their times are kept in a note of the dialect,
which counts as long as the property holds the value that it had then.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from twin.deadband import equal
from twin.dialects.aws_request import Update
from twin.document import DELETED, SlotValue, TwinDocument
from twin.merge import standing, value_of
from twin.model import ConflictPolicy, Section, Value

Stamps: TypeAlias = "int | dict[str, Stamps]"
"""When it was written, in seconds since 1970: of a value, or of each one in an object."""


@dataclass(frozen=True, slots=True)
class Half:
    """One section of a shadow."""

    values: Mapping[str, Value] = field(default_factory=dict)
    stamps: Mapping[str, Stamps] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shadow:
    """A shadow as it stood at one moment, with its state and metadata as JSON, which several messages share."""

    version: int
    desired: Half
    reported: Half
    state: str
    metadata: str

    @property
    def empty(self) -> bool:
        """Whether no value is in it."""
        return not self.desired.values and not self.reported.values


@dataclass(frozen=True, slots=True)
class Kept:
    """What a note holds of a shadow: whether it was made and not deleted since, and times within objects."""

    exists: bool = False
    stamps: Mapping[str, Mapping[str, tuple[int, Stamps]]] = field(default_factory=dict)
    """By section and property: a checksum of the value, and the times."""


def shadow(version: int, desired: Half, reported: Half) -> Shadow:
    """Make a shadow."""
    halves = {Section.DESIRED: desired, Section.REPORTED: reported}
    state = {name: half.values for name, half in halves.items() if half.values}
    metadata = {name: _metadata(dict(half.stamps)) for name, half in halves.items() if half.values}
    return Shadow(version, desired, reported, _dump(state), _dump(metadata))


def shadow_of_twin(document: TwinDocument, kept: Kept) -> Shadow:
    """The shadow that a twin is, whoever wrote it; JSON's null is no value to AWS."""
    desired: dict[str, tuple[Value, int]] = {}
    for name, leaf in document.desired.items():
        spec = document.spec.properties.get(name)
        slot = standing(leaf, spec.conflict if spec else ConflictPolicy.LATEST)
        if slot is not None and slot.value is not None:
            desired[name] = value_of(slot), slot.at // 1000
    reported = {
        name: (value_of(slot), slot.at // 1000) for name, slot in document.reported.items() if slot.value is not None
    }
    return shadow(
        document.version,
        _half(desired, kept.stamps.get(Section.DESIRED, {})),
        _half(reported, kept.stamps.get(Section.REPORTED, {})),
    )


def updated(before: Shadow, update: Update, now_s: int) -> Shadow:
    """Merge an update into a shadow: objects are merged, null deletes, anything else replaces; one version more."""
    halves = {Section.DESIRED: before.desired, Section.REPORTED: before.reported}
    for section, patch in update.sections.items():
        if patch is None:
            halves[section] = Half()
            continue
        values, stamps = dict(halves[section].values), dict(halves[section].stamps)
        _merge(values, stamps, patch, now_s)
        halves[section] = Half(values, stamps)
    return shadow(before.version + 1, halves[Section.DESIRED], halves[Section.REPORTED])


def fits(update: Update, after: Shadow, max_bytes: int, *, modelled: bool) -> bool:
    """Whether the state is no larger than AWS allows; metadata do not count.

    What a device model allows a twin to hold is allowed whatever its size: there it is the update that counts.
    """
    if not modelled:
        return len(after.state.encode()) <= max_bytes
    return update.payload_bytes <= max_bytes or len(_dump(update.state).encode()) <= max_bytes


def writes(before: Half, after: Half, update: Update, section: Section) -> dict[str, SlotValue]:
    """What an update writes to one half of the twin: whole properties."""
    if section not in update.sections:
        return {}
    patch = update.sections[section]
    names: Iterable[str] = before.values if patch is None else patch
    named = {name: after.values.get(name, DELETED) for name in names}
    return {name: value for name, value in named.items() if value is not DELETED or name in before.values}


def wiped(document: TwinDocument) -> tuple[dict[str, SlotValue], dict[str, SlotValue]]:
    """What deletes all that a twin holds: of desired, and of reported."""
    policies = {name: spec.conflict for name, spec in document.spec.properties.items()}
    desired: dict[str, SlotValue] = {
        name: DELETED
        for name, leaf in document.desired.items()
        if standing(leaf, policies.get(name, ConflictPolicy.LATEST)) is not None
    }
    return desired, dict.fromkeys(document.reported, DELETED)


def delta(now: Shadow, differing: Iterable[str]) -> tuple[dict[str, Value], dict[str, Stamps]]:
    """Of the properties that differ by the twin's rules, the desired leaves that reported does not equal."""
    state: dict[str, Value] = {}
    stamps: dict[str, Stamps] = {}
    for name in differing:
        if name not in now.desired.values:
            continue
        wanted, times = now.desired.values[name], now.desired.stamps[name]
        if name in now.reported.values:
            found = _difference(wanted, times, now.reported.values[name])
            if found is None:
                continue
            wanted, times = found
        state[name], stamps[name] = wanted, times
    return state, stamps


# -- messages ----------------------------------------------------------------------------------------------------


def got(now: Shadow, differing: Iterable[str], now_s: int, token: str | None) -> bytes:
    """The body of get/accepted."""
    state, _ = delta(now, differing)
    shown = f'{now.state[:-1]},"delta":{_dump(state)}}}' if state else now.state
    return _ended(f'{{"state":{shown},"metadata":{now.metadata},"version":{now.version}', now_s, token)


def accepted(update: Update, now: Shadow, now_s: int) -> bytes:
    """The body of update/accepted: what was asked for, and when it was written."""
    metadata = {
        section: _metadata(_stamped(patch, now_s)) for section, patch in update.sections.items() if patch is not None
    }
    body = f'{{"state":{_dump(update.state)},"metadata":{_dump(metadata)},"version":{now.version}'
    return _ended(body, now_s, update.token)


def delta_message(state: Value, stamps: dict[str, Stamps], version: int, now_s: int, token: str | None) -> bytes:
    """The body of update/delta."""
    body = f'{{"version":{version},"state":{_dump(state)},"metadata":{_dump(_metadata(stamps))}'
    return _ended(body, now_s, token)


def documents(before: Shadow, after: Shadow, now_s: int, token: str | None) -> bytes:
    """The body of update/documents."""
    return _ended(f'{{"previous":{_document(before)},"current":{_document(after)}', now_s, token)


def deleted(version: int, now_s: int, token: str | None) -> bytes:
    """The body of delete/accepted."""
    return _ended(f'{{"version":{version}', now_s, token)


def rejected(code: int, message: str, now_s: int, token: str | None) -> bytes:
    """The body of an error."""
    return _ended(f'{{"code":{code},"message":{_dump(message)}', now_s, token)


# -- notes -------------------------------------------------------------------------------------------------------


def note(now: Shadow, *, exists: bool) -> str:
    """The text of a shadow's note."""
    body: dict[str, Any] = {"exists": exists}
    for section, half in ((Section.DESIRED, now.desired), (Section.REPORTED, now.reported)):
        inner = {name: [_checksum(half.values[name]), one] for name, one in half.stamps.items() if type(one) is dict}
        if inner:
            body[section] = inner
    return _dump(body)


def kept(text: str) -> Kept:
    """Read a note; one that is not readable holds nothing."""
    try:
        body = json.loads(text)
        sections = {
            str(name): {key: (int(checksum), stamps) for key, (checksum, stamps) in body.get(name, {}).items()}
            for name in Section
        }
        return Kept(bool(body["exists"]), sections)
    except (ValueError, TypeError, KeyError, AttributeError):
        return Kept()


# -- inside ------------------------------------------------------------------------------------------------------

_EMPTY: Final[dict[str, Stamps]] = {}


def _merge(values: dict[str, Value], stamps: dict[str, Stamps], patch: Mapping[str, Value], now_s: int) -> None:
    for name, new in patch.items():
        if new is None:
            values.pop(name, None)
            stamps.pop(name, None)
        elif isinstance(new, dict):
            old, old_stamps = values.get(name), stamps.get(name)
            inner = dict(old) if isinstance(old, dict) else {}
            inner_stamps = dict(old_stamps) if isinstance(old_stamps, dict) else {}
            _merge(inner, inner_stamps, new, now_s)
            values[name], stamps[name] = inner, inner_stamps
        else:
            values[name], stamps[name] = new, now_s


def _difference(wanted: Value, times: Stamps, found: Value) -> tuple[Value, Stamps] | None:
    if not isinstance(wanted, dict) or not isinstance(found, dict):
        return None if equal(wanted, found) else (wanted, times)
    inner = times if isinstance(times, dict) else _EMPTY
    state: dict[str, Value] = {}
    stamps: dict[str, Stamps] = {}
    for name, value in wanted.items():
        differs = _difference(value, inner[name], found[name]) if name in found else (value, inner[name])
        if differs is not None:
            state[name], stamps[name] = differs
    return (state, stamps) if state else None


def _half(leaves: Mapping[str, tuple[Value, int]], noted: Mapping[str, tuple[int, Stamps]]) -> Half:
    stamps: dict[str, Stamps] = {}
    for name, (value, at_s) in leaves.items():
        known = noted.get(name)
        stamps[name] = _fitted(value, known[1] if known and known[0] == _checksum(value) else None, at_s)
    return Half({name: value for name, (value, _) in leaves.items()}, stamps)


def _fitted(value: Value, known: Stamps | None, at_s: int) -> Stamps:
    if isinstance(value, dict):
        inner = known if isinstance(known, dict) else _EMPTY
        return {name: _fitted(one, inner.get(name), at_s) for name, one in value.items()}
    return known if isinstance(known, int) else at_s


def _stamped(patch: Mapping[str, Value], now_s: int) -> dict[str, Stamps]:
    return {
        name: _stamped(one, now_s) if isinstance(one, dict) else now_s for name, one in patch.items() if one is not None
    }


def _metadata(stamps: dict[str, Stamps]) -> dict[str, Any]:
    return {name: _metadata(one) if isinstance(one, dict) else {"timestamp": one} for name, one in stamps.items()}


def _document(one: Shadow) -> str:
    return f'{{"state":{one.state},"metadata":{one.metadata},"version":{one.version}}}'


def _ended(body: str, now_s: int, token: str | None) -> bytes:
    said = f',"clientToken":{_dump(token)}' if token is not None else ""
    return f'{body},"timestamp":{now_s}{said}}}'.encode()


def _checksum(value: Value) -> int:
    return zlib.crc32(_dump(value).encode())


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
