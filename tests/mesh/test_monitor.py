"""What passes is counted, told once, merged without loss, and readable by Prometheus and by people."""

import json
import math
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import TypeAdapter

from mesh import monitor as limits
from mesh.access_log import LONGEST_PATH, AccessLog, Passage
from mesh.breaker import BreakerState
from mesh.model.policies import CircuitBreaker, Policy
from mesh.model.programme import BackendGroup
from mesh.model.services import PortKey, ServiceKey
from mesh.monitor import Monitor
from mesh.prometheus import MeshCollector, metrics_text
from mesh.snapshot import Collected, EdgeKey, Own, PlaceState, ShareKey, Snapshot
from mesh.tally import BUCKETS, Counts, Tally, bucket_begins_us, bucket_of, total
from mesh.upstream import Outcome, Upstreams
from tests.mesh.service import WEB, endpoint, endpoints, fail

pytestmark = pytest.mark.fast

A, B = (one.place for one in endpoints(2))
DB = PortKey(ServiceKey("plant", "db"), 5432)


@pytest.fixture
def ups():
    found = Upstreams(Random(1))
    found.apply([BackendGroup(WEB, endpoints(2), Policy(breaker=CircuitBreaker()))], [])
    return found


@pytest.fixture
def seen(ups):
    return Monitor(ups)


# -- times -------------------------------------------------------------------------------------------------------------


@given(st.integers(-5, 2**40))
def test_each_time_is_in_its_bucket_and_a_bucket_is_narrow(took_us):
    bucket = bucket_of(took_us)
    assert 0 <= bucket < BUCKETS
    least, end = bucket_begins_us(bucket), bucket_begins_us(bucket + 1)
    if took_us >= 0 and bucket < BUCKETS - 1:
        assert least <= took_us < end
        assert bucket < 4 or end <= least * 1.25


@given(st.lists(st.floats(-1, 400), max_size=50))
def test_the_hot_path_agrees_with_the_rule(times):
    tally = Tally()
    for took_s in times:
        tally.answered(200, took_s)
    counts = tally.counts()
    expected: dict[int, int] = {}
    for took_s in times:
        bucket = bucket_of(int(took_s * 1e6))
        expected[bucket] = expected.get(bucket, 0) + 1
    assert dict(counts.times) == expected
    assert counts.requests == len(times)
    assert counts.times_us == sum(max(0, int(took_s * 1e6)) for took_s in times)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_a_quantile_is_off_by_a_bucket_at_most(times, share):
    tally = Tally()
    for took_s in times:
        tally.answered(200, took_s)
    true = sorted(times)[math.ceil(share * len(times) - 1e-9) - 1]
    assert true - 1e-6 <= tally.counts().quantile_s(share) <= true * 1.25 + 2e-6


def test_nothing_has_no_quantile():
    assert Counts().quantile_s(0.99) == 0.0


COUNTS = st.builds(
    Counts,
    by_class=st.tuples(*[st.integers(0, 9)] * 6),
    failed=st.integers(0, 9),
    bytes_in=st.integers(0, 9),
    bytes_out=st.integers(0, 9),
    times=st.dictionaries(st.integers(0, 9), st.integers(1, 9)).map(lambda found: tuple(sorted(found.items()))),
    times_us=st.integers(0, 9),
)


@given(COUNTS, COUNTS)
def test_counts_add_up_and_come_apart_again(one, other):
    assert one.plus(other) == other.plus(one) == total([one, other])
    assert one.plus(other).minus(other) == one


def test_counters_that_began_anew_are_all_new():
    before, after = Counts((0, 0, 5, 0, 0, 0), times=((3, 5),), times_us=50), Counts((0, 0, 2, 0, 0, 0))
    assert after.minus(before) == after


# -- counting ----------------------------------------------------------------------------------------------------------


def test_statuses_are_counted_by_class():
    tally = Tally()
    for status in (0, 101, 200, 204, 302, 404, 500, 503, 999):
        tally.answered(status, 0.001)
    assert tally.counts().by_class == (1, 1, 2, 1, 1, 3)
    assert tally.counts().errors == 3


def test_a_share_tells_endpoints_apart(ups, seen):
    share = seen.share(WEB, "HTTPRoute plant/web", WEB)
    assert seen.share(WEB, "HTTPRoute plant/web", WEB) is share
    first, second = ups.get(WEB).targets.values()
    share.of(first).answered(200, 0.01)
    share.of(second).failed += 1
    share.retries += 1
    share.answered_here(Own.RATE_LIMITED)
    share.answered_here(Own.RATE_LIMITED)
    (counts,) = seen.snapshot(1.0).shares
    assert counts.key == ShareKey(WEB, "HTTPRoute plant/web", WEB)
    assert {place: (one.requests, one.failed) for place, one in counts.places} == {A: (1, 0), B: (0, 1)}
    assert counts.own == ((Own.RATE_LIMITED, 2),)
    assert counts.retries == 1


