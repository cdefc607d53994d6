"""KubeEdge's device-twin rules, byte for byte (strict mode): a message and a device's twins in, messages out. Pure.

update ──> decode ──> rules on a copy ──> result, document, delta, edge_updated

What KubeEdge keeps of a property is one ``Json`` object in its own shape and key order; ``Twins`` is a device's.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

Json: TypeAlias = "dict[str, Any]"
Twins: TypeAlias = "dict[str, Json]"


@dataclass(frozen=True, slots=True)
class Sent:
    """One message: to an MQTT topic, or to the cloud if ``cloud``."""

    resource: str
    body: bytes
    cloud: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """The messages in order, and the device's twins as they are to be stored; None if nothing may be stored."""

    sent: tuple[Sent, ...]
    twins: Twins | None = None


@dataclass(slots=True)
class _Outcome:
    result: dict[str, Json | None] = field(default_factory=dict)
    document: dict[str, Json] = field(default_factory=dict)
    synced: dict[str, Json] = field(default_factory=dict)


class _BadValue(Exception):
    """What KubeEdge says of a request that breaks a rule."""


def update(
    device: str, twins: Twins | None, payload: bytes, *, now_ms: int, event_id: Callable[[], str], sync: bool = False
) -> Answer:
    """Answer an update from MQTT, or one from the cloud (``sync``); ``twins`` is None for an unknown device."""
    try:
        event, wanted = _decode(payload)
    except _BadValue as error:  # KubeEdge answers these on a topic without a device
        return Answer(() if sync else (_error("", "update/result", "", now_ms, 400, str(error)),))
    if twins is None:
        reason = "update rejected due to the device is not existed"
        return Answer((_error(device, "update/result", event, now_ms, 404, reason),))
    kept = copy.deepcopy(twins)
    outcome = _Outcome()
    for key in sorted(wanted):
        try:
            _apply(kept, key, wanted[key], outcome, now_ms, sync)
        except _BadValue as error:
            # KubeEdge reads the device back from its disk here, where an empty value is none.
            return Answer((_error(device, "update/result", event, now_ms, 400, str(error)),), restored(twins))
    base = {"event_id": event, "timestamp": now_ms}
    sent = []
    if not sync:
        sent.append(_sent(device, "update/result", {**base, "twin": _shown(outcome.result)}))
    if outcome.document:
        sent.append(_sent(device, "update/document", {**base, "twin": _sorted(outcome.document)}))
    if (delta := delta_body(kept)) is not None:
        sent.append(_sent(device, "update/delta", {"event_id": event_id(), "timestamp": now_ms, **delta}))
    if outcome.synced:
        body = {"event_id": event_id(), "timestamp": now_ms, "twin": _sorted(outcome.synced)}
        sent.append(Sent(f"device/{device}/twin/edge_updated", _encode(body), cloud=True))
    return Answer(tuple(sent), kept)


def get(device: str, twins: Twins | None, payload: bytes, *, now_ms: int) -> Answer:
    """Answer a get."""
    try:
        body = json.loads(payload)
    except (ValueError, RecursionError):
        text = payload.decode(errors="replace")
        flaw = f"invalid character '{text[:1]}' looking for beginning of value"
        reason = f'Unmarshal twin info {text} failed , err: &json.SyntaxError{{msg:"{flaw}", Offset:1}}'
        return Answer((_error(device, "get/result", "", now_ms, 400, reason),))
    event = str(body.get("event_id", "")) if isinstance(body, dict) else ""
    if twins is None:
        reason = f"Device {device} not found while getting twin"
        return Answer((_error(device, "get/result", event, now_ms, 404, reason),))
    found = {"event_id": event, "timestamp": now_ms, "twin": _shown(dict(twins))}
    return Answer((_sent(device, "get/result", found),))


def delta_body(twins: Twins) -> Json | None:
    """Every twin with something expected, and what differs; None if nothing differs."""
    live = {key: twin for key, twin in twins.items() if not _is_deleted(twin) and _value(twin, "expected")}
    delta = {key: _value(twin, "expected") for key, twin in live.items()}
    delta = {key: value for key, value in delta.items() if value != _value(live[key], "actual")}
    return {"twin": _shown(dict(live)), "delta": _sorted(delta)} if delta else None


def restored(twins: Twins) -> Twins:
    """The twins as KubeEdge has them after a restart: an empty value is none."""
    made = copy.deepcopy(twins)
    for twin in made.values():
        for half in ("expected", "actual"):
            if not _value(twin, half):
                twin.pop(half, None)
    return made


