"""The text that Prometheus reads (exposition format 0.0.4). Pure.

Written here, and not by prometheus-client: that would be 5 MB of memory in every hub. Its parser reads it in the tests.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Final

from twin.metrics.model import BOUNDS_S, Metric, MetricType, Samples, Times

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def exposition(metrics: Iterable[Metric], samples: Samples) -> bytes:
    """All metrics that something is known of."""
    return "".join(line for metric in metrics for line in _family(metric, samples)).encode()


def _family(metric: Metric, samples: Samples) -> Iterator[str]:
    lines = list(_times(metric, samples) if metric.type is MetricType.HISTOGRAM else _values(metric, samples))
    if lines:
        yield f"# HELP {metric.name} {_escaped_help(metric.help)}\n# TYPE {metric.name} {metric.type}\n"
        yield from lines


def _values(metric: Metric, samples: Samples) -> Iterator[str]:
    for labels, value in samples.values.get(metric.name, {}).items():
        yield f"{metric.name}{_labels(metric.labels, labels)} {_number(value)}\n"


def _times(metric: Metric, samples: Samples) -> Iterator[str]:
    for labels, times in samples.times.get(metric.name, {}).items():
        yield from _buckets(metric, labels, times)


def _buckets(metric: Metric, labels: tuple[str, ...], times: Times) -> Iterator[str]:
    names, so_far = (*metric.labels, "le"), 0
    for bound, count in zip((*BOUNDS_S, math.inf), times.counts, strict=True):
        so_far += count
        yield f"{metric.name}_bucket{_labels(names, (*labels, _number(bound)))} {so_far}\n"
    yield f"{metric.name}_sum{_labels(metric.labels, labels)} {_number(times.sum_s)}\n"
    yield f"{metric.name}_count{_labels(metric.labels, labels)} {so_far}\n"


def _labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    pairs = [f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)]
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(value)


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _escaped_help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
