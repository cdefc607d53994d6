"""A text for Prometheus as OpenTelemetry's messages, as their own decoder reads them."""

import contextlib
import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE, ResourceMetrics

from edgehub.export.conversion import Unreadable, scrape_of, unit_of
from twin.metrics.model import BOUNDS_S, Metric, MetricType, Samples, Times
from twin.metrics.text import exposition

pytestmark = pytest.mark.fast

TAKEN = Metric("edgetwin_reports_total", MetricType.COUNTER, "Reports that were taken", ("verb",))
FREE = Metric("edgetwin_disk_free_bytes", MetricType.GAUGE, "Room on the disk", ("file",))
TOOK = Metric("edgetwin_commit_seconds", MetricType.HISTOGRAM, "How long commits took", ("verb",))
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\r\x1c\x1d\x1e\x85\u2028\u2029"), max_size=9
)


def text_of(*, counters=(), gauges=(), times=()) -> bytes:
    samples = Samples()
    for label, value in dict(counters).items():
        samples.put(TAKEN, value, label)
    for label, value in dict(gauges).items():
        samples.put(FREE, value, label)
    for label, took in dict(times).items():
        one = Times()
        for time_s in took:
            one.add(time_s)
        samples.put_times(TOOK, one, label)
    return exposition((TAKEN, FREE, TOOK), samples)


def decoded(scrape):
    """Each metric by name, after a way over the wire."""
    resource = ResourceMetrics.FromString(scrape.metrics.SerializeToString())
    said = {one.key: one.value.string_value for one in resource.resource.attributes}
    (scope,) = resource.scope_metrics
    return said, {one.name: one for one in scope.metrics}


def by_label(points) -> dict:
    return {one.attributes[0].value.string_value if one.attributes else "": one for one in points}


@given(
    st.dictionaries(NAMES, st.floats(0, 1e300)),
    st.dictionaries(NAMES, NUMBERS),
    st.dictionaries(NAMES, st.lists(st.floats(0, 1e6), max_size=20)),
)
def test_every_value_label_and_bucket_arrives(counters, gauges, times):
    scrape = scrape_of(text_of(counters=counters, gauges=gauges, times=times), "hall-7", 5_000, {})
    said, found = decoded(scrape)
    assert said == {"service.name": "edgetwin", "service.instance.id": "hall-7"}
    assert scrape.points == len(counters) + len(gauges) + len(times)
    if counters:
        metric = found["edgetwin_reports_total"]
        assert (metric.sum.is_monotonic, metric.description) == (True, "Reports that were taken")
        assert metric.sum.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
        points = by_label(metric.sum.data_points)
        assert {label: one.as_double for label, one in points.items()} == counters
        assert {(one.start_time_unix_nano, one.time_unix_nano) for one in points.values()} == {(5_000, 5_000)}
    if gauges:
        assert found["edgetwin_disk_free_bytes"].unit == "By"
        points = by_label(found["edgetwin_disk_free_bytes"].gauge.data_points)
        assert {label: one.as_double for label, one in points.items()} == gauges
    if times:
        metric = found["edgetwin_commit_seconds"]
        assert (metric.unit, metric.histogram.aggregation_temporality) == ("s", AGGREGATION_TEMPORALITY_CUMULATIVE)
        points = by_label(metric.histogram.data_points)
        assert points.keys() == times.keys()
        for label, took in times.items():
            point = points[label]
            assert (point.count, tuple(point.explicit_bounds)) == (len(took), BOUNDS_S)
            assert math.isclose(point.sum, sum(took))
            edges = (-math.inf, *BOUNDS_S, math.inf)
            inside = [sum(low < one <= high for one in took) for low, high in pairwise(edges)]
            assert list(point.bucket_counts) == inside


@given(st.lists(st.integers(0, 20), min_size=1, max_size=20))
def test_what_was_counted_since_the_start_is_what_the_points_add_up_to(values):
    """A collector that adds the rises up, and takes a new start for 0, has counted what the gateway has."""
    memory, total, last, last_start = {}, 0.0, 0.0, None
    for number, value in enumerate(values):
        scrape = scrape_of(text_of(counters={"a": value}), "i", (number + 1) * 10, memory)
        memory = scrape.counted
        (point,) = decoded(scrape)[1]["edgetwin_reports_total"].sum.data_points
        assert point.start_time_unix_nano <= point.time_unix_nano
        if last_start is None:
            last = value  # begun before it was first seen: no part of the sum
        elif point.start_time_unix_nano != last_start:
            assert point.start_time_unix_nano == number * 10 + 1  # after it was last seen with more
            last = 0
        assert point.as_double >= last
        total, last, last_start = total + point.as_double - last, point.as_double, point.start_time_unix_nano
    assert point.as_double == values[-1]
    rises = sum(now - then if now >= then else now for then, now in pairwise(values))
    assert total == rises