def test_endpoints_that_are_gone_are_counted_together(ups, seen):
    share = seen.share(WEB, backend=WEB)
    old = ups.get(WEB).targets[A]
    share.of(old).answered(200, 0.01)
    share.of(old).active += 1
    ups.apply([BackendGroup(WEB, (endpoint(1),))], [])
    assert dict(seen.snapshot(1.0).shares[0].places)[A].active == 1  # its last connection is still open
    share.of(old).active -= 1
    assert [place for place, _ in seen.snapshot(2.0).shares[0].places] == [""]
    ups.apply([BackendGroup(WEB, endpoints(2))], [])
    share.of(ups.get(WEB).targets[A]).answered(200, 0.01)
    assert {place: one.requests for place, one in seen.snapshot(3.0).shares[0].places} == {"": 1, A: 1}


def test_a_place_that_came_back_while_its_old_connections_are_open_is_one_place(ups, seen):
    share = seen.share(WEB, backend=WEB)
    old = ups.get(WEB).targets[A]
    share.of(old).answered(0, 0.01)
    share.of(old).active += 1
    ups.apply([BackendGroup(WEB, (endpoint(1),))], [])
    ups.apply([BackendGroup(WEB, endpoints(2))], [])
    share.of(ups.get(WEB).targets[A]).answered(0, 0.01)
    assert {place: one.requests for place, one in seen.snapshot(1.0).shares[0].places} == {A: 2}


def test_a_snapshot_tells_only_what_has_changed(ups, seen):
    share = seen.share(WEB, backend=WEB)
    seen.share(DB)
    seen.edge("10.1.1.1", WEB.service).answered(200, 0.1)
    first = seen.snapshot(1.0)
    assert (len(first.shares), len(first.edges), len(first.upstreams)) == (2, 1, 1)
    assert seen.snapshot(2.0) == Snapshot(2.0)
    share.retries += 1
    fail(ups.get(WEB), A, 2.0, Outcome.CONNECT_FAILED, 2)
    third = seen.snapshot(3.0)
    assert [one.retries for one in third.shares] == [1]
    assert [(one.place, one.state) for one in third.upstreams[0].places] == [
        (A, PlaceState.EJECTED),
        (B, PlaceState.IN_USE),
    ]
    ups.apply([], [WEB])
    assert seen.snapshot(4.0).gone == (WEB,)
    whole = seen.snapshot(5.0, whole=True)
    assert (len(whole.shares), len(whole.edges)) == (2, 1)


def test_callers_have_names():
    seen = Monitor(Upstreams(Random(1)))
    seen.callers({"10.1.1.1": "plant/press", "127.0.0.9": "plant/local"})
    assert [seen.caller(one) for one in ("10.1.1.1", "127.0.0.9", "127.0.0.1", "::1", "192.168.1.5")] == [
        "plant/press",
        "plant/local",
        "gateway",
        "gateway",
        "outside",
    ]


def test_the_call_graph_is_bounded(monkeypatch):
    monkeypatch.setattr(limits, "MOST_EDGES", 3)
    seen = Monitor(Upstreams(Random(1)))
    seen.callers({f"10.0.0.{number}": f"plant/{number}" for number in range(9)})
    for number in range(9):
        seen.edge(f"10.0.0.{number}", WEB.service).answered(200, 0.1)
    found = {one.key.caller: one.counts.requests for one in seen.snapshot(1.0).edges}
    assert found == {"plant/0": 1, "plant/1": 1, "plant/2": 1, "others": 6}


def test_what_is_gone_is_forgotten(seen):
    seen.share(WEB)
    seen.share(DB)
    seen.edge("10.1.1.1", WEB.service)
    seen.edge("10.1.1.1", DB.service)
    seen.forget([WEB])
    left = seen.snapshot(1.0)
    assert [one.key.frontend for one in left.shares] == [DB]
    assert [one.key.called for one in left.edges] == [DB.service]


