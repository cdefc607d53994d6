"""The text of metrics, as Prometheus's own parser reads it, and the server that gives it to those who may have it."""

from __future__ import annotations

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from twin.metrics.machine import PROCESS, put_process
from twin.metrics.model import BOUNDS_S, Metric, MetricType, Samples, Times, catalog
from twin.metrics.server import MetricsServer
from twin.metrics.text import exposition

pytestmark = pytest.mark.fast

HEAT = Metric("edgetwin_heat", MetricType.GAUGE, "How hot\nit \\ is", ("room",))
TRIPS = Metric("edgetwin_trips_total", MetricType.COUNTER, "Trips")
WAIT = Metric("edgetwin_wait_seconds", MetricType.HISTOGRAM, "Waits", ("who",))
ALL = catalog(HEAT, TRIPS, WAIT)


def parsed(samples):
    text = exposition(ALL.values(), samples).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.floats(allow_nan=False), max_size=5))
def test_prometheus_reads_every_label_and_number_as_it_was(values):
    samples = Samples()
    for label, value in values.items():
        samples.put(HEAT, value, label)
    found = {one.labels["room"]: one.value for one in parsed(samples).get("edgetwin_heat", Nothing).samples}
    assert found == values


class Nothing:
    samples = ()


@given(st.lists(st.floats(0, 100)))
def test_buckets_hold_what_is_at_most_their_bound(times):
    samples, one = Samples(), Times()
    for time_s in times:
        one.add(time_s)
    samples.put_times(WAIT, one, "me")
    found = {
        (sample.name.rpartition("_")[2], sample.labels.get("le", "")): sample.value
        for sample in parsed(samples)["edgetwin_wait_seconds"].samples
    }
    for bound in BOUNDS_S:
        shown = str(int(bound)) if bound == int(bound) else repr(bound)
        assert found["bucket", shown] == sum(time_s <= bound for time_s in times)
    assert found["bucket", "+Inf"] == found["count", ""] == len(times)
    assert math.isclose(found["sum", ""], sum(times), abs_tol=1e-9)


def test_what_nobody_knows_is_left_out():
    samples = Samples()
    samples.put(HEAT, None, "hall")
    samples.put(TRIPS, 5)
    found = parsed(samples)
    assert list(found) == ["edgetwin_trips"]
    assert found["edgetwin_trips"].type == "counter"


def test_a_process_tells_of_itself():
    samples = Samples()
    put_process(samples, "me")
    text = exposition(PROCESS, samples).decode()
    families = {family.name: family.samples[0].value for family in text_string_to_metric_families(text)}
    assert families["edgetwin_process_resident_bytes"] > 1_000_000
    assert families["edgetwin_process_cpu_seconds"] > 0


async def asked(port, head):
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head)
        answer = await reader.read()
        writer.close()
        return answer


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nAuthorization: Bearer right\r\n\r\n", b"200"),
        (b"GET /metrics?x=1 HTTP/1.0\r\nauthorization:  bearer right \r\n\r\n", b"200"),
        (b"GET /metrics HTTP/1.1\r\nAuthorization: Bearer wrong\r\n\r\n", b"401"),
        (b"GET /metrics HTTP/1.1\r\n\r\n", b"401"),
        (b"GET /other HTTP/1.1\r\nAuthorization: Bearer right\r\n\r\n", b"404"),
        (b"POST /metrics HTTP/1.1\r\nAuthorization: Bearer right\r\n\r\n", b"405"),
        (b"\r\n\r\n", b"401"),
        (b"x" * 100_000, b""),
    ],
)
async def test_only_who_knows_the_token_gets_them(free_port, head, status):
    async def text():
        return b"edgetwin_trips_total 5\n"

    server, port = MetricsServer(text, token="right"), free_port()
    await server.open("127.0.0.1", port)
    try:
        try:
            answer = await asked(port, head)
        except ConnectionError:
            answer = b""
        assert answer[9:12] == status
        assert (b"edgetwin_trips_total 5" in answer) is (status == b"200")
    finally:
        await server.close()
