"""What a metric is called, and what is known of it at one moment."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

BOUNDS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets of times."""


class MetricType(StrEnum):
    """How a metric is to be read."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; ``name`` as Prometheus has it, of a counter with its ``_total``."""

    name: str
    type: MetricType
    help: str
    labels: tuple[str, ...] = ()


class Times:
    """A histogram of times; cheap to add to."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def add(self, time_s: float) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS_S, time_s)] += 1
        self.sum_s += time_s


@dataclass(slots=True)
class Samples:
    """What is known of metrics now: of each a value, or times, for every combination of its labels."""

    values: dict[str, dict[tuple[str, ...], float]] = field(default_factory=dict)
    times: dict[str, dict[tuple[str, ...], Times]] = field(default_factory=dict)

    def put(self, metric: Metric, value: float | None, *labels: str) -> None:
        """Set a value; None: it is not known."""
        if value is not None:
            self.values.setdefault(metric.name, {})[labels] = float(value)

    def put_times(self, metric: Metric, times: Times, *labels: str) -> None:
        """Set the times of one histogram."""
        self.times.setdefault(metric.name, {})[labels] = times


def catalog(*metrics: Metric) -> Mapping[str, Metric]:
    """Metrics by name, none twice."""
    found = {metric.name: metric for metric in metrics}
    assert len(found) == len(metrics)
    return found
