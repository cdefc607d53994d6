"""Data values -> readings: status codes as quality, times as the settings want them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from asyncua import ua

from mappers.opcua.config import Timestamp
from mappers.opcua.notification import Change
from mappers.opcua.session import name_of
from mappers.opcua.status import fault_of, is_good
from mappers.opcua.values import NotEncodable, json_of
from mappers.sdk import Fault, Readings, Reason

ASKED_TIMES: Final = {
    Timestamp.SOURCE: ua.TimestampsToReturn.Source,
    Timestamp.SERVER: ua.TimestampsToReturn.Server,
    Timestamp.RECEIPT: ua.TimestampsToReturn.Neither,
}


def put_value(readings: Readings, name: str, read: ua.DataValue) -> None:
    """Put one value that was read into readings; of a bad one only its quality."""
    code = read.StatusCode.value if read.StatusCode is not None else 0
    value = read.Value.Value if read.Value is not None else None
    if not is_good(code):
        readings.faults[name] = fault_of(code, name_of(code))
    if value is not None:
        try:
            readings.values[name] = json_of(value)
        except NotEncodable as error:
            readings.faults[name] = Fault(Reason.DECODE_ERROR, str(error))
    elif is_good(code):
        readings.faults[name] = NO_VALUE
    stamp = read.SourceTimestamp or read.ServerTimestamp
    if stamp is not None and (time_ms := _milliseconds(stamp)) > 0:
        readings.times_ms[name] = time_ms


def put_change(readings: Readings, name: str, change: Change) -> None:
    """Put one value that the server sent into readings."""
    status = change.status
    if status >= 0x4000_0000:
        readings.faults[name] = fault_of(status, name_of(status))
    if change.value is not None:
        readings.values[name] = change.value
    elif status < 0x4000_0000:
        readings.faults[name] = NO_VALUE
    time_ms = change.source_ms or change.server_ms
    if time_ms > 0:
        readings.times_ms[name] = time_ms


NO_VALUE: Final = Fault(Reason.DEVICE_FAILURE, "the server has no value for it")


def _milliseconds(stamp: datetime) -> int:
    return int((stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp() * 1000)