_KEY: Final = re.compile(r"[a-zA-Z0-9\-_.,:/@#]{1,128}")
_VALUE: Final = re.compile(r"[a-zA-Z0-9\-_.,:/@#]{1,512}")
_INT: Final = re.compile(r"[+-]?[0-9]+")
_ORDER: Final = ("expected", "actual", "optional", "metadata", "expected_version", "actual_version")
_ALPHABET: Final = (
    "The {0} of twin must only include upper or lowercase letters, number, english, and special letter"
    " - _ . , : / @ # and the length of {0} should be less than {1} bytes"
)
_UNREADABLE: Final = "Unmarshal update request body failed, please check the request"


def _decode(payload: bytes) -> tuple[str, dict[str, Json | None]]:
    try:
        body = json.loads(payload)
    except (ValueError, RecursionError):
        raise _BadValue(_UNREADABLE) from None
    if not isinstance(body, dict) or not isinstance(body.get("event_id", ""), str):
        raise _BadValue(_UNREADABLE)
    twin = body.get("twin")
    if twin is None:
        raise _BadValue("Update twin error, key:twin does not exist")  # noqa: EM101  KubeEdge's own text
    if not isinstance(twin, dict) or not all(one is None or _is_shaped(one) for one in twin.values()):
        raise _BadValue(_UNREADABLE)
    for key, one in twin.items():
        if _KEY.fullmatch(key) is None:
            raise _BadValue(_ALPHABET.format("key", 128))
        texts = [value for half in ("expected", "actual") if (value := _value(one or {}, half))]
        if any(_VALUE.fullmatch(text) is None for text in texts):
            raise _BadValue(_ALPHABET.format("value", 512))
    return body.get("event_id", ""), twin


def _is_shaped(one: object) -> bool:
    if not isinstance(one, dict) or not isinstance(one.get("optional"), bool | None):
        return False
    parts = [one.get(name) for name in _ORDER if name != "optional"]
    if not all(part is None or isinstance(part, dict) for part in parts):
        return False
    halves = [half for name in ("expected", "actual") if (half := one.get(name)) is not None]
    versions = [version for name in _ORDER[4:] if (version := one.get(name)) is not None]
    return (
        all(isinstance(half.get("value"), str) for half in halves)
        and isinstance((one.get("metadata") or {}).get("type", ""), str)
        and all(type(version.get(site, 0)) is int for version in versions for site in ("cloud", "edge"))
    )


def _apply(twins: Twins, key: str, wanted: Json | None, out: _Outcome, now_ms: int, sync: bool) -> None:
    twin = twins.get(key)
    if twin is None:
        _add(twins, key, wanted, out, now_ms, sync)
    elif wanted is None:
        if not sync:
            _delete(twin, key, {}, out, sync)
    elif sync and _type(wanted) == "deleted":
        _delete(twin, key, wanted, out, sync)
    else:
        _change(twin, key, wanted, out, now_ms, sync)


def _add(twins: Twins, key: str, wanted: Json | None, out: _Outcome, now_ms: int, sync: bool) -> None:
    out.document[key] = {"last": None, "current": None}
    if wanted is None:
        return
    out.synced[key] = {}
    made: Json = {"optional": wanted.get("optional") is not False, "metadata": {"type": _type(wanted) or "string"}}
    for half in ("expected", "actual"):
        value = _value(wanted, half)
        if value is None:
            continue
        version = _accepted({"cloud": 0, "edge": 0}, wanted.get(f"{half}_version"), sync)
        if version is None:
            return
        if flaw := _flaw(_type(made), value):
            del out.document[key], out.synced[key]
            if sync:
                return
            raise _BadValue(flaw)
        made[f"{half}_version"] = version
        if value:
            made[half] = {"value": value, "metadata": {"timestamp": now_ms}}
    twins[key] = made
    out.document[key]["current"] = None if _is_deleted(made) else _unversioned(made)
    if sync:
        del out.synced[key]
    else:
        out.synced[key] = _ordered(made)
        out.result[key] = _unversioned(made)


def _delete(twin: Json, key: str, wanted: Json, out: _Outcome, sync: bool) -> None:
    if not sync and not twin["optional"]:
        return
    last = _unversioned(twin)
    if _is_deleted(twin):  # KubeEdge says so although nothing changed
        out.document[key], out.synced[key] = {"last": last, "current": None}, {}
        return
    changed = False
    for half in ("expected", "actual"):
        stored = twin.get(f"{half}_version")
        if stored is None:
            continue
        version = _accepted(stored, wanted.get(f"{half}_version"), sync, deleting=True)
        if version is None:
            out.synced[key] = _ordered(twin)
            return
        twin[half], twin[f"{half}_version"], twin["metadata"] = {}, version, {"type": "deleted"}
        changed = True
    if changed:
        out.document[key] = {"last": last, "current": None}
        if not sync:
            out.result[key], out.synced[key] = None, _ordered(twin)


