"""A reading as bytes for others: our JSON, or what KubeEdge's mappers send. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from edgehub.push.target import Reading
from twin.model import Value
from twin.wire.push import PushedBatch, PushedReading


def body_of(reading: Reading, gateway: str) -> PushedReading:
    """One reading in words of the wire."""
    return PushedReading(
        id=f"{gateway}.{reading.tick}",
        tick=reading.tick,
        gateway=gateway,
        namespace=reading.namespace,
        device=reading.device,
        property=reading.property,
        value=reading.value,
        quality=reading.quality.value,
        reason=reading.reason.value,
        time=time_text(reading.at),
        unit=reading.unit,
    )


def reading_json(reading: Reading, gateway: str) -> bytes:
    """One reading as JSON; what is empty is left out."""
    return body_of(reading, gateway).model_dump_json(exclude_defaults=True).encode()


def batch_json(batch: Sequence[Reading], gateway: str) -> bytes:
    """Many in one."""
    readings = tuple(body_of(one, gateway) for one in batch)
    return PushedBatch(gateway=gateway, readings=readings).model_dump_json(exclude_defaults=True).encode()


def time_text(at_ms: int) -> str:
    """RFC 3339 in UTC with milliseconds."""
    try:
        whole = datetime.fromtimestamp(at_ms // 1000, UTC)
    except (ValueError, OverflowError, OSError):  # a device with a clock beyond all years
        whole = datetime.fromtimestamp(0, UTC)
        at_ms = 0
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"


def kubeedge_form(reading: Reading) -> bytes:
    """What KubeEdge's mapper posts: a form that is not encoded, with its local time."""
    return f"{reading.property}={text_of(reading.value)}&time={_local(reading.at)}".encode()


def kubeedge_line(reading: Reading, topic: str) -> bytes:
    """What KubeEdge's mapper publishes."""
    return f"time is {_local(reading.at)}  {topic}: {text_of(reading.value)}".encode()


def text_of(value: Value) -> str:
    """A value as KubeEdge's mappers write it."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def filled(pattern: str, reading: Reading, gateway: str) -> str:
    """A pattern with the words of a reading in the place of its braces."""
    text = pattern.replace("{gateway}", gateway).replace("{namespace}", reading.namespace)
    return text.replace("{device}", reading.device).replace("{property}", reading.property)


def topic_of(pattern: str, reading: Reading, gateway: str) -> str:
    """The topic of a reading. Names of properties may hold a ``#``, which no topic may."""
    return filled(pattern, reading, gateway).replace("#", "%23")


def _local(at_ms: int) -> str:
    try:
        return f"{datetime.fromtimestamp(at_ms // 1000, UTC).astimezone():%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return "1970-01-01 00:00:00"
