"""When people are to be told about services."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mesh.model.services import ServiceKey


class AlarmMetric(StrEnum):
    """What an alarm rule looks at."""

    ERROR_PERCENT = "errorPercent"
    P99_MS = "p99Ms"
    REQUESTS_PER_SECOND = "requestsPerSecond"
    BREAKER_OPEN = "breakerOpen"
    NO_ENDPOINT = "noEndpoint"
    EJECTED = "ejected"
    MENDED = "mended"
    """What others changed in the kernel and was put back; of the mesh's own alarm alone."""


class Operator(StrEnum):
    """How a value is compared with a threshold."""

    OVER = ">"
    AT_LEAST = ">="
    UNDER = "<"
    AT_MOST = "<="


@dataclass(frozen=True, slots=True)
class AlarmRule:
    """When people are to be told about services; ``key`` is its ``namespace/name``."""

    key: str
    services: tuple[ServiceKey, ...]
    metric: AlarmMetric
    operator: Operator = Operator.OVER
    threshold: float = 0.0
    for_ms: int = 0
    """How long it must hold."""
    severity: str = "warning"
    summary: str = ""