def _change(twin: Json, key: str, wanted: Json, out: _Outcome, now_ms: int, sync: bool) -> None:
    revived = _is_deleted(twin)
    last = None if revived else _unversioned(twin)
    type_ = (_type(wanted) or "string") if revived else _type(twin)
    said: Json = {}
    changed, allowed = False, True
    for half in ("expected", "actual"):
        value = _value(wanted, half)
        if value is None or not allowed:
            continue
        if flaw := _flaw(type_, value):
            if sync:
                continue
            raise _BadValue(flaw)
        stored = twin.get(f"{half}_version") or {"cloud": 0, "edge": 0}
        version = _accepted(stored, wanted.get(f"{half}_version"), sync)
        if version is None:
            allowed = False
        else:
            twin[half] = {"value": value, "metadata": {"timestamp": now_ms}}
            twin[f"{half}_version"] = version
            changed = True
        if not sync or version is None:
            said |= {name: twin[name] for name in (half, "optional", "metadata", f"{half}_version") if name in twin}
    if allowed and wanted.get("optional") is False and twin["optional"]:
        twin["optional"] = said["optional"] = False
        changed = True
    if allowed and revived:
        twin["metadata"] = said["metadata"] = {"type": type_}
        changed = True
    changed = changed or (allowed and wanted.get("metadata") not in (None, twin["metadata"]))
    if changed:
        out.document[key] = {"last": last, "current": _unversioned(twin)}
        if not sync:
            out.result[key] = _unversioned(said)
    if not allowed or (changed and not sync):
        out.synced[key] = _ordered(said)


def _accepted(stored: Json, asked: Json | None, sync: bool, *, deleting: bool = False) -> Json | None:
    """The version after this change; None if it is refused."""
    if not sync:
        return {"cloud": stored["cloud"], "edge": stored["edge"] + 1}
    if asked is None:
        return stored if deleting else None
    asked = {"cloud": asked.get("cloud", 0), "edge": asked.get("edge", 0)}
    return None if stored["cloud"] > asked["cloud"] or stored["edge"] > asked["edge"] else asked


def _flaw(type_: str, value: str) -> str:
    if type_ in ("", "string", "deleted"):
        return ""
    if type_ in ("int", "integer"):
        whole = len(value) <= 512 and _INT.fullmatch(value) and -(2**63) <= int(value) < 2**63
        return "" if whole else "the value is not int or integer"
    if type_ == "float":
        try:
            float(value)
        except ValueError:
            return "the value is not float"
        return ""
    if type_ == "boolean":
        return "" if value in ("true", "false") else "the bool value must be true or false"
    return "the value type is not allowed"


def _type(twin: Json) -> str:
    return str((twin.get("metadata") or {}).get("type", ""))


def _value(twin: Json, half: str) -> str | None:
    value: str | None = (twin.get(half) or {}).get("value")
    return value


def _is_deleted(twin: Json) -> bool:
    return _type(twin) == "deleted"


def _ordered(twin: Json) -> Json:
    return {name: copy.deepcopy(twin[name]) for name in _ORDER if name in twin}


def _unversioned(twin: Json) -> Json:
    return {name: value for name, value in _ordered(twin).items() if not name.endswith("_version")}


def _shown(twins: dict[str, Json | None]) -> Json:
    live = {key: twin for key, twin in twins.items() if twin is None or not _is_deleted(twin)}
    return {key: None if twin is None else _unversioned(twin) for key, twin in sorted(live.items())}


def _sorted(found: dict[str, Any]) -> Json:
    return dict(sorted(found.items()))


def _error(device: str, suffix: str, event: str, now_ms: int, code: int, reason: str) -> Sent:
    return _sent(device, suffix, {"event_id": event, "timestamp": now_ms, "code": code, "reason": reason})


def _sent(device: str, suffix: str, body: Json) -> Sent:
    return Sent(f"$hw/events/device/{device}/twin/{suffix}", _encode(body))


def _encode(body: Json) -> bytes:
    """Write compact JSON; a lone surrogate becomes U+FFFD, as in Go."""
    return _SURROGATE.sub("\ufffd", json.dumps(body, ensure_ascii=False, separators=(",", ":"))).encode()


_SURROGATE: Final = re.compile("[\ud800-\udfff]")
