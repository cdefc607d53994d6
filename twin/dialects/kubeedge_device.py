"""KubeEdge's rules for a device's state, its attributes and the node's list of devices. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from twin.dialects.kubeedge import Answer, Sent, is_deleted, refusal, unversioned
from twin.dialects.kubeedge_json import Json, event_of, go_error, read_object
from twin.dialects.kubeedge_record import Record
from twin.model import TwinKey, Value
from twin.wire import topics

STATES: Final = ("online", "offline", "ok", "unknown", "unhealthy")
_ONLINE: Final = frozenset({"online", "ok"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What to send, and the device's record as it is to be stored; None if nothing changes."""

    answer: Answer
    record: Record | None = None


def state_update(
    device: str, record: Record | None, payload: bytes, *, now_ms: int, event_id: Callable[[], str], strict: bool
) -> Outcome:
    """Take a device's state. Strict: what cannot be taken is not answered, and going offline erases ``last_online``."""
    action = "state/update/result"
    event = ""
    try:
        body = read_object(payload)
        event = event_of(body)
        state = body.get("state")
    except ValueError:
        reason = f"Unmarshal device info failed, err: {go_error(payload)}"
        return _refused(strict, refusal(device, action, event, now_ms, 400, reason))
    if record is None:
        reason = f"Device {device} not found while updating its state"
        return _refused(strict, refusal(device, action, event, now_ms, 404, reason))
    if not isinstance(state, str) or state.lower() not in STATES:
        reason = f"state must be one of {', '.join(STATES)}"
        return _refused(strict, refusal(device, action, event, now_ms, 400, reason))
    if state.lower() in _ONLINE:
        last_online = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    else:
        last_online = "" if strict else record.last_online
    made = record._replace(state=state, last_online=last_online)
    return Outcome(_state(device, made, action, event_id() if strict else event, now_ms), made)


def state_get(device: str, record: Record | None, payload: bytes, *, now_ms: int) -> Answer:
    """Tell a device's state; KubeEdge has the topic, and nobody behind it."""
    action = "state/get/result"
    try:
        event = event_of(read_object(payload))
    except ValueError:
        return refusal(device, action, "", now_ms, 400, f"Unmarshal device info failed, err: {go_error(payload)}")
    if record is None:
        return refusal(device, action, event, now_ms, 404, f"Device {device} not found while getting its state")
    return _state(device, record, action, event, now_ms)


def attributes_update(device: str, record: Record, payload: bytes, *, now_ms: int) -> Outcome | None:
    """Change attributes and tell those that changed; None if it cannot be read. No change is not answered."""
    try:
        body = read_object(payload)
        event = event_of(body)
    except ValueError:
        return None
    asked = body.get("attributes")
    if not isinstance(asked, dict) or not all(one is None or _is_attribute(one) for one in asked.values()):
        return None
    kept: dict[str, Json] = dict(record.attributes)
    told: dict[str, Json | None] = {}
    for key in sorted(asked):
        old, new = kept.get(key), asked[key]
        if new is None:
            if old is not None and old.get("optional") is not False:
                told[key] = None
                del kept[key]
        elif old is None:
            kept[key] = told[key] = _attribute(new)
        elif changes := _attribute_changes(old, new):
            kept[key] = _ordered({**old, **changes})
            told[key] = _ordered({"value": "", **changes})
    if not told:
        return Outcome(Answer((), event=event))
    sent = Sent(topics.kubeedge_device(device, "updated"), {"event_id": event, "timestamp": now_ms, "attributes": told})
    return Outcome(Answer((sent,), event=event), record._replace(attributes=kept))


def membership(
    node: str, action: str, devices: Iterable[tuple[TwinKey, Record | None]], payload: bytes, *, now_ms: int
) -> Answer:
    """Answer ``get`` with the list of devices, ``detail`` with their twins too."""
    topic = topics.kubeedge_node(node, f"membership/{action}/result")
    try:
        event = event_of(read_object(payload))
    except ValueError:
        text = payload.decode(errors="replace")
        reason = f"Unmarshal get membership info {text} failed , err: {go_error(payload)}"
        body: Json = {"event_id": "", "timestamp": now_ms, "code": 400, "reason": reason}
        return Answer((Sent(topic, body),), refused=True)
    found = [_device(key, record, with_twins=action == "detail") for key, record in devices]
    return Answer((Sent(topic, {"event_id": event, "timestamp": now_ms, "devices": found}),), event=event)


