"""The field types of documents: each reads what people write and says in plain words what does not fit."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, NoReturn, TypeVar

from pydantic import BeforeValidator, Field, JsonValue
from pydantic_core import PydanticCustomError

from twin.errors import shown
from twin.manifest.problems import suggestion
from twin.model import NAME, NAME_RULE, PROPERTY, PROPERTY_RULE, Access, ConflictPolicy, Drop, Keep, ValueType

REFUSED: Final = "refused"  # pydantic's error type for what a validator here refuses; its context has the remedy
NANOSECONDS_FROM: Final = (
    1_000_000  # KubeEdge cycles: 2000 is two seconds, 10000000000 is ten (kubeedge.md section 2.1)
)

_UNITS_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_DURATIONS: Final = re.compile(rf"(?:{_DURATION.pattern}){{1,5}}")  # 1h30m, as Go and Gateway API write it
_DURATION_REMEDY: Final = "Write a duration such as 500ms, 10s, 5m or 1h; a plain number is milliseconds."
_QUANTITY: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(Ki|Mi|Gi|k|M|G)?")
_UNITS_BYTES: Final = {None: 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 10**3, "M": 10**6, "G": 10**9}
_MEMORY_BYTES: Final = (64 * 2**20, 64 * 2**30)
_MEMORY_REMEDY: Final = "Write a size from 64Mi to 64Gi, such as 256Mi."
_CPU: Final = (0.01, 64.0)
_CPU_REMEDY: Final = 'Write processor cores from 0.01 to 64, such as 0.5, or thousandths of one, such as "500m".'
_MAX_DURATION_MS: Final = 366 * 24 * _UNITS_MS["h"]

E = TypeVar("E", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Deadband:
    """The smallest change worth a report: in units of the property, or percent of its range."""

    absolute: float = 0.0
    percent: float = 0.0


def shown_value(value: object) -> str:
    """Show a value of a document in a message."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    return shown(value, 60) if isinstance(value, str) else str(value)[:60]


def is_nanoseconds(value: object) -> bool:
    """Whether a duration was written as a plain number so large that it means nanoseconds."""
    return _is_number(value) and value >= NANOSECONDS_FROM  # type: ignore[operator]  # _is_number says so


def parsed_duration_ms(text: str) -> int | None:
    """Milliseconds of a duration such as 500ms, 10s, 5m, 1h or 30d; None if it is not one of 0 to 366 days."""
    match = _DURATION.fullmatch(text)
    if match is None:
        return None
    duration_ms = round(float(match[1]) * _UNITS_MS[match[2]])
    return duration_ms if duration_ms <= _MAX_DURATION_MS else None


def refuse(value: object, fault: str, remedy: str) -> NoReturn:
    """Refuse a value that was written, in words of ours; for validators."""
    context = {"text": f"{shown_value(value)} {fault}", "remedy": remedy}
    raise PydanticCustomError(REFUSED, "{text}", context)


def _name(value: object) -> object:
    return matching(value, NAME, NAME_RULE)


def _property_name(value: object) -> object:
    return matching(value, PROPERTY, PROPERTY_RULE)


def matching(value: object, pattern: re.Pattern[str], rule: str) -> object:
    """The value, if it is no string that breaks the rule."""
    if isinstance(value, str) and pattern.fullmatch(value) is None:
        refuse(value, "is not a valid name", f"Use {rule}.")
    return value


def choice(choices: type[E], value: object) -> E:
    """The one of the choices that was written, in any case."""
    by_text = {choice.value.lower(): choice for choice in choices}
    if isinstance(value, str) and value.lower() in by_text:
        return by_text[value.lower()]
    texts = [choice.value for choice in choices]
    refuse(value, f"is not one of {', '.join(texts)}", suggestion(str(value), texts, what="Use one of"))


def _type(value: object) -> ValueType:
    return choice(ValueType, value)


def _access(value: object) -> Access:
    return choice(Access, value)


def _conflict(value: object) -> ConflictPolicy:
    return choice(ConflictPolicy, value)


def _keep(value: object) -> Keep:
    return choice(Keep, value)


def _drop(value: object) -> Drop:
    return choice(Drop, value)


