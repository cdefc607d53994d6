"""KubeEdge's Bluetooth keys, rewritten as ours; pure.

v1alpha2  protocol.bluetooth {macAddress}; visitor bluetooth {characteristicUUID, dataWrite, dataConverter}
v1beta1   the same keys in configData

dataConverter takes the bytes from startIndex to endIndex, backwards if the end is the smaller; the first of them is the
most significant. Then it shifts, then it calculates, in the order written.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from typing import Final

_GROUPS: Final = ("bluetooth", "common", "customizedValues")
_LONGEST: Final = 8
_OPERATIONS: Final = ("Add", "Subtract", "Multiply", "Divide")


def native_point(given: Mapping[str, object]) -> dict[str, object]:
    """Return a KubeEdge visitor as a native point. Raises ValueError naming a key with a value that has no meaning."""
    taken = ("characteristicUUID", "dataWrite", "dataConverter")
    native: dict[str, object] = {key: value for key, value in given.items() if key not in taken}
    native["characteristic"] = given["characteristicUUID"]
    writes = given.get("dataWrite")
    if writes:
        native["names"] = _words(writes)
    converter = given.get("dataConverter")
    if converter:
        if not isinstance(converter, Mapping):
            message = "dataConverter is not a map; for example dataConverter: {startIndex: 0, endIndex: 1}"
            raise ValueError(message)
        native |= _converted(converter)
    return native


def flat(config: Mapping[str, object]) -> dict[str, object]:
    """Open the groups of the older API."""
    opened: dict[str, object] = {}
    for key, value in config.items():
        if key in _GROUPS and isinstance(value, Mapping):
            opened |= flat(value)
        else:
            opened[str(key)] = value
    return opened


def _words(writes: object) -> dict[str, str]:
    if not isinstance(writes, Mapping):
        message = 'dataWrite is not a map of words to bytes; for example dataWrite: {"ON": [1]}'
        raise ValueError(message)
    return {str(word): _bytes(str(word), one).hex() for word, one in writes.items()}


def _bytes(word: str, given: object) -> bytes:
    """A list of numbers, as people write it, or base64 text, as Go does."""
    try:
        if isinstance(given, list):
            return bytes(given)
        return base64.b64decode(str(given), validate=True)
    except (TypeError, ValueError, binascii.Error):
        message = f'dataWrite {word!r}: {given!r} is not a list of bytes; for example dataWrite: {{"{word}": [1]}}'
        raise ValueError(message) from None


def _converted(converter: Mapping[str, object]) -> dict[str, object]:
    start, end = (_whole(converter, key) for key in ("startIndex", "endIndex"))
    size = abs(end - start) + 1
    if size > _LONGEST:
        message = f"dataConverter has {size} bytes from startIndex to endIndex; use {_LONGEST} at most"
        raise ValueError(message)
    left, right = (_whole(converter, key) for key in ("shiftLeft", "shiftRight"))
    native: dict[str, object] = {
        "type": f"uint{8 * size}",
        "at": min(start, end),
        "byteOrder": "little" if end < start else "big",
    }
    if right and not left:
        if right >= 8 * size:
            message = f"shiftRight {right} leaves nothing of {size} bytes; use less than {8 * size}"
            raise ValueError(message)
        native |= {"bit": right, "bits": 8 * size - right}
    if left > 64:
        message = f"shiftLeft {left} is more than 64; use less"
        raise ValueError(message)
    scale, offset = _linear(converter.get("orderOfOperations"), float(1 << left))
    return {**native, "scale": scale, "offset": offset}


def _linear(operations: object, scale: float) -> tuple[float, float]:
    """A chain of operations as one: every one of them is linear."""
    offset = 0.0
    if operations is not None and not isinstance(operations, list):
        operations = [operations]
    for operation in operations or ():
        kind, number = _operation(operation)
        if kind in ("Add", "Subtract"):
            offset += number if kind == "Add" else -number
        else:
            factor = number if kind == "Multiply" else 1 / number
            scale, offset = scale * factor, offset * factor
    return scale, offset


def _operation(given: object) -> tuple[str, float]:
    known = given if isinstance(given, Mapping) else {}
    kind = str(known.get("operationType")).capitalize()
    try:
        number = float(str(known.get("operationValue")))
    except ValueError:
        number = math.nan
    if kind not in _OPERATIONS or not math.isfinite(number) or (kind in _OPERATIONS[2:] and not number):
        message = (
            f"orderOfOperations {given!r} is no operation; for example"
            " {operationType: Multiply, operationValue: 0.03125}"
        )
        raise ValueError(message)
    return kind, number


def _whole(converter: Mapping[str, object], key: str) -> int:
    given = converter.get(key, 0)
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < 512:
        return given
    message = f"{key} {given!r} is not a whole number from 0; for example {key}: 1"
    raise ValueError(message)
