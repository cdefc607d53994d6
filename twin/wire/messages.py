"""Every message of ours as a type. The JSON schemas under docs/schemas are made from these."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from twin.model import Quality, Reason

Millis = Annotated[int, Field(ge=0, lt=2**53, description="milliseconds since 1970, UTC")]


class Wire(BaseModel):
    """Base of all messages: unknown keys are refused, so that a typo is an error and not a silence."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Mark(Wire):
    """Quality of one reading that is not good."""

    quality: Quality = Quality.BAD
    reason: Reason = Reason.NONE


class Report(Wire):
    """Readings of one device, one message a cycle.

    A property in ``values`` only is good. A property in ``marks`` has that quality, and keeps its last value unless
    ``values`` has a new one. ``times`` names the readings whose source time is another than ``at``.
    """

    id: Annotated[int, Field(ge=0, lt=2**53, description="the reporter's own number, repeated in the ack")]
    at: Annotated[Millis, Field(description="time of the readings at the source")]
    values: Annotated[dict[str, Any], Field(description="JSON value by property")] = Field(default_factory=dict)
    marks: dict[str, Mark] = Field(default_factory=dict)
    times: Annotated[dict[str, Millis], Field(description="source time by property, where it is not `at`")] = Field(
        default_factory=dict
    )


class ErrorBody(Wire):
    """An error as it crosses the wire."""

    code: str
    message: str
    remedy: str = ""


class RefusedReport(Wire):
    """A report, or the part of it, that was not stored."""

    id: int
    error: ErrorBody


class Ack(Wire):
    """What became of reports: ``stored`` are on disk, ``refused`` are not and need not be sent again.

    A report with one bad property is in both: the rest of it was stored.
    """

    stored: list[int] = Field(default_factory=list)
    refused: list[RefusedReport] = Field(default_factory=list)


class DesiredValue(Wire):
    """A desired value that the device has not reported yet; ``tick`` tells two orders of the same value apart."""

    value: Any
    tick: int


class Delta(Wire):
    """All that is desired of a twin and not yet reported; empty when they agree."""

    version: int
    desired: dict[str, DesiredValue] = Field(default_factory=dict)


class MapperState(Wire):
    """Birth and will of a mapper host."""

    online: bool
    problem: Annotated[str, Field(description="what it found wrong with itself, such as a topic it may not use")] = ""
