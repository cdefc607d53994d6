"""KubeEdge's device-twin rules, byte for byte: a message and a device's twins in, messages out. Pure.

update ──> decode ──> rules on copies ──> result, document, delta, edge_updated

What KubeEdge keeps of a property is one ``Json`` object in its own shape and key order; ``Twins`` is a device's. None
of them is ever changed in place: what a message leaves alone stays the same object.
``strict`` answers as KubeEdge 1.23 does; without it the fixes of docs/kubeedge.md are in force.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

from twin.dialects.kubeedge_json import (
    HALVES,
    VERSIONS,
    Json,
    Unreadable,
    event_of,
    go_error,
    read_object,
    read_update,
    write,
)
from twin.dialects.kubeedge_values import flaw_of
from twin.wire import topics

Twins: TypeAlias = "Mapping[str, Json]"
Met: TypeAlias = "Callable[[str, str, str], bool]"
"""Whether the actual value of a key (third) is what is expected (second)."""


class Sent(NamedTuple):
    """One message: to an MQTT topic, or to the cloud if ``cloud``."""

    resource: str
    content: Json
    cloud: bool = False

    @property
    def body(self) -> bytes:
        """The content as KubeEdge writes it."""
        return write(self.content)


class Answer(NamedTuple):
    """The messages in order, and the device's twins as they are to be stored; None if nothing may be stored.

    ``refused`` says that it is an error; ``event`` is the id of the request; ``delta`` what is expected and not actual.
    """

    sent: tuple[Sent, ...]
    twins: Twins | None = None
    refused: bool = False
    event: str = ""
    delta: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Told:
    """What others changed, as KubeEdge tells it when its cloud has changed a twin: a document, and the delta if any."""

    document: Json
    body: Json | None

    @property
    def delta(self) -> Mapping[str, str]:
        """What is expected and not actual yet."""
        return self.body["delta"] if self.body is not None else {}

    def messages(self, device: str, now_ms: int, event_id: Callable[[], str]) -> Iterator[Sent]:
        """The messages for one name of the device."""
        for action, body in (("document", {"twin": self.document} if self.document else None), ("delta", self.body)):
            if body is not None:
                yield _sent(device, f"twin/update/{action}", {"event_id": event_id(), "timestamp": now_ms, **body})


@dataclass(slots=True)
class _Outcome:
    result: dict[str, Json | None] = field(default_factory=dict)
    document: dict[str, Json] = field(default_factory=dict)
    synced: dict[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Change:
    """What all keys of one message have in common."""

    now_ms: int
    sync: bool
    strict: bool
    cloud: bool


class _BadValue(Exception):
    """What KubeEdge says of a value that breaks a rule."""


def update(
    device: str,
    twins: Twins | None,
    payload: bytes,
    *,
    now_ms: int,
    event_id: Callable[[], str],
    sync: bool = False,
    strict: bool = True,
    cloud: bool = True,
    met: Met | None = None,
) -> Answer:
    """Answer an update from MQTT, or one from the cloud (``sync``); ``twins`` is None for an unknown device.

    Without ``cloud`` there is no message to KubeEdge's cloud.
    """
    try:
        request = read_update(payload, strict=strict)
    except Unreadable as error:
        # KubeEdge answers these on a topic without a device, and without the id.
        where, event = ("", "") if strict else (device, error.event)
        return refusal(where, "twin/update/result", event, now_ms, 400, error.reason)
    event = request.event
    if twins is None:
        reason = "update rejected due to the device is not existed"
        return refusal(device, "twin/update/result", event, now_ms, 404, reason)
    kept = dict(twins)
    outcome = _Outcome()
    change = _Change(now_ms, sync, strict, cloud)
    for key in sorted(request.twin):
        try:
            _apply(kept, key, request.twin[key], outcome, change)
        except _BadValue as error:
            # KubeEdge reads the device back from its disk here, where an empty value is none.
            answer = refusal(device, "twin/update/result", event, now_ms, 400, str(error))
            return Answer(answer.sent, restored(twins) if strict else None, refused=True, event=event)
    base = {"event_id": event, "timestamp": now_ms}
    sent = []
    if not sync:
        sent.append(_sent(device, "twin/update/result", {**base, "twin": _live(outcome.result)}))
    if outcome.document:
        sent.append(_sent(device, "twin/update/document", {**base, "twin": outcome.document}))
    if (delta := delta_body(kept, met or is_same)) is not None:
        sent.append(_sent(device, "twin/update/delta", {"event_id": event_id(), "timestamp": now_ms, **delta}))
    if cloud and outcome.synced:
        body = {"event_id": event_id(), "timestamp": now_ms, "twin": outcome.synced}
        sent.append(Sent(f"device/{device}/twin/edge_updated", body, cloud=True))
    return Answer(tuple(sent), kept, event=event, delta=delta["delta"] if delta is not None else {})


def is_same(_key: str, expected: str, actual: str) -> bool:
    """Whether an expected text is the actual one, as KubeEdge compares them."""
    return expected == actual


def get(device: str, twins: Twins | None, payload: bytes, *, now_ms: int) -> Answer:
    """Answer a get."""
    try:
        event = event_of(read_object(payload))
    except ValueError:
        reason = f"Unmarshal twin info {payload.decode(errors='replace')} failed , err: {go_error(payload)}"
        return refusal(device, "twin/get/result", "", now_ms, 400, reason)
    if twins is None:
        reason = f"Device {device} not found while getting twin"
        return refusal(device, "twin/get/result", event, now_ms, 404, reason)
    found = {"event_id": event, "timestamp": now_ms, "twin": _shown(twins)}
    return Answer((_sent(device, "twin/get/result", found),), event=event)


def told(before: Twins, after: Twins, *, met: Met) -> Told:
    """Compare twins before and after what others changed."""
    document = {
        key: {"last": unversioned(before[key]) if key in before else None, "current": unversioned(after[key])}
        for key in sorted(after)
        if after[key] != before.get(key) and not is_deleted(after[key]) and (key in before or _has_value(after[key]))
    }
    return Told(document, delta_body(after, met))


def refusal(device: str, action: str, event: str, now_ms: int, code: int, reason: str) -> Answer:
    """Answer with KubeEdge's error."""
    body = {"event_id": event, "timestamp": now_ms, "code": code, "reason": reason}
    return Answer((_sent(device, action, body),), refused=True, event=event)