def membership_busy(node: str, action: str, now_ms: int) -> Sent:
    """Refuse to list devices because that was asked for too often."""
    reason = "too many requests for the list of devices; ask again in a second"
    body = {"event_id": "", "timestamp": now_ms, "code": 429, "reason": reason}
    return Sent(topics.kubeedge_node(node, f"membership/{action}/result"), body)


def membership_updated(
    node: str, key: TwinKey, record: Record | None, *, added: bool, now_ms: int, event_id: Callable[[], str]
) -> Sent:
    """Tell of one device that came or went."""
    one = [_device(key, record, with_twins=True)] if added else [{"id": f"{key.namespace}/{key.name}"}]
    body = {
        "event_id": event_id(),
        "timestamp": now_ms,
        "added_devices": one if added else None,
        "removed_devices": None if added else one,
    }
    return Sent(topics.kubeedge_node(node, "membership/updated"), body)


@dataclass(frozen=True, slots=True)
class SeriesReading:
    """One value of a time series; ``at`` in milliseconds, 0 if the message does not say."""

    property: str
    value: Value
    at: int


def readings(payload: bytes) -> list[SeriesReading] | None:
    """Read a time series message; None if it is none."""
    try:
        told = read_object(payload).get("data")
    except ValueError:
        return None
    if not isinstance(told, dict):
        return None
    found = []
    for name, one in told.items():
        if not isinstance(one, dict) or "value" not in one:
            return None
        metadata = one.get("metadata")
        at = metadata.get("timestamp", 0) if isinstance(metadata, dict) else 0
        if type(at) is not int or not 0 <= at < 2**53:
            return None
        found.append(SeriesReading(name, one["value"], at))
    return found


def _refused(strict: bool, answer: Answer) -> Outcome:
    return Outcome(Answer((), refused=True, event=answer.event) if strict else answer)


def _state(device: str, record: Record, action: str, event: str, now_ms: int) -> Answer:
    shown = {"name": device.rpartition("/")[2], "state": record.state, "lastOnlineTime": record.last_online}
    body = {"event_id": event, "timestamp": now_ms, "device": {key: text for key, text in shown.items() if text}}
    return Answer((Sent(topics.kubeedge_device(device, action), body),), event=event)


def _device(key: TwinKey, record: Record | None, *, with_twins: bool) -> Json:
    made: Json = {"id": f"{key.namespace}/{key.name}", "name": key.name}
    if record is None:
        return made
    parts: Mapping[str, object] = {
        "state": record.state,
        "last_online": record.last_online,
        "attributes": {name: record.attributes[name] for name in sorted(record.attributes)},
        "twin": {
            name: unversioned(record.twins[name]) for name in sorted(record.twins) if not is_deleted(record.twins[name])
        }
        if with_twins
        else None,
    }
    return made | {name: part for name, part in parts.items() if part}


def _is_attribute(one: object) -> bool:
    if not isinstance(one, dict) or not isinstance(one.get("value", ""), str):
        return False
    metadata = one.get("metadata")
    if metadata is not None and not (isinstance(metadata, dict) and isinstance(metadata.get("type", ""), str)):
        return False
    return isinstance(one.get("optional"), bool | None)


def _attribute(one: Json) -> Json:
    made: Json = {"value": one.get("value", "")}
    if one.get("optional") is not None:
        made["optional"] = one["optional"]
    if one.get("metadata") is not None:
        made["metadata"] = {"type": one["metadata"]["type"]} if one["metadata"].get("type") else {}
    return made


def _attribute_changes(old: Json, new: Json) -> Json:
    asked = _attribute(new)
    changes: Json = {}
    if asked["value"] != old["value"]:
        changes["value"] = asked["value"]
    if "metadata" in asked and asked["metadata"] != old.get("metadata"):
        changes["metadata"] = asked["metadata"]
    if asked.get("optional") is False and old.get("optional") is not False:
        changes["optional"] = False
    return changes


def _ordered(one: Json) -> Json:
    return {name: one[name] for name in ("value", "optional", "metadata") if name in one}