def test_views_show_breakers_panic_and_what_is_not_ready(ups, seen):
    up = ups.get(WEB)
    up.update(BackendGroup(WEB, (*endpoints(2), endpoint(2, ready=False)), up.group.policy))
    for place in (A, B):
        fail(up, place, 1.0, Outcome.CONNECT_FAILED, 20)
    (view,) = seen.snapshot(1.0).upstreams
    assert view.breaker is BreakerState.OPEN
    assert (view.breaker_opened, view.panic, view.ejections, view.usable) == (1, True, 2, 0)
    assert [one.failures for one in view.places] == [20, 20, 0]
    fail(up, A, 1.0, Outcome.SERVER_ERROR)  # it did answer
    fail(up, A, 1.0, Outcome.TIMEOUT)
    (view,) = seen.snapshot(1.0).upstreams
    assert [one.failures for one in view.places] == [21, 20, 0]
    assert (
        samples(Snapshot(1.0, upstreams=(view,)))["edgetwin_mesh_endpoint_failures_total", A, "80", "plant/web"] == 21
    )
    assert view.places[2].state is PlaceState.NOT_READY
    up.probed(A, 2.0, alive=False)
    (view,) = seen.snapshot(2.0).upstreams
    assert view.places[0].state is PlaceState.PROBE_FAILED
    (view,) = seen.snapshot(7.0).upstreams
    assert view.places[1].state is PlaceState.TRIAL


# -- merging -----------------------------------------------------------------------------------------------------------


def worked(seed, ups=None):
    """A worker that has seen something."""
    ups = ups or Upstreams(Random(seed))
    ups.apply([BackendGroup(WEB, endpoints(2), Policy(breaker=CircuitBreaker()))], [])
    seen = Monitor(ups)
    share = seen.share(WEB, backend=WEB)
    target = ups.get(WEB).targets[A]
    for _ in range(seed):
        share.of(target).answered(200, 0.001 * seed)
    share.of(target).active = seed
    share.answered_here(Own.NO_ENDPOINT)
    seen.edge("10.1.1.1", WEB.service).answered(503, 0.1)
    return seen


def test_workers_are_added_up():
    collected = Collected()
    one, other = worked(2), worked(3)
    collected.took("0", one.snapshot(1.0))
    collected.took("1", other.snapshot(2.0))
    collected.took("1", other.snapshot(3.0))  # nothing new
    whole = collected.all()
    assert whole.at_s == 3.0
    (share,) = whole.shares
    assert dict(share.places)[A].by_class[2] == 5
    assert dict(share.places)[A].active == 5
    assert share.own == ((Own.NO_ENDPOINT, 2),)
    assert whole.edges[0].counts.errors == 2
    assert len(whole.upstreams) == 1


def test_what_an_ended_worker_had_counted_stays():
    collected = Collected()
    collected.took("0", worked(2).snapshot(1.0))
    collected.ended("0")
    collected.ended("unknown")
    collected.took("0", worked(3).snapshot(2.0))
    (share,) = collected.all().shares
    assert dict(share.places)[A].by_class[2] == 5
    assert dict(share.places)[A].active == 3  # nothing is under way in a process that has ended


def test_of_upstreams_the_worst_is_shown():
    ups = Upstreams(Random(1))
    good, bad = worked(1), worked(1, ups)
    fail(ups.get(WEB), A, 1.0, Outcome.CONNECT_FAILED, 20)
    for order in ([good, bad], [bad, good]):
        collected = Collected()
        for number, seen in enumerate(order):
            collected.took(str(number), seen.snapshot(1.0, whole=True))
        (view,) = collected.all().upstreams
        assert view.breaker is BreakerState.OPEN
        assert {one.place: one.state for one in view.places} == {A: PlaceState.EJECTED, B: PlaceState.IN_USE}
        assert view.ejections == 1


def test_gone_ports_and_forgotten_frontends_leave_the_whole():
    collected = Collected()
    snapshot = worked(1).snapshot(1.0)
    collected.took("0", snapshot)
    collected.took("0", Snapshot(2.0, gone=(WEB,)))
    collected.forget([WEB])
    assert (collected.all().shares, collected.all().upstreams) == ((), ())


def test_a_snapshot_crosses_as_json():
    adapter = TypeAdapter(Snapshot)
    snapshot = worked(3).snapshot(1.0)
    assert adapter.validate_json(adapter.dump_json(snapshot)) == snapshot


# -- Prometheus --------------------------------------------------------------------------------------------------------


def samples(snapshot):
    found = {}
    for family in text_string_to_metric_families(metrics_text(snapshot).decode()):
        for sample in family.samples:
            found[sample.name, *(value for _, value in sorted(sample.labels.items()))] = sample.value
    return found