def delta_body(twins: Twins, met: Met) -> Json | None:
    """Every twin with something expected, and what differs; None if nothing differs."""
    expecting = (key for key, twin in twins.items() if "expected" in twin)
    wanted = {
        key: value
        for key in sorted(expecting)
        if not is_deleted(twins[key]) and (value := value_of(twins[key], "expected"))
    }
    live = {key: twins[key] for key in wanted}
    delta = {key: value for key, value in wanted.items() if not met(key, value, value_of(live[key], "actual") or "")}
    return {"twin": _shown(live), "delta": delta} if delta else None


def restored(twins: Twins) -> Twins:
    """The twins as KubeEdge has them after a restart: an empty value is none."""
    return {
        key: {name: part for name, part in twin.items() if name not in HALVES or value_of(twin, name)}
        if any(half in twin and not value_of(twin, half) for half in HALVES)
        else twin
        for key, twin in twins.items()
    }


def value_of(twin: Json, half: str) -> str | None:
    """What is expected or actual, as text; None if nothing is."""
    value: str | None = (twin.get(half) or _NOTHING).get("value")
    return value


def type_of(twin: Json) -> str:
    """KubeEdge's name of the type."""
    type_: str = (twin.get("metadata") or _NOTHING).get("type", "")
    return type_


def is_deleted(twin: Json) -> bool:
    """Whether it is what a delete left behind."""
    return (twin.get("metadata") or _NOTHING).get("type") == "deleted"


def unversioned(twin: Json) -> Json:
    """The twin as MQTT shows it."""
    return {name: twin[name] for name in _SHOWN if name in twin}


_NOTHING: Final[Json] = {}
_FIRST: Final[Json] = {"cloud": 0, "edge": 0}
_NUMBERED: Final = dict(zip(HALVES, VERSIONS, strict=True))
_SHOWN: Final = ("expected", "actual", "optional", "metadata")
_ORDER: Final = (*_SHOWN, "expected_version", "actual_version")


def _apply(twins: dict[str, Json], key: str, wanted: Json | None, out: _Outcome, change: _Change) -> None:
    twin = twins.get(key)
    if twin is None:
        _add(twins, key, wanted, out, change)
        return
    twin = dict(twin)
    if wanted is None:
        changed = not change.sync and _delete(twin, key, {}, out, change)
    elif change.sync and type_of(wanted) == "deleted":
        changed = _delete(twin, key, wanted, out, change)
    else:
        changed = _update(twin, key, wanted, out, change)
    if changed:
        twins[key] = twin


def _add(twins: dict[str, Json], key: str, wanted: Json | None, out: _Outcome, change: _Change) -> None:
    out.document[key] = {"last": None, "current": None}
    if wanted is None:
        return
    out.synced[key] = {}
    made: Json = {"optional": wanted.get("optional") is not False, "metadata": _metadata(wanted)}
    for half in HALVES:
        value = value_of(wanted, half)
        if value is None:
            continue
        version = _accepted(_FIRST, wanted.get(_NUMBERED[half]), change)
        if version is None:
            return
        if flaw := flaw_of(type_of(made), value, strict=change.strict):
            del out.document[key], out.synced[key]
            if change.sync:
                return
            raise _BadValue(flaw)
        made[f"{half}_version"] = version
        if value:
            made[half] = {"value": value, "metadata": {"timestamp": change.now_ms}}
    twins[key] = made
    out.document[key]["current"] = None if is_deleted(made) else unversioned(made)
    if change.sync:
        del out.synced[key]
    else:
        out.synced[key] = _ordered(made)
        out.result[key] = unversioned(made)


