"""The body of a publish response -> changes, without an object for each value. Pure.

    PublishResponse   type, header, subscription, available [], more, NotificationMessage, results [], diagnostics []
    NotificationMessage    number, time, [DataChange | StatusChange | Events]
    DataChange        [ client handle, mask | value | status | source time | pico | server time | pico ]

OPC 10000-6, 5.2. asyncua builds four objects for each value, which is what makes it slow; scalars are read here in
place, all other variants by the function that the caller gives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from struct import Struct, error
from typing import Final, NamedTuple, TypeAlias

from mappers.sdk import Value

PUBLISH_RESPONSE: Final = 829
SERVICE_FAULT: Final = 397
_DATA_CHANGE: Final = 811
_STATUS_CHANGE: Final = 820
_EVENTS: Final = 916
EPOCH_1601_MS: Final = 11_644_473_600_000
"""From 1601, where OPC UA counts from, to 1970."""

ReadVariant: TypeAlias = Callable[[bytes, int], tuple[Value, int]]
"""Reads a variant at a position; returns its JSON value and where it ends.

Raises ValueError for one without a JSON form, with the end as second argument.
"""


class NotADataChange(ValueError):
    """The bytes are no publish response, or one cut short."""


class Change(NamedTuple):
    """One value of one monitored item. Times in milliseconds since 1970, 0 for none."""

    handle: int
    value: Value
    has_value: bool
    status: int
    source_ms: int
    server_ms: int


@dataclass(slots=True)
class Published:
    """One publish response. ``available``: numbers that the server still holds; ``ended``: why a subscription did."""

    status: int
    subscription: int = 0
    number: int = 0
    available: tuple[int, ...] = ()
    more: bool = False
    changes: list[Change] = field(default_factory=list)
    has_notification: bool = False
    ended: int = 0


_UINT32: Final = Struct("<I")
_INT32: Final = Struct("<i")
_INT64: Final = Struct("<q")
_ITEM: Final = Struct("<IB")
_SCALARS: Final[dict[int, Struct]] = {
    1: Struct("<?"),
    2: Struct("<b"),
    3: Struct("<B"),
    4: Struct("<h"),
    5: Struct("<H"),
    6: Struct("<i"),
    7: Struct("<I"),
    8: Struct("<q"),
    9: Struct("<Q"),
    10: Struct("<f"),
    11: Struct("<d"),
}
_STRING: Final = 12
_UNPACK: Final = {kind: (layout.unpack_from, layout.size) for kind, layout in _SCALARS.items()}
UNREADABLE: Final = 0x8007_0000
"""BadDecodingError: what a value gets that has no JSON form."""


def read_publish(body: bytes, read_variant: ReadVariant) -> Published:
    """Read one publish response, or a service fault. Raises NotADataChange."""
    try:
        return _read(body, read_variant)
    except (error, IndexError, KeyError, UnicodeDecodeError, OverflowError) as cause:
        message = f"{type(cause).__name__} in a publish response of {len(body)} bytes: {cause}"
        raise NotADataChange(message) from cause


def _read(body: bytes, read_variant: ReadVariant) -> Published:
    kind, at = _type_id(body, 0)
    if kind not in (PUBLISH_RESPONSE, SERVICE_FAULT):
        message = f"the answer to a publish request is of type {kind}"
        raise NotADataChange(message)
    status, at = _header(body, at)
    if kind == SERVICE_FAULT or status >= 0x8000_0000:
        return Published(status)
    subscription, count = _UINT32.unpack_from(body, at)[0], _INT32.unpack_from(body, at + 4)[0]
    count = max(0, count)
    at += 8
    available = tuple(_UINT32.unpack_from(body, at + 4 * index)[0] for index in range(_checked(count, 4, body, at)))
    at += 4 * count
    more = body[at] != 0
    number = _UINT32.unpack_from(body, at + 1)[0]
    at += 13
    read = Published(status, subscription, number, available, more)
    notifications, at = max(0, _INT32.unpack_from(body, at)[0]), at + 4
    read.has_notification = notifications > 0
    for _ in range(_checked(notifications, 3, body, at)):
        kind, at = _type_id(body, at)
        encoding, at = body[at], at + 1
        length, at = (_INT32.unpack_from(body, at)[0], at + 4) if encoding else (0, at)
        if kind == _DATA_CHANGE:
            _changes(body, at, read.changes, read_variant)
        elif kind == _EVENTS:
            _events(body, at, read.changes, read_variant)
        elif kind == _STATUS_CHANGE:
            read.ended = _UINT32.unpack_from(body, at)[0]
        at += max(0, length)
    return read


def _changes(body: bytes, at: int, changes: list[Change], read_variant: ReadVariant) -> None:
    count, at = _INT32.unpack_from(body, at)[0], at + 4
    unpack_item, unpack_time, unpack_status = _ITEM.unpack_from, _INT64.unpack_from, _UINT32.unpack_from
    scalars, take, make = _UNPACK, changes.append, tuple.__new__
    for _ in range(_checked(max(0, count), 5, body, at)):
        handle, mask = unpack_item(body, at)
        at += 5
        value: Value = None
        status = source_ms = server_ms = 0
        if mask & 1:
            kind = body[at]
            if kind in scalars:
                unpack, size = scalars[kind]
                (value,) = unpack(body, at + 1)
                at += 1 + size
            elif kind == _STRING:
                value, at = _string(body, at + 1)
            else:
                try:
                    value, at = read_variant(body, at)
                except ValueError as unread:
                    at, status = _end_of(unread), UNREADABLE
        if mask & 2:
            (code,) = unpack_status(body, at)
            at += 4
            status = status or code
        if mask & 4:
            (ticks,) = unpack_time(body, at)
            at += 8
            source_ms = ticks // 10_000 - EPOCH_1601_MS
        if mask & 16:
            at += 2
        if mask & 8:
            (ticks,) = unpack_time(body, at)
            at += 8
            server_ms = ticks // 10_000 - EPOCH_1601_MS
        if mask & 32:
            at += 2
        has_value = bool(mask & 1) and status != UNREADABLE
        take(make(Change, (handle, value, has_value, status, source_ms, server_ms)))


def _events(body: bytes, at: int, changes: list[Change], read_variant: ReadVariant) -> None:
    """Each event is a change whose value is the list of the fields that were asked for."""
    count, at = _INT32.unpack_from(body, at)[0], at + 4
    for _ in range(_checked(max(0, count), 8, body, at)):
        handle, fields = _UINT32.unpack_from(body, at)[0], _INT32.unpack_from(body, at + 4)[0]
        at += 8
        values: list[Value] = []
        for _field in range(_checked(max(0, fields), 1, body, at)):
            try:
                value, at = read_variant(body, at)
            except ValueError as unread:
                value, at = None, _end_of(unread)
            values.append(value)
        changes.append(Change(handle, values, True, 0, 0, 0))


def _end_of(unread: ValueError) -> int:
    if len(unread.args) == 2 and isinstance(unread.args[1], int):
        return unread.args[1]
    raise NotADataChange(*unread.args) from unread


def _header(body: bytes, at: int) -> tuple[int, int]:
    """Status of the response, and where its header ends."""
    (status,) = _UINT32.unpack_from(body, at + 12)
    at += 16
    if body[at]:  # nobody asked for diagnostics
        message = "a response with diagnostics"
        raise NotADataChange(message)
    strings, at = _INT32.unpack_from(body, at + 1)[0], at + 5
    for _ in range(_checked(max(0, strings), 4, body, at)):
        _, at = _string(body, at)
    _, at = _type_id(body, at)
    encoding, at = body[at], at + 1
    if encoding:
        at += 4 + max(0, _INT32.unpack_from(body, at)[0])
    return status, at


def _type_id(body: bytes, at: int) -> tuple[int, int]:
    """Numeric node id of a type in namespace 0; 0 for one of another kind, which is nothing that is read here."""
    form = body[at] & 0x3F
    if form == 0:
        return body[at + 1], at + 2
    if form == 1:
        return (int.from_bytes(body[at + 2 : at + 4], "little") if body[at + 1] == 0 else 0), at + 4
    if form == 2:
        return 0, at + 7
    if form == 4:
        return 0, at + 19
    _, end = _string(body, at + 3)
    return 0, end


def _string(body: bytes, at: int) -> tuple[str | None, int]:
    (length,) = _INT32.unpack_from(body, at)
    at += 4
    if length < 0:
        return None, at
    end = at + length
    if end > len(body):
        message = "a text ends behind the message"
        raise NotADataChange(message)
    return body[at:end].decode("utf-8", "replace"), end


def _checked(count: int, least_bytes: int, body: bytes, at: int) -> int:
    """A count of parts, if so many can be left in the message."""
    if count * least_bytes > len(body) - at:
        message = f"{count} parts do not fit into the {len(body) - at} bytes that are left"
        raise NotADataChange(message)
    return count
