"""OPC UA status codes as quality and reason, one to one: the two highest bits are good, uncertain or bad. Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from mappers.sdk import Fault, Quality, Reason

_SEVERITY: Final = {0: Quality.GOOD, 1: Quality.UNCERTAIN, 2: Quality.BAD, 3: Quality.BAD}

_REASONS: Final = {
    # OPC 10000-4, 7.38 and OPC 10000-8: the upper 16 bits of a code, and what it says of the value.
    0x8005: Reason.NOT_CONNECTED,  # BadCommunicationError
    0x8031: Reason.NOT_CONNECTED,  # BadNoCommunication
    0x808A: Reason.CONFIG_ERROR,  # BadNotConnected: the server's own variable was never connected to a source
    0x8032: Reason.STALE,  # BadWaitingForInitialData
    0x800A: Reason.TIMEOUT,  # BadTimeout
    0x808B: Reason.DEVICE_FAILURE,  # BadDeviceFailure
    0x808C: Reason.DEVICE_FAILURE,  # BadSensorFailure
    0x808D: Reason.DEVICE_FAILURE,  # BadOutOfService
    0x8033: Reason.ILLEGAL_ADDRESS,  # BadNodeIdInvalid
    0x8034: Reason.ILLEGAL_ADDRESS,  # BadNodeIdUnknown
    0x8035: Reason.ILLEGAL_ADDRESS,  # BadAttributeIdInvalid
    0x8036: Reason.ILLEGAL_ADDRESS,  # BadIndexRangeInvalid
    0x8037: Reason.ILLEGAL_ADDRESS,  # BadIndexRangeNoData
    0x806F: Reason.ILLEGAL_ADDRESS,  # BadNoMatch
    0x803E: Reason.ILLEGAL_ADDRESS,  # BadNotFound
    0x8089: Reason.CONFIG_ERROR,  # BadConfigurationError
    0x8006: Reason.DECODE_ERROR,  # BadEncodingError
    0x8007: Reason.DECODE_ERROR,  # BadDecodingError
    0x8038: Reason.DECODE_ERROR,  # BadDataEncodingInvalid
    0x8039: Reason.DECODE_ERROR,  # BadDataEncodingUnsupported
    0x8074: Reason.DECODE_ERROR,  # BadTypeMismatch
    0x803C: Reason.OUT_OF_RANGE,  # BadOutOfRange
    0x801F: Reason.ACCESS_DENIED,  # BadUserAccessDenied
    0x803A: Reason.ACCESS_DENIED,  # BadNotReadable
    0x803B: Reason.ACCESS_DENIED,  # BadNotWritable
    0x8013: Reason.ACCESS_DENIED,  # BadSecurityChecksFailed
    0x408F: Reason.NOT_CONNECTED,  # UncertainNoCommunicationLastUsableValue
    0x4090: Reason.STALE,  # UncertainLastUsableValue
    0x4092: Reason.STALE,  # UncertainInitialValue
    0x4094: Reason.OUT_OF_RANGE,  # UncertainEngineeringUnitsExceeded
    0x40F2: Reason.OUT_OF_RANGE,  # UncertainOverRange
    0x40F3: Reason.OUT_OF_RANGE,  # UncertainUnderRange
    0x420F: Reason.CONFIG_ERROR,  # UncertainConfigurationError
}


def is_good(code: int) -> bool:
    """Whether a value with this status can be trusted; codes such as GoodClamped are good too."""
    return code < 0x4000_0000


@lru_cache(maxsize=1024)
def fault_of(code: int, name: str) -> Fault:
    """The fault that a status code means; ``name`` is the code's. Raises ValueError for a good one."""
    quality = _SEVERITY[code >> 30 & 3]
    if quality is Quality.GOOD:
        message = f"{name} is good"
        raise ValueError(message)
    usual = Reason.NOT_ACCURATE if quality is Quality.UNCERTAIN else Reason.DEVICE_FAILURE
    return Fault(_REASONS.get(code >> 16 & 0xFFFF, usual), f"the server says {name}", quality)
