"""What a connection tells of itself: the properties of its twin of kind ``mapper``, at a bounded rate."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from mappers.sdk.bus import BusCounters
from mappers.sdk.connection_twin import PROPERTIES, connection_twin
from mappers.sdk.outbox import Outbox
from twin.model import Value

_MAX_ERROR_CHARS: Final = 500


class ConnectionState(StrEnum):
    """How a connection is."""

    CONNECTING = "connecting"  # never reached yet
    CONNECTED = "connected"
    LOST = "lost"  # tried again with growing waits
    MISCONFIGURED = "misconfigured"  # its mapper is missing or broken, or does not take its settings
    SIMULATED = "simulated"  # all its devices are made up; nothing is reached for


@dataclass(frozen=True, slots=True)
class Health:
    """How a connection is, and what it did since its host started."""

    state: ConnectionState
    devices: int = 0
    devices_silent: int = 0
    counters: BusCounters = field(default_factory=BusCounters)


class HealthTwin:
    """Reports the health of one connection."""

    def __init__(self, outbox: Outbox, name: str) -> None:
        key = connection_twin(name)
        self._twin = outbox.twin(key, PROPERTIES) if key is not None else None

    def tell(self, mapper: str, health: Health) -> None:
        """Report what is new."""
        if self._twin is None:
            return
        counters = health.counters
        values: dict[str, Value] = {
            "state": str(health.state),
            "mapper": mapper,
            "devices": health.devices,
            "devices_silent": health.devices_silent,
            "requests": counters.requests,
            "errors": counters.errors,
            "connects": counters.connects,
            "overruns": counters.overruns,
            "latency_ms": round(counters.latency_s * 1000, 2),
            "last_error": counters.last_error[:_MAX_ERROR_CHARS],
            "last_error_at": counters.last_error_ms,
        }
        self._twin.offer(values, {})

    def close(self) -> None:
        """Report no more."""
        if self._twin is not None:
            self._twin.close()


def misconfigured(devices: int, message: str, now_ms: int) -> Health:
    """The health of a connection that cannot be served."""
    return Health(
        ConnectionState.MISCONFIGURED,
        devices,
        counters=BusCounters(errors=1, last_error=message, last_error_ms=now_ms),
    )
