"""What other systems get by a push: one reading, and a batch of them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, JsonValue

from twin.wire.messages import Wire


class PushedReading(Wire):
    """One reading of one property. One that comes twice has the same ``id`` both times."""

    id: Annotated[str, Field(description="names this reading in the world: the gateway and the tick")]
    tick: Annotated[int, Field(description="order of arrival at the gateway, in microseconds since 1970 or more")]
    gateway: str
    namespace: str
    device: str
    property: str
    value: Annotated[JsonValue, Field(description="the last one, if the quality says that there is no new one")]
    quality: Annotated[str, Field(description="good, uncertain or bad")]
    reason: Annotated[str, Field(description="why it is not good; empty if it is")] = ""
    time: Annotated[str, Field(description="at the source, RFC 3339 in UTC with milliseconds")]
    unit: Annotated[str, Field(description="of the device model; empty if it names none")] = ""


class PushedBatch(Wire):
    """Readings in the order of arrival."""

    gateway: str
    readings: tuple[PushedReading, ...]
