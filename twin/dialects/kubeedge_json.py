"""KubeEdge's JSON: bytes in, checked as Go's decoder would; bytes out, as Go's encoding/json writes them. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from pydantic_core import from_json, to_json

Json: TypeAlias = "dict[str, Any]"

KEY: Final = re.compile(r"[a-zA-Z0-9\-_.,:/@#]{1,128}")
HALVES: Final = ("expected", "actual")
VERSIONS: Final = ("expected_version", "actual_version")


@dataclass(frozen=True, slots=True)
class TwinUpdate:
    """A request to change twins: by key, None for one that is to be deleted."""

    event: str
    twin: dict[str, Json | None]


class Unreadable(Exception):
    """What KubeEdge says of a request that it cannot read; ``event`` is the request's id if that could be read."""

    def __init__(self, reason: str, event: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.event = event


def read_object(payload: bytes) -> Json:
    """Read a request's object; null is an empty one, as in Go. Raises ValueError."""
    body = _parsed(payload)
    if body is None:
        return {}
    if not isinstance(body, dict):
        raise ValueError(_NOT_AN_OBJECT.format(_GO_NAMES[type(body)]))
    return body


def event_of(body: Json) -> str:
    """Give the request's id. Raises ValueError if it or the time has a type that Go refuses."""
    event, timestamp = body.get("event_id"), body.get("timestamp")
    if not isinstance(event, str | None) or type(timestamp) not in (int, type(None)):
        message = "event_id is not a string, or timestamp not a whole number"
        raise ValueError(message)
    return event or ""


def read_update(payload: bytes, *, strict: bool) -> TwinUpdate:
    """Read an update. Raises Unreadable.

    ``strict`` takes KubeEdge's alphabet only; otherwise a value is any text, or JSON, which becomes its text.
    """
    try:
        body = read_object(payload)
        event = event_of(body)
    except ValueError:
        raise Unreadable(_UNREADABLE) from None
    twin = body.get("twin")
    if twin is None:
        raise Unreadable(_NO_TWIN, event)
    if not isinstance(twin, dict):
        raise Unreadable(_UNREADABLE, event)
    for one in twin.values():
        if one is None:
            continue
        if not strict and isinstance(one, dict):
            _write_values_as_text(one)
        if not _is_shaped(one):
            raise Unreadable(_UNREADABLE, event)
    for key, one in twin.items():
        if KEY.fullmatch(key) is None:
            raise Unreadable(_ALPHABET.format("key", 128), event)
        if strict and one is not None and not _is_in_alphabet(one):
            raise Unreadable(_ALPHABET.format("value", 512), event)
    return TwinUpdate(event, twin)


def write(body: Json) -> bytes:
    """Write compact JSON as Go does by default: ``<``, ``>``, ``&`` and the line separators escaped."""
    try:
        text = to_json(body)
    except ValueError:  # half a surrogate pair, which Go turns into U+FFFD
        text = _SURROGATE.sub("\ufffd", json.dumps(body, ensure_ascii=False, separators=(",", ":"))).encode()
    plain = b"<" not in text and b">" not in text and b"&" not in text and b"\xe2\x80" not in text
    return text if plain else _ESCAPED.sub(_escape, text)  # four searches for bytes are ten times faster than one regex


def go_error(payload: bytes) -> str:
    """Write, as Go's ``%#v`` does, why the payload is not an object; the position of a wrong type is not known here."""
    text = payload.decode(errors="replace")
    try:
        read_object(payload)
    except json.JSONDecodeError as error:
        offset = len(text[: error.pos].encode())
        if error.pos >= len(text) or error.msg.startswith("Unterminated"):
            return _SYNTAX_ERROR.format("unexpected end of JSON input", len(payload))
        sign = text[error.pos]
        flaw = f"invalid character '{sign}' {_FLAWS.get(error.msg, 'looking for beginning of value')}"
        return _SYNTAX_ERROR.format(flaw.replace("\\", "\\\\").replace('"', '\\"'), offset + 1)
    except ValueError as error:
        return str(error)
    return "a field has the wrong type"


def _parsed(payload: bytes) -> object:
    try:
        body: object = from_json(payload, allow_inf_nan=False)
    except ValueError:  # half a surrogate pair, bytes that are not UTF-8, or not JSON at all
        try:
            body = json.loads(payload.decode(errors="replace"), parse_constant=_refuse)
        except RecursionError:
            message = "exceeded max depth"
            raise ValueError(message) from None
    return body


def _refuse(constant: str) -> None:
    message = f"{constant} is not JSON"
    raise ValueError(message)


def _write_values_as_text(one: Json) -> None:
    for half in HALVES:
        if half in one and isinstance(part := one[half], dict):
            value = part.get("value")
            if type(value) is not str and value is not None:
                part["value"] = to_json(value).decode()


def _is_shaped(one: object) -> bool:
    return isinstance(one, dict) and all(
        _SHAPES[name](part) for name, part in one.items() if part is not None and name in _SHAPES
    )


def _is_half(part: object) -> bool:
    if not isinstance(part, dict) or not isinstance(part.get("value"), str):
        return False
    metadata = part.get("metadata")
    return metadata is None or (isinstance(metadata, dict) and _is_int64(metadata.get("timestamp", 0)))


def _is_version(part: object) -> bool:
    return isinstance(part, dict) and all(_is_int64(part.get(site, 0)) for site in ("cloud", "edge"))


def _is_type(part: object) -> bool:
    return isinstance(part, dict) and isinstance(part.get("type", ""), str)


def _is_flag(part: object) -> bool:
    return isinstance(part, bool)


def _is_in_alphabet(one: Json) -> bool:
    parts = [part for half in HALVES if (part := one.get(half))]
    return all(not part["value"] or _VALUE.fullmatch(part["value"]) for part in parts)


def _is_int64(value: object) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


def _escape(match: re.Match[bytes]) -> bytes:
    return b"\\u%04x" % ord(match[0].decode())


_SHAPES: Final = {
    **dict.fromkeys(HALVES, _is_half),
    **dict.fromkeys(VERSIONS, _is_version),
    "metadata": _is_type,
    "optional": _is_flag,
}
_VALUE: Final = re.compile(r"[a-zA-Z0-9\-_.,:/@#]{1,512}")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_ESCAPED: Final = re.compile(b"[<>&]|\xe2\x80[\xa8\xa9]")
_UNREADABLE: Final = "Unmarshal update request body failed, please check the request"
_NO_TWIN: Final = "Update twin error, key:twin does not exist"
_ALPHABET: Final = (
    "The {0} of twin must only include upper or lowercase letters, number, english, and special letter"
    " - _ . , : / @ # and the length of {0} should be less than {1} bytes"
)
_SYNTAX_ERROR: Final = '&json.SyntaxError{{msg:"{}", Offset:{}}}'
_NOT_AN_OBJECT: Final = "json: cannot unmarshal {} into Go value of type dttype.BaseMessage"
_GO_NAMES: Final = {list: "array", str: "string", bool: "bool", int: "number", float: "number"}
_FLAWS: Final = {
    "Expecting property name enclosed in double quotes": "looking for beginning of object key string",
    "Expecting ':' delimiter": "after object key",
    "Expecting ',' delimiter": "after object key:value pair",
    "Extra data": "after top-level value",
}
