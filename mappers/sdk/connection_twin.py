"""The twin of kind ``mapper`` that each connection has: its name and its properties. Pure; the hub has it too."""

from __future__ import annotations

from typing import Final

from twin.errors import InvalidName
from twin.model import Kind, PropertySpec, ReportPolicy, TwinKey, ValueType

SIMULATED: Final = " (simulated)"
"""Ends the name of the half of a connection whose devices are made up."""
COUNT_INTERVAL_MS: Final = 10_000
"""Counts and latency change with every request; they are told this often at most."""

_AT_ONCE: Final = {
    "state": (ValueType.STRING, ""),
    "mapper": (ValueType.STRING, ""),
    "devices": (ValueType.INT, ""),
    "devices_silent": (ValueType.INT, ""),
}
_COUNTED: Final = {
    "requests": (ValueType.INT, ""),
    "errors": (ValueType.INT, ""),
    "connects": (ValueType.INT, ""),
    "overruns": (ValueType.INT, ""),
    "latency_ms": (ValueType.DOUBLE, "ms"),
    "last_error": (ValueType.STRING, ""),
    "last_error_at": (ValueType.INT, "ms"),
}

PROPERTIES: Final = tuple(
    PropertySpec(name, type_, unit=unit, report=policy)
    for named, policy in ((_AT_ONCE, ReportPolicy()), (_COUNTED, ReportPolicy(min_interval_ms=COUNT_INTERVAL_MS)))
    for name, (type_, unit) in named.items()
)
"""All that the twin of a connection has."""


def connection_twin(name: str) -> TwinKey | None:
    """The twin of a connection; of one with simulated devices too. None for a name that no twin can have."""
    namespace, _, own = name.removesuffix(SIMULATED).partition("/")
    try:
        return TwinKey.parse(f"{Kind.MAPPER}/{namespace}/{own}")
    except InvalidName:
        return None
