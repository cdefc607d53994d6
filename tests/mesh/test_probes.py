"""When endpoints are asked whether they live, and what their answers mean."""

from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.model.policies import HealthCheck, Policy
from mesh.model.programme import BackendGroup
from mesh.model.services import PortKey, Transport
from mesh.probes import JITTER, Finding, Probes
from tests.mesh.service import WEB, endpoint, endpoints

pytestmark = pytest.mark.fast

CHECK = HealthCheck(interval_ms=1_000, unhealthy=3, healthy=2)
OTHER = PortKey(WEB.service, 81)
PLACE = endpoint(0).place


def group(*listed, key=WEB, check=CHECK):
    return BackendGroup(key, listed, Policy(health_check=check))


def answers(probes, *good, now=100.0):
    """One endpoint answers so; what was found."""
    found = []
    for one in good:
        now = max(now, probes.next_s())
        (probe,) = probes.due(now, 99)
        found += probes.answered(probe, one, now)
    return [finding.alive for finding in found]


def one_endpoint():
    probes = Probes(Random(1))
    assert probes.follow([group(endpoint(0))], [], 0.0) == []
    return probes


def test_so_many_failures_in_a_row_are_death():
    probes = one_endpoint()
    assert answers(probes, False, False, True, False, False) == [True]
    assert answers(probes, False) == [False]
    assert answers(probes, False, False) == []


def test_so_many_answers_in_a_row_are_life():
    probes = one_endpoint()
    assert answers(probes, False, False, False) == [False]
    assert answers(probes, True, False, True) == []
    assert answers(probes, True) == [True]
    assert probes.findings() == [Finding(WEB, PLACE, True)]


def test_nothing_is_known_of_a_new_one():
    probes = one_endpoint()
    assert probes.findings() == []
    assert answers(probes, False, False) == []
    assert probes.findings() == []


def test_probes_of_many_do_not_go_in_step():
    probes = Probes(Random(1))
    probes.follow([group(*endpoints(1_000))], [], 0.0)
    counts, now = Counter(), 0.0
    while now < 10.0:
        for probe in probes.due(now, 10_000):
            counts[int(now * 10)] += 1
            probes.answered(probe, True, now)
        now += 0.01
    assert max(counts.values()) <= 180
    assert min(counts.values()) >= 50


@given(st.integers(0, 1_000))
def test_an_interval_is_kept_within_the_jitter(seed):
    probes = Probes(Random(seed))
    probes.follow([group(endpoint(0))], [], 0.0)
    assert 0 <= probes.next_s() <= 1
    (probe,) = probes.due(1.0, 9)
    assert probes.next_s() is None
    probes.answered(probe, True, 5.0)
    assert 1 - JITTER <= probes.next_s() - 5.0 <= 1 + JITTER


def test_no_more_than_asked_for_are_due():
    probes = Probes(Random(1))
    probes.follow([group(*endpoints(10))], [], 0.0)
    assert [len(probes.due(2.0, 4)) for _ in range(4)] == [4, 4, 2, 0]


def test_work_is_shared_by_ports_with_the_same_check():
    probes = Probes(Random(1))
    probes.follow([group(endpoint(0)), group(endpoint(0), key=OTHER)], [], 0.0)
    assert len(probes) == 1
    (probe,) = probes.due(2.0, 9)
    assert {one.port for one in probes.answered(probe, True, 2.0)} == {WEB, OTHER}
    probes.follow([], [WEB], 3.0)
    assert [one.port for one in probes.findings()] == [OTHER]
    probes.follow([], [OTHER], 3.0)
    assert len(probes) == 0
    assert probes.due(9.0, 9) == []


def test_another_check_is_another_probe():
    probes = Probes(Random(1))
    probes.follow([group(endpoint(0)), group(endpoint(0), key=OTHER, check=replace(CHECK, path="/x"))], [], 0.0)
    assert len(probes) == 2


def test_a_port_that_comes_later_is_told_what_is_known():
    probes = one_endpoint()
    answers(probes, False, False, False)
    assert probes.follow([group(endpoint(0), key=OTHER)], [], 9.0) == [Finding(OTHER, PLACE, False)]
    assert probes.follow([group(endpoint(0), endpoint(1), key=OTHER)], [], 9.0) == []


def test_what_is_not_asked_any_more_is_not_held_to_be_dead():
    probes = one_endpoint()
    answers(probes, False, False, False)
    assert probes.follow([group(endpoint(0), check=None)], [], 9.0) == [Finding(WEB, PLACE, True)]
    assert len(probes) == 0
    assert probes.findings() == []


def test_another_check_of_the_same_port_begins_anew():
    probes = one_endpoint()
    answers(probes, False, False, False)
    found = probes.follow([group(endpoint(0), check=replace(CHECK, timeout_ms=9))], [], 9.0)
    assert found == [Finding(WEB, PLACE, True)]
    assert probes.findings() == []


def test_an_endpoint_that_is_gone_is_nobody_s_business():
    probes = one_endpoint()
    answers(probes, False, False, False)
    assert probes.follow([group(endpoint(1))], [], 9.0) == []


def test_what_is_on_its_way_when_an_endpoint_goes_and_comes_back_is_not_counted_twice():
    probes = one_endpoint()
    (old,) = probes.due(2.0, 9)
    probes.follow([group(endpoint(1))], [], 2.0)
    probes.follow([group(endpoint(0))], [], 2.0)
    assert probes.answered(old, True, 2.0) == []
    asked = 0
    for now in range(3, 23):
        for probe in probes.due(float(now), 9):
            asked += probe == old
            probes.answered(probe, True, float(now))
    assert asked <= 21


def test_one_that_goes_and_comes_back_is_asked_as_often_as_before():
    probes = one_endpoint()
    for _ in range(5):
        probes.follow([], [WEB], 0.0)
        probes.follow([group(endpoint(0))], [], 0.0)
    asked = 0
    for tick in range(1_000):
        for probe in probes.due(tick / 50, 9):
            asked += 1
            probes.answered(probe, True, tick / 50)
    assert asked <= 23


def test_what_it_remembers_does_not_grow_with_changes():
    probes = Probes(Random(1))
    for number in range(5_000):
        probes.follow([group(endpoint(number), endpoint(number + 1))], [], 0.0)
    assert len(probes) == 2
    assert len(probes._due) < 100


def test_what_cannot_be_asked_is_not():
    probes = Probes(Random(1))
    udp = PortKey(WEB.service, 53, Transport.UDP)
    probes.follow([group(endpoint(0, via="gw-2")), group(endpoint(1), key=udp)], [], 0.0)
    assert len(probes) == 0


def test_those_that_are_not_ready_are_asked_too():
    probes = Probes(Random(1))
    probes.follow([group(endpoint(0, ready=False))], [], 0.0)
    assert len(probes) == 1