def _limit(value: object) -> float | None:
    if value == "":  # how Go writes a string that is not set
        return None
    return _number(value, "Write a number, such as 100 or -0.5.")


def _tolerance(value: object) -> float:
    remedy = "Write a number from 0 up, in units of the property."
    number = _number(value, remedy)
    if number < 0:
        refuse(value, "is below 0", remedy)
    return number


def _deadband(value: object) -> Deadband:
    remedy = 'Write a number in units of the property, such as 0.5, or percent of its range, such as "2%".'
    if isinstance(value, str) and value.endswith("%"):
        percent = _number(value[:-1].strip(), remedy)
        if not 0 <= percent <= 100:
            refuse(value, "is not between 0% and 100%", remedy)
        return Deadband(percent=percent)
    absolute = _number(value, remedy)
    if absolute < 0:
        refuse(value, "is below 0", remedy)
    return Deadband(absolute=absolute)


def _duration_ms(value: object) -> int:
    if isinstance(value, str) and _DURATIONS.fullmatch(value) is not None:
        duration_ms = sum(float(number) * _UNITS_MS[unit] for number, unit in _DURATION.findall(value))
    elif _is_number(value):
        duration_ms = float(value) / (1_000_000 if is_nanoseconds(value) else 1)  # type: ignore[arg-type]  # a number
    else:
        refuse(value, "is not a duration", _DURATION_REMEDY)
    if not 0 <= duration_ms <= _MAX_DURATION_MS:
        refuse(value, "is not between 0 and 366 days", _DURATION_REMEDY)
    return round(duration_ms)


def _memory_bytes(value: object) -> int:
    match = _QUANTITY.fullmatch(str(value)) if _is_number(value) or isinstance(value, str) else None
    if match is None:
        refuse(value, "is not a size of memory", _MEMORY_REMEDY)
    size = round(float(match[1]) * _UNITS_BYTES[match[2]])
    least, most = _MEMORY_BYTES
    if not least <= size <= most:
        refuse(value, f"is {'too little: Python itself needs 64Mi' if size < least else 'over 64Gi'}", _MEMORY_REMEDY)
    return size


def _cpu(value: object) -> float:
    thousandths = isinstance(value, str) and value.endswith("m")
    cores = _number(value[:-1] if thousandths else value, _CPU_REMEDY)  # type: ignore[index]  # a text, then
    cores = cores / 1000 if thousandths else cores
    least, most = _CPU
    if not least <= cores <= most:
        refuse(value, "is not between 0.01 and 64 cores", _CPU_REMEDY)
    return cores


def _number(value: object, remedy: str) -> float:
    try:
        number = float(value) if _is_number(value) or isinstance(value, str) else math.nan  # type: ignore[arg-type]
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        refuse(value, "is not a number", remedy)
    return number


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


FreeMap = dict[str, JsonValue]
Name = Annotated[str, BeforeValidator(_name), Field(examples=["boiler-1"])]
PropertyName = Annotated[str, BeforeValidator(_property_name), Field(examples=["temperature"])]
Type = Annotated[ValueType, BeforeValidator(_type), Field(examples=["FLOAT"])]
AccessMode = Annotated[Access, BeforeValidator(_access), Field(examples=["ReadWrite"])]
Conflict = Annotated[ConflictPolicy, BeforeValidator(_conflict), Field(examples=["latest"])]
KeepField = Annotated[Keep, BeforeValidator(_keep), Field(examples=["changes"])]
DropField = Annotated[Drop, BeforeValidator(_drop), Field(examples=["oldest"])]
Limit = Annotated[float | None, BeforeValidator(_limit), Field(examples=[100])]
Tolerance = Annotated[float, BeforeValidator(_tolerance), Field(examples=[0.1])]
DeadbandField = Annotated[Deadband, BeforeValidator(_deadband), Field(examples=[0.5])]
DurationMs = Annotated[int, BeforeValidator(_duration_ms), Field(examples=["10s"])]
MemoryBytes = Annotated[int, BeforeValidator(_memory_bytes), Field(examples=["256Mi"])]
Cpu = Annotated[float, BeforeValidator(_cpu), Field(examples=[0.5])]
