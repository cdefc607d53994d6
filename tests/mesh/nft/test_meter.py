"""Sums over counters that the kernel may forget at any time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.model.services import PortKey, ServiceKey
from mesh.planes import Traffic
from mesh.planes.nft.doors import Carried, Spot
from mesh.planes.nft.meter import Meter, Sums

pytestmark = pytest.mark.fast

WEB = PortKey(ServiceKey("plant", "web"), 80)
SPOT = Spot(WEB, "10.0.0.1:80", WEB, "r")
KEY = ("opened4", b"key")


@given(st.lists(st.lists(st.integers(0, 100), min_size=1), min_size=1))
def test_the_sum_is_all_that_was_counted_however_often_the_counter_began_anew(lives):
    sums, total, expected = Sums(), 0, 0
    for life in lives:
        value = 0
        for step in life:
            value += step
            total += sum(moved for _, moved in sums.moved({"one": value}))
        expected += value
        total += sum(moved for _, moved in sums.moved({}))  # it is gone for a moment
    assert total == expected


def test_a_counter_that_is_lower_than_before_began_anew():
    sums = Sums()
    assert list(sums.moved({"one": 5})) == [("one", 5)]
    assert list(sums.moved({"one": 5})) == []
    assert list(sums.moved({"one": 3})) == [("one", 3)]


def test_traffic_is_by_endpoint_of_a_port():
    meter = Meter()
    meter.opened({KEY: 4, ("opened4", b"stranger"): 9}, {KEY: SPOT})
    meter.carried({7: Carried(SPOT, 10, 100, 1000), 8: Carried(SPOT, 1, 50, 0)})
    meter.carried({7: Carried(SPOT, 12, 110, 1200)})
    assert meter.traffic() == [Traffic(WEB, "r", WEB, "10.0.0.1:80", 4, 13, 160, 1200)]
    meter.keep([])
    assert meter.traffic() == []