def test_prometheus_reads_what_was_counted():
    found = samples(worked(3).snapshot(1.0))
    web = ("plant/web:80", "80", "", "plant/web")  # backend, port, route, service by the order of their names
    assert found["edgetwin_mesh_requests_total", "plant/web:80", "2xx", A, *web[1:]] == 3
    assert found["edgetwin_mesh_active", web[0], A, *web[1:]] == 3
    assert found["edgetwin_mesh_own_answers_total", web[0], "80", "noEndpoint", "", "plant/web"] == 1
    assert found["edgetwin_mesh_calls_total", "plant/web", "outside", "failed"] == 1
    assert found["edgetwin_mesh_endpoints", "80", "plant/web", "inUse"] == 2
    assert found["edgetwin_mesh_breaker_state", "80", "plant/web"] == 0
    assert found["edgetwin_mesh_latency_seconds_count", *web] == 3
    assert found["edgetwin_mesh_latency_seconds_sum", *web] == pytest.approx(0.009)
    assert found["edgetwin_mesh_latency_seconds_bucket", web[0], "0.002048", *web[1:]] == 0
    assert found["edgetwin_mesh_latency_seconds_bucket", web[0], "0.004096", *web[1:]] == 3
    assert found["edgetwin_mesh_latency_seconds_bucket", web[0], "+Inf", *web[1:]] == 3


def test_the_text_is_that_of_the_library():
    awkward = Monitor(Upstreams(Random(1)))
    key = PortKey(ServiceKey("plant", "web"), 80)
    share = awkward.share(key, 'a"b\\c\nd', None)
    share.answered_here(Own.TIMEOUT)
    for snapshot in (worked(3).snapshot(1.0), awkward.snapshot(1.0), Snapshot(1.0)):
        registry = CollectorRegistry(auto_describe=False)
        registry.register(MeshCollector(lambda snapshot=snapshot: snapshot))
        assert metrics_text(snapshot) == generate_latest(registry)


def test_an_open_breaker_is_seen_by_prometheus():
    (view,) = worked(1).snapshot(1.0).upstreams
    snapshot = Snapshot(1.0, upstreams=(replace(view, breaker=BreakerState.OPEN, panic=True),))
    assert samples(snapshot)["edgetwin_mesh_breaker_state", "80", "plant/web"] == 2
    assert samples(snapshot)["edgetwin_mesh_panic", "80", "plant/web"] == 1


# -- the access log ----------------------------------------------------------------------------------------------------


def logged(**more):
    lines = []
    return AccessLog(lines.append, lambda: 1_700_000_000.123, Random(1), **more), lines


def test_a_line_is_one_json_object_without_what_is_empty():
    log, lines = logged()
    log.add(Passage("10.1.1.1", "plant/press", "plant/web:80", method="GET", path="/a?token=secret", status=200))
    assert json.loads(lines[0]) == {
        "at": "2023-11-14T22:13:20.123Z",
        "client": "10.1.1.1",
        "caller": "plant/press",
        "service": "plant/web:80",
        "protocol": "tcp",
        "method": "GET",
        "path": "/a",
        "status": 200,
        "bytesIn": 0,
        "bytesOut": 0,
        "tookMs": 0.0,
        "tries": 1,
        "failed": False,
    }


@given(st.text(max_size=2_000))
def test_whatever_a_client_sends_stays_one_line(path):
    log, lines = logged()
    log.add(Passage("10.1.1.1", path, path, path=path, host=path))
    assert "\n" not in lines[0]
    assert len(json.loads(lines[0]).get("path", "")) <= LONGEST_PATH


def test_a_share_of_the_good_and_all_of_the_failed_is_wanted():
    log, _ = logged(sample=0.1, most_per_s=10_000)
    assert 60 <= sum(log.wants(0.0, failed=False) for _ in range(1_000)) <= 140
    assert all(log.wants(0.0, failed=True) for _ in range(1_000))


def test_lines_are_bounded_and_those_left_out_counted():
    log, _ = logged(most_per_s=5)
    assert sum(log.wants(0.0, failed=True) for _ in range(20)) == 5
    assert log.dropped == 15
    assert sum(log.wants(1.0, failed=True) for _ in range(20)) == 5
    seen = Monitor(Upstreams(Random(1)), log)
    assert seen.snapshot(1.0).dropped_log_lines == 30
    assert seen.log is log


def test_the_same_edge_is_the_same_counter(seen):
    assert seen.edge("10.1.1.1", WEB.service) is seen.edge("10.1.1.2", WEB.service)
    assert seen.snapshot(1.0).edges[0].key == EdgeKey("outside", WEB.service)


def test_every_metric_and_every_field_of_the_log_is_on_the_page():
    page = (Path(__file__).parents[2] / "docs" / "mesh-flow.md").read_text(encoding="utf-8")
    for family in MeshCollector(lambda: Snapshot(1.0)).collect():
        assert f"`{family.name}{'_total' if family.type == 'counter' else ''}`" in page, family.name
    log, lines = logged()
    log.add(Passage(*["x"] * 9, path="/", status=200, own="x"))
    for field in json.loads(lines[0]):
        assert f"`{field}`" in page, field
    for word in (*Own, *PlaceState):
        assert f"`{word}`" in page, word
