"""OPC UA variants <-> JSON values: all built-in scalar types and arrays of them; structures are read only.

Boolean, integers, Float, Double, String    as they are
DateTime     RFC 3339 with milliseconds     ByteString   base64
Guid, NodeId, QualifiedName, XmlElement     their text
LocalizedText    its text                   StatusCode   its number
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final
from uuid import UUID

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import variant_from_binary
from asyncua.ua.uaerrors import UaError

from mappers.sdk import Value

Variant = ua.Variant
Kind = ua.VariantType

_RANGES: Final[dict[ua.VariantType, tuple[int, int]]] = {
    Kind.SByte: (-(2**7), 2**7 - 1),
    Kind.Byte: (0, 2**8 - 1),
    Kind.Int16: (-(2**15), 2**15 - 1),
    Kind.UInt16: (0, 2**16 - 1),
    Kind.Int32: (-(2**31), 2**31 - 1),
    Kind.UInt32: (0, 2**32 - 1),
    Kind.Int64: (-(2**63), 2**63 - 1),
    Kind.UInt64: (0, 2**64 - 1),
}
_TYPE, _ARRAY = 0x3F, 0x80
"""Parts of the byte that a variant begins with; OPC 10000-6, 5.2.2.16. The type of a null is 0."""
_COUNT_BYTES: Final = 4
_FLOAT_MAX: Final = 3.4028234663852886e38


class NotEncodable(ValueError):
    """A value that the node's type cannot hold."""


def read_variant(body: bytes, at: int) -> tuple[Value, int]:
    """Read a variant in place. Raises ValueError with a text and its end if it has no JSON form."""
    data = _Wary(body, at)
    try:
        variant = variant_from_binary(data)
    except (UaError, ValueError, OverflowError, TypeError, IndexError, RecursionError) as error:
        message = f"a variant that cannot be read: {error}"
        raise ValueError(message) from error
    try:
        return json_of(variant.Value), data.cur_pos
    except NotEncodable as error:
        raise ValueError(str(error), data.cur_pos) from error


class _Wary(Buffer):
    """A buffer that refuses an array of nulls that claims more of them than bytes are left.

    asyncua makes as many as the array claims, though a null has no bytes, and however deep it lies in other variants:
    twenty bytes could take all memory.
    """

    _nulls = False

    def read(self, size: int) -> bytes:
        found = super().read(size)
        if self._nulls and size == _COUNT_BYTES and (count := int.from_bytes(found, "little", signed=True)) > len(self):
            message = f"{count} parts do not fit into the {len(self)} bytes that are left"
            raise UaError(message)
        self._nulls = size == 1 and found[0] & (_ARRAY | _TYPE) == _ARRAY
        return found

    def copy(self, size: int = -1) -> Buffer:
        return _Wary(self._data, self._cur_pos, self._size if size == -1 else min(size, self._size))


def json_of(value: Any) -> Value:
    """The JSON form of what asyncua read. Raises NotEncodable."""
    if value is None or (isinstance(value, bool | int | float | str) and not isinstance(value, Enum)):
        return value
    if isinstance(value, list | tuple):
        return [json_of(one) for one in value]
    for kind, form in _FORMS:
        if isinstance(value, kind):
            return form(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: json_of(getattr(value, one.name)) for one in fields(value) if one.name != "Encoding"}
    message = f"a {type(value).__name__} has no JSON form"
    raise NotEncodable(message)


def variant_of(value: Value, kind: ua.VariantType, *, rank: int = -1) -> ua.Variant:
    """A JSON value as a variant of a node's type; rank: of the node, -1 a scalar, 0 and up an array.

    Raises NotEncodable saying what does not fit.
    """
    if isinstance(value, list) and rank != -1:
        dimensions = _dimensions(value)
        wanted = None if len(dimensions) == 1 else [ua.Int32(one) for one in dimensions]
        return Variant(_nested(value, kind), kind, Dimensions=wanted, is_array=True)
    if rank >= 0:
        message = f"{value!r} is not an array, and the node holds one"
        raise NotEncodable(message)
    if isinstance(value, list):
        message = "an array does not fit: the node holds one value"
        raise NotEncodable(message)
    return Variant(scalar_of(value, kind), kind)