def _delete(twin: Json, key: str, wanted: Json, out: _Outcome, change: _Change) -> bool:
    if not change.sync and not twin["optional"]:
        return False
    last = unversioned(twin)
    if is_deleted(twin):  # KubeEdge says so although nothing changed
        out.document[key], out.synced[key] = {"last": last, "current": None}, {}
        return False
    changed = False
    for half in HALVES:
        stored = twin.get(f"{half}_version")
        if stored is None:  # KubeEdge counts from here on, and leaves the value alone
            twin[f"{half}_version"] = {"cloud": 0, "edge": 0}
            continue
        version = _accepted(stored, wanted.get(f"{half}_version"), change, deleting=True)
        if version is None:
            out.synced[key] = _ordered(twin)
            return True
        twin[half], twin[f"{half}_version"], twin["metadata"] = {}, version, {"type": "deleted"}
        changed = True
        if not change.sync:
            out.result[key], out.synced[key] = None, _ordered(twin)
    if changed:
        out.document[key] = {"last": last, "current": None}
    return True


def _update(twin: Json, key: str, wanted: Json, out: _Outcome, change: _Change) -> bool:
    revived = is_deleted(twin)
    last = None if revived else unversioned(twin)
    sync = change.sync
    asked = wanted.get("metadata")
    metadata = _metadata(wanted) if revived else twin["metadata"]
    said: set[str] = set()
    changed, allowed = False, True
    for half in HALVES:
        value = value_of(wanted, half) if half in wanted and allowed else None
        if value is None:
            continue
        # KubeEdge looks at the type only if there was a value before.
        checked = not change.strict or half in twin
        if checked and (flaw := flaw_of(metadata.get("type", ""), value, strict=change.strict)):
            if sync:
                continue
            raise _BadValue(flaw)
        numbered = _NUMBERED[half]
        version = _accepted(twin.get(numbered) or _FIRST, wanted.get(numbered), change)
        if version is None:
            allowed = False
        else:
            twin[half] = {"value": value, "metadata": {"timestamp": change.now_ms}}
            twin[numbered] = version
            changed = True
        if not sync or version is None:
            said.update((half, "optional", "metadata", numbered))
    if allowed and wanted.get("optional") is False and twin["optional"]:
        twin["optional"] = False
        said.add("optional")
        changed = True
    if allowed and metadata != twin["metadata"]:
        twin["metadata"] = metadata
        said.add("metadata")
        changed = True
    changed = changed or (allowed and asked is not None and type_of(wanted) != type_of(twin))
    if changed:
        out.document[key] = {"last": last, "current": (current := unversioned(twin))}
        if not sync:
            out.result[key] = {name: part for name, part in current.items() if name in said}
    if change.cloud and (not allowed or (changed and not sync)):
        out.synced[key] = {name: twin[name] for name in _ORDER if name in said and name in twin}
    return changed


def _accepted(stored: Json, asked: Json | None, change: _Change, *, deleting: bool = False) -> Json | None:
    """The version after this change; None if it is refused."""
    if not change.sync:
        return {"cloud": stored["cloud"], "edge": stored["edge"] + 1}
    if asked is None:
        return stored if deleting else None
    asked = {"cloud": asked.get("cloud", 0), "edge": asked.get("edge", 0)}
    return None if stored["cloud"] > asked["cloud"] or stored["edge"] > asked["edge"] else asked


def _metadata(wanted: Json) -> Json:
    asked = wanted.get("metadata")
    if asked is None:
        return {"type": "string"}
    return {"type": asked["type"]} if asked.get("type") else {}


def _has_value(twin: Json) -> bool:
    return "expected" in twin or "actual" in twin


def _ordered(twin: Json) -> Json:
    return {name: twin[name] for name in _ORDER if name in twin}


def _shown(twins: Twins) -> dict[str, Any]:
    return {key: unversioned(twins[key]) for key in sorted(twins) if not is_deleted(twins[key])}


def _live(result: Mapping[str, Json | None]) -> dict[str, Any]:
    """The result of an update, in the order of its keys already."""
    return {key: one for key, one in result.items() if one is None or not is_deleted(one)}


def _sent(device: str, action: str, body: Json) -> Sent:
    return Sent(topics.kubeedge_device(device, action), body)
