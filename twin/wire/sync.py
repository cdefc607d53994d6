"""The one strict door of the messages between gateway and cloud: bytes to ``twin.exchange`` and back.

payload = JSON object                      first byte {
        | the same, compressed (zlib)      first byte 0x78, where the JSON is longer than 512 bytes

Decoding checks sizes before it reads and before it unpacks, keys that stand twice, numbers that are not finite, text
that is none, and then each field.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import zlib
from collections.abc import Callable
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json, to_json

from twin.errors import EdgetwinError, InvalidMessage, TooLarge, shown
from twin.exchange import Documents, Shared, SyncMessage
from twin.wire.codec import first_problem
from twin.wire.sync_shapes import SHAPES, body_of

MAX_BYTES: Final = 8 * 1024 * 1024
"""Of a payload, and of the JSON in it: room for one value of the largest request."""
COMPRESS_FROM: Final = 512

_LEVEL: Final = 1
_ZLIB: Final = 0x78
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_text: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False).encode
_HERE: Final = "\0content"
_HERE_TEXT: Final = _text(_HERE)
_REMEDY: Final = "docs/wire.md shows each message; both sides must be of releases that know each other."


def encode(message: SyncMessage) -> bytes:
    """Turn a message into a payload. Raises TooLarge, and InvalidMessage for values that JSON does not have."""
    return packed(encode_json(message))


def encode_json(message: SyncMessage) -> bytes:
    """The JSON of a message, not compressed. Raises as ``encode`` does."""
    try:
        body = (_documents(message) if isinstance(message, Documents) else _text(body_of(message))).encode()
    except (ValueError, RecursionError) as error:
        reason = f"a {type(message).__name__} cannot be written: {error}"
        raise InvalidMessage(reason, remedy="A value in it is not JSON.") from None
    if len(body) > MAX_BYTES:
        reason = f"a {type(message).__name__} has {len(body)} bytes, over the limit of {MAX_BYTES}"
        raise TooLarge(reason, remedy="Keep single values below 4 MiB.")
    return body


def _documents(message: Documents) -> str:
    """Documents, whose contents may have been written already for another gateway."""
    tree = body_of(message)
    shared = [row.raw.text for row in message.rows if isinstance(row.raw, Shared)]
    for row, body in zip(message.rows, tree["rows"], strict=True):
        if isinstance(row.raw, Shared):
            body["raw"] = _HERE
    first, *others = _text(tree).split(_HERE_TEXT)
    if len(others) != len(shared):  # somebody else says so, too
        return _text(body_of(message))
    return first + "".join(part for pair in zip(shared, others, strict=True) for part in pair)


def packed(body: bytes) -> bytes:
    """JSON as it goes over the line."""
    if len(body) <= COMPRESS_FROM:
        return body
    return zlib.compress(body, _LEVEL)


def decode(payload: bytes, *, what: str = "sync message") -> SyncMessage:
    """Turn a payload into a message. Raises TooLarge or InvalidMessage, whose text begins with ``what``."""
    return decode_json(unpacked(payload, what=what), what=what)


def decode_json(body: bytes, *, what: str = "sync message") -> SyncMessage:
    """Turn JSON that is not compressed into a message. Raises as ``decode`` does."""
    tree = _parsed(body, what)
    kind = tree.get("type") if isinstance(tree, dict) else None
    shape = SHAPES.get(kind) if isinstance(kind, str) else None
    if shape is None:
        said = f"there is no type {shown(kind)}" if isinstance(kind, str) else "it has no type"
        text = f"{what}: {said}"
        raise InvalidMessage(text, remedy=_REMEDY)
    model, read = shape
    return _read(tree, model, read, what)


def _read(tree: Any, model: type[BaseModel], read: Callable[[Any], SyncMessage], what: str) -> SyncMessage:
    try:
        return read(model.model_validate(tree))
    except ValidationError as error:
        text = f"{what}: {first_problem(error)}"
    except EdgetwinError as error:
        text = f"{what}: {error.message}"
    except ValueError:
        text = f"{what}: columns that belong together differ in length"
    raise InvalidMessage(text, remedy=_REMEDY) from None


def unpacked(payload: bytes, *, what: str = "sync message") -> bytes:
    """The JSON of a payload. Raises TooLarge or InvalidMessage."""
    if len(payload) > MAX_BYTES:
        _refuse_size(len(payload), what)
    if payload[:1] != bytes([_ZLIB]):
        return payload
    unpacker = zlib.decompressobj()
    try:
        body = unpacker.decompress(payload, MAX_BYTES + 1)
    except zlib.error as error:
        text = f"{what}: {error}"
        raise InvalidMessage(text, remedy=_REMEDY) from None
    if len(body) > MAX_BYTES:
        _refuse_size(len(body), what)
    if not unpacker.eof or unpacker.unused_data:
        text = f"{what}: the compressed part is cut short or followed by something else"
        raise InvalidMessage(text, remedy=_REMEDY)
    return body


def _refuse_size(count: int, what: str) -> None:
    message = f"{what}: {count} bytes or more are over the limit of {MAX_BYTES}"
    raise TooLarge(message, remedy="Send less in one message.")


def _parsed(body: bytes, what: str) -> Any:
    with contextlib.suppress(ValueError, RecursionError):  # all others are read with care
        tree = from_json(body, allow_inf_nan=False)
        if to_json(tree) == body:  # as our messages are: so no key stands twice, and nothing is lost or odd
            return tree
    try:
        tree = json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_finite, parse_float=_finite)
        if _SURROGATE.search(body):
            json.dumps(tree, ensure_ascii=False).encode()  # half a pair is not text
    except InvalidMessage as error:
        text = f"{what}: {error.message}"
    except (ValueError, RecursionError) as error:
        text = f"{what}: it is not JSON: {error}"
    else:
        return tree
    raise InvalidMessage(text, remedy=_REMEDY) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        message = f"key {shown(twice)} stands twice in one object"
        raise InvalidMessage(message)
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        message = f"{shown(text, 20)} is not a finite number"
        raise InvalidMessage(message)
    return number