def scalar_of(value: Value, kind: ua.VariantType) -> Any:
    """One value in the form that asyncua sends. Raises NotEncodable."""
    if kind is Kind.Boolean:
        return _boolean(value)
    if kind in _RANGES:
        return _whole(value, *_RANGES[kind], kind.name)
    if kind in (Kind.Float, Kind.Double):
        return _number(value, kind)
    read = _READERS.get(kind)
    if read is None:
        message = f"writing a {kind.name} is not supported"
        raise NotEncodable(message)
    if not isinstance(value, str) and kind is not Kind.StatusCode:
        message = f"{value!r} is not text, which a {kind.name} is written as"
        raise NotEncodable(message)
    try:
        return read(value)
    except (ValueError, TypeError, UaError, binascii.Error, OverflowError) as error:
        message = f"{value!r} is not a {kind.name}: {error}"
        raise NotEncodable(message) from None


def _nested(value: list[Value], kind: ua.VariantType) -> list[Any]:
    return [_nested(one, kind) if isinstance(one, list) else scalar_of(one, kind) for one in value]


def _dimensions(value: list[Value]) -> list[int]:
    if not value or not isinstance(value[0], list):
        if any(isinstance(one, list) for one in value):
            message = "an array whose rows are not all of one length"
            raise NotEncodable(message)
        return [len(value)]
    inner = [_dimensions(one) if isinstance(one, list) else [] for one in value]
    if any(one != inner[0] for one in inner):
        message = "an array whose rows are not all of one length"
        raise NotEncodable(message)
    return [len(value), *inner[0]]


def _boolean(value: Value) -> bool:
    if isinstance(value, bool) or (isinstance(value, int | float) and value in (0, 1)):
        return bool(value)
    message = f"{value!r} is neither true nor false"
    raise NotEncodable(message)


def _whole(value: Value, low: int, high: int, name: str) -> int:
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    if not isinstance(number, int) or isinstance(value, bool):
        message = f"{value!r} is not a whole number, which {name} holds"
        raise NotEncodable(message)
    if not low <= number <= high:
        message = f"{value!r} does not fit into {name}, which holds {low} to {high}"
        raise NotEncodable(message)
    return number


def _number(value: Value, kind: ua.VariantType) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        message = f"{value!r} is not a number"
        raise NotEncodable(message)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or (kind is Kind.Float and abs(number) > _FLOAT_MAX):
        message = f"{value!r} does not fit into {kind.name}"
        raise NotEncodable(message)
    return number


def _utc(value: datetime) -> str:
    stamp = value if value.tzinfo else value.replace(tzinfo=UTC)
    return stamp.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _instant(text: str) -> datetime:
    stamp = datetime.fromisoformat(text)
    return stamp.astimezone(UTC) if stamp.tzinfo else stamp.replace(tzinfo=UTC)


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


_FORMS: Final[tuple[tuple[type, Callable[[Any], Value]], ...]] = (
    (datetime, _utc),
    (bytes, _base64),
    (UUID, str),
    (Enum, lambda value: value.value),
    (ua.NodeId, lambda value: value.to_string()),
    (ua.QualifiedName, lambda value: value.to_string()),
    (ua.LocalizedText, lambda value: value.Text or ""),
    (ua.StatusCode, lambda value: value.value),
    (ua.Variant, lambda value: json_of(value.Value)),
    (ua.DataValue, lambda value: json_of(value.Value)),
    (ua.XmlElement, lambda value: value.Value),
)

_READERS: Final[dict[ua.VariantType, Callable[[Any], Any]]] = {
    Kind.String: str,
    Kind.DateTime: _instant,
    Kind.Guid: UUID,
    Kind.ByteString: lambda text: base64.b64decode(text, validate=True),
    Kind.XmlElement: ua.XmlElement,
    Kind.NodeId: ua.NodeId.from_string,
    Kind.ExpandedNodeId: ua.NodeId.from_string,
    Kind.StatusCode: lambda code: ua.StatusCode(ua.UInt32(int(code))),
    Kind.QualifiedName: ua.QualifiedName.from_string,
    Kind.LocalizedText: lambda text: ua.LocalizedText(text),
}
