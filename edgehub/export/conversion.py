"""A text for Prometheus as the messages of OpenTelemetry. Pure.

counter    a monotonic sum, cumulative since it was first seen, or since the scrape after which it fell
gauge      a gauge
histogram  a cumulative histogram with its bounds, of which the same holds
else       left out
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from opentelemetry.proto.metrics.v1 import metrics_pb2
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric
    from prometheus_client.samples import Sample

SERVICE: Final = "edgetwin"
BUILD: Final = "edgetwin_build_info"
UNITS: Final = {"seconds": "s", "bytes": "By"}
"""The last word of a name, and OpenTelemetry's word for that unit."""

Labels: TypeAlias = tuple[tuple[str, str], ...]
Series: TypeAlias = tuple[str, Labels]


class Unreadable(Exception):  # told to the user as it is
    """A text that no endpoint of ours gives."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What a series had counted at a scrape, and since when: one number, or a histogram's, none of which falls."""

    numbers: tuple[float, ...]
    start_ns: int
    time_ns: int


Memory: TypeAlias = Mapping[Series, Counted]
"""What one endpoint had counted at its last scrape."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """All that one endpoint said at one moment."""

    metrics: metrics_pb2.ResourceMetrics
    points: int
    counted: Memory

    def unsent(self, before: Memory) -> Memory:
        """What to remember when no collector got it, for which a series begins with the first point that it gets."""
        return {series: one for series, one in self.counted.items() if series in before}


def scrape_of(text: bytes, instance: str, time_ns: int, before: Memory) -> Scrape:
    """What was said at ``time_ns``, after ``before``. Raises Unreadable."""
    try:
        families = list(text_string_to_metric_families(text.decode()))
    except (ValueError, LookupError) as error:
        message = f"this is no text for Prometheus: {error}"
        raise Unreadable(message) from None
    resource = metrics_pb2.ResourceMetrics()
    version = _version(families)
    said = {"service.name": SERVICE, "service.instance.id": instance, "service.version": version}
    _say(resource.resource, said.items())
    scope = resource.scope_metrics.add()
    scope.scope.name, scope.scope.version = SERVICE, version
    reading = _Reading(time_ns, before)
    for family in families:
        reading.add(scope, family)
    return Scrape(resource, len(reading.seen), reading.counted)


def counted_now(numbers: tuple[float, ...], before: Counted | None, time_ns: int) -> Counted:
    """A series goes on, or it is new, or it fell: then it began anew after the last scrape."""
    if before is None:
        start_ns = time_ns
    elif len(numbers) != len(before.numbers) or any(
        now < then for now, then in zip(numbers, before.numbers, strict=True)
    ):
        start_ns = before.time_ns + 1  # not the very start of a series that was seen only once
    else:
        start_ns = before.start_ns
    return Counted(numbers, min(start_ns, time_ns), time_ns)  # a clock may step back


class _Reading:
    """Adds one family after the other to the messages."""

    def __init__(self, time_ns: int, before: Memory) -> None:
        self._time_ns = time_ns
        self._before = before
        self.seen: set[Series] = set()
        self.counted: dict[Series, Counted] = {}

    def add(self, scope: Any, family: Metric) -> None:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        metric = metrics_pb2.Metric(name=name, description=family.documentation, unit=unit_of(name))
        if family.type == "counter":
            metric.sum.aggregation_temporality = metrics_pb2.AGGREGATION_TEMPORALITY_CUMULATIVE
            metric.sum.is_monotonic = True
            for sample in family.samples:
                self._counter(metric, sample)
        elif family.type == "gauge":
            for sample in family.samples:
                series = self._series(name, labels_of(sample))
                point = metric.gauge.data_points.add(time_unix_nano=self._time_ns, as_double=sample.value)
                _say(point, series[1])
        elif family.type == "histogram":
            metric.histogram.aggregation_temporality = metrics_pb2.AGGREGATION_TEMPORALITY_CUMULATIVE
            for labels, samples in _by_labels(family.samples):
                self._histogram(metric, labels, samples)
        else:
            return
        scope.metrics.append(metric)

    def _counter(self, metric: Any, sample: Sample) -> None:
        if not (math.isfinite(sample.value) and sample.value >= 0):
            message = f"{metric.name} is a counter, and cannot be {sample.value}"
            raise Unreadable(message)
        series = self._series(metric.name, labels_of(sample))
        start_ns = self._count(series, (sample.value,))
        point = metric.sum.data_points.add(
            start_time_unix_nano=start_ns, time_unix_nano=self._time_ns, as_double=sample.value
        )
        _say(point, series[1])

    def _histogram(self, metric: Any, labels: Labels, samples: list[Sample]) -> None:
        series = self._series(metric.name, labels)
        bounds, so_far, total = buckets_of(metric.name, samples)
        start_ns = self._count(series, (*so_far, total))
        point = metric.histogram.data_points.add(
            start_time_unix_nano=start_ns,
            time_unix_nano=self._time_ns,
            count=so_far[-1],
            sum=total,
            explicit_bounds=bounds,
            bucket_counts=[many - before for many, before in zip(so_far, (0, *so_far), strict=False)],
        )
        _say(point, series[1])

    def _series(self, name: str, labels: Labels) -> Series:
        series = (name, labels)
        if series in self.seen:
            message = f"{name} is there twice with the labels {dict(labels)}"
            raise Unreadable(message)
        self.seen.add(series)
        return series

    def _count(self, series: Series, numbers: tuple[float, ...]) -> int:
        now = self.counted[series] = counted_now(numbers, self._before.get(series), self._time_ns)
        return now.start_ns


def buckets_of(name: str, samples: Iterable[Sample]) -> tuple[list[float], tuple[int, ...], float]:
    """Upper bounds without the last, how many are below each and in all, and the sum. Raises Unreadable."""
    below: dict[float, float] = {}
    count, total = math.nan, math.nan
    for sample in samples:
        if sample.name.endswith("_bucket"):
            below[_bound(sample)] = sample.value
        elif sample.name.endswith("_count"):
            count = sample.value
        else:
            total = sample.value
    bounds = sorted(below)
    values = [below[bound] for bound in bounds]
    rising = all(isinstance(many, int) or many.is_integer() for many in values) and values == sorted(values)
    if not values or not math.isinf(bounds[-1]) or not rising or values[0] < 0 or values[-1] != count:
        message = f"the buckets of {name} do not add up"
        raise Unreadable(message)
    if not math.isfinite(total) or values[-1] >= 2**63:
        message = f"the sum of {name} is no number"
        raise Unreadable(message)
    return bounds[:-1], tuple(int(many) for many in values), float(total)


def unit_of(name: str) -> str:
    """The unit that is the last word of a name, in OpenTelemetry's words; empty if none is."""
    return UNITS.get(name.removesuffix("_total").rpartition("_")[2], "")


def labels_of(sample: Sample) -> Labels:
    """What tells a series from others of its name."""
    return tuple(sorted((name, value) for name, value in sample.labels.items() if name != "le"))


def _bound(sample: Sample) -> float:
    try:
        return float(sample.labels["le"])
    except (KeyError, ValueError):
        message = f"a bucket of {sample.name.removesuffix('_bucket')} has no bound"
        raise Unreadable(message) from None


def _by_labels(samples: Iterable[Sample]) -> Iterator[tuple[Labels, list[Sample]]]:
    found: dict[Labels, list[Sample]] = {}
    for sample in samples:
        found.setdefault(labels_of(sample), []).append(sample)
    yield from found.items()


def _version(families: Iterable[Metric]) -> str:
    said = (one.labels.get("version", "") for family in families if family.name == BUILD for one in family.samples)
    return next(said, "")


def _say(place: Any, attributes: Iterable[tuple[str, str]]) -> None:
    for name, text in attributes:
        if text:
            place.attributes.add(key=name).value.string_value = text