def test_a_histogram_that_fell_begins_anew():
    first = scrape_of(text_of(times={"get": [0.1, 0.2]}), "i", 10, {})
    second = scrape_of(text_of(times={"get": [0.1, 0.2, 3.0]}), "i", 20, first.counted)
    third = scrape_of(text_of(times={"get": [9.0, 9.0, 9.0]}), "i", 30, second.counted)
    starts = [
        decoded(one)[1]["edgetwin_commit_seconds"].histogram.data_points[0].start_time_unix_nano
        for one in (first, second, third)
    ]
    assert starts == [10, 10, 21]


def test_a_clock_that_steps_back_gives_no_start_after_the_point():
    first = scrape_of(text_of(counters={"a": 1}), "i", 1000, {})
    second = scrape_of(text_of(counters={"a": 2}), "i", 500, first.counted)
    (point,) = decoded(second)[1]["edgetwin_reports_total"].sum.data_points
    assert (point.start_time_unix_nano, point.time_unix_nano) == (500, 500)


def test_what_no_collector_got_begins_with_the_first_that_one_gets():
    lost = scrape_of(text_of(counters={"a": 7}), "i", 10, {})
    assert lost.unsent({}) == {}
    got = scrape_of(text_of(counters={"a": 8}), "i", 20, lost.unsent({}))
    kept = scrape_of(text_of(counters={"a": 3, "b": 1}), "i", 30, got.counted).unsent(got.counted)
    assert {labels: (one.start_ns, one.time_ns) for (_, labels), one in kept.items()} == {(("verb", "a"),): (21, 30)}


def test_the_release_is_the_version_of_the_service():
    text = b'# TYPE edgetwin_build_info gauge\nedgetwin_build_info{version="0.1.0"} 1\n'
    assert decoded(scrape_of(text, "i", 1, {}))[0]["service.version"] == "0.1.0"


def test_a_type_that_is_none_of_ours_is_left_out():
    text = b"# TYPE a summary\na_sum 1\na_count 1\nb 2\n# TYPE c gauge\nc NaN\n"
    scrape = scrape_of(text, "i", 1, {})
    assert (list(decoded(scrape)[1]), scrape.points) == (["c"], 1)


HEAD = b"# TYPE h histogram\n"


@pytest.mark.parametrize(
    "text",
    [
        b"\xff",
        b"<html>",
        b"# TYPE a_total counter\na_total -1\n",
        b"# TYPE a_total counter\na_total NaN\n",
        b"# TYPE a gauge\na 1\na 2\n",
        HEAD + b'h_bucket{le="1"} 1\nh_sum 1\nh_count 1\n',
        HEAD + b'h_bucket{le="1"} 2\nh_bucket{le="+Inf"} 1\nh_sum 1\nh_count 1\n',
        HEAD + b'h_bucket{le="+Inf"} 1\nh_sum 1\nh_count 2\n',
        HEAD + b'h_bucket{le="+Inf"} 1.5\nh_sum 1\nh_count 1.5\n',
        HEAD + b'h_bucket{le="+Inf"} -1\nh_sum 1\nh_count -1\n',
        HEAD + b'h_bucket{le="x"} 1\nh_sum 1\nh_count 1\n',
        HEAD + b'h_bucket{le="+Inf"} 1\nh_count 1\n',
        HEAD + b"h_bucket 1\nh_sum 1\nh_count 1\n",
    ],
)
def test_a_text_that_is_damaged_is_refused(text):
    with pytest.raises(Unreadable):
        scrape_of(text, "i", 1, {})


PIECES = st.sampled_from(
    [
        "# TYPE ",
        "# HELP ",
        "a",
        "h_bucket",
        "h",
        " histogram",
        " counter",
        "{",
        "}",
        '"',
        'le="1"',
        "=",
        ",",
        " ",
        "\n",
        "1",
        "+Inf",
        "\\",
    ]
)


@given(st.one_of(st.binary(), st.lists(PIECES, max_size=30).map(lambda pieces: "".join(pieces).encode())))
def test_garbage_is_read_or_refused_and_nothing_else(text):
    with contextlib.suppress(Unreadable):
        scrape_of(text, "i", 1, {}).metrics.SerializeToString()


def test_units_are_the_last_word_of_a_name():
    names = ("a_seconds", "a_bytes", "a_seconds_total", "a_total", "seconds_a", "edgetwin_twins")
    assert [unit_of(one) for one in names] == ["s", "By", "s", "", "", ""]
