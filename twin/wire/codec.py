"""The one strict door from bytes to messages: size, UTF-8, depth, duplicate keys, finite numbers, then the model."""

from __future__ import annotations

import json
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from twin.errors import InvalidMessage, TooLarge, shown
from twin.model import Value
from twin.wire.messages import Mark, Report

MAX_REPORT_BYTES: Final = 256 * 1024
MAX_REQUEST_BYTES: Final = 4 * 1024 * 1024
_ONE_STRING: Final = 2  # quotes

M = TypeVar("M", bound=BaseModel)


def decode(model: type[M], payload: bytes, *, what: str, max_bytes: int = MAX_REQUEST_BYTES) -> M:
    """Turn bytes into a message. Raises TooLarge or InvalidMessage, whose text begins with ``what``."""
    message = _parsed(model, payload, what, max_bytes)
    _refuse_traps(payload, what)
    return message


def decode_report(payload: bytes, *, what: str) -> Report:
    """Turn bytes into a report, the one message that must be cheap. Raises as ``decode`` does.

    JSON without escapes has two quotes a string. So when the quotes are twice the strings that were parsed, no key
    was written twice, and the second parse is saved. Numbers that are not finite are left to the property's rule.
    """
    report = _parsed(Report, payload, what, MAX_REPORT_BYTES)
    values = report.values
    strings = (
        len(report.model_fields_set)
        + len(values)
        + len(report.times)
        + [type(value) for value in values.values()].count(str)
    )
    if payload.count(b'"') != 2 * strings:
        _refuse_traps(payload, what)
    return report


def load_json(payload: bytes, *, what: str) -> Any:
    """Parse JSON of a foreign shape. Raises InvalidMessage for keys that stand twice and numbers that are not finite.

    Raises ValueError or RecursionError for bytes that are no JSON at all.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            message = f"{what}: key {shown(twice)} stands twice in one object"
            raise InvalidMessage(message, remedy="Send each key once.")
        return found

    def refuse(constant: str) -> None:
        message = f"{what}: {constant} is not JSON"
        raise InvalidMessage(message, remedy="Send a finite number, or null.")

    return json.loads(payload, object_pairs_hook=unique, parse_constant=refuse)


def encode(message: BaseModel) -> bytes:
    """Turn a message into JSON; keys at their default are left out."""
    return message.__pydantic_serializer__.to_json(message, exclude_defaults=True)


def encode_report(
    report_id: int, at: int, values: dict[str, Value], marks: dict[str, Mark], times: dict[str, int]
) -> bytes:
    """What ``encode`` makes of a report, the one message that must be cheap: most have values alone."""
    if marks or times or not values:
        return encode(Report.model_construct(id=report_id, at=at, values=values, marks=marks, times=times))
    return to_json({"id": report_id, "at": at, "values": values}, inf_nan_mode="null")


def first_problem(error: ValidationError) -> str:
    """Say the first thing that pydantic found, with its key path."""
    problem = error.errors(include_url=False, include_input=False)[0]
    path = ".".join(str(step) for step in problem["loc"])
    return f"{path}: {problem['msg']}" if path else problem["msg"]


def _parsed(model: type[M], payload: bytes, what: str, max_bytes: int) -> M:
    if len(payload) > max_bytes:
        message = f"{what}: {len(payload)} bytes are over the limit of {max_bytes}"
        raise TooLarge(message, remedy="Send less in one message.")
    try:
        return model.model_validate_json(payload)
    except ValidationError as error:
        message = f"{what}: {first_problem(error)}"
        raise InvalidMessage(message, remedy="docs/wire.md shows each message.") from None


def _refuse_traps(payload: bytes, what: str) -> None:
    """Parse again with a look at every object and constant, which pydantic's parser does not offer.

    One string is one key, which cannot stand twice, and NaN and Infinity are written with capitals.
    """
    if payload.count(b'"') == _ONE_STRING and b"N" not in payload and b"I" not in payload:
        return
    load_json(payload, what=what)
