"""Counters of the kernel are shown like those of this process."""

from random import Random

import pytest

from mesh.counted_elsewhere import CountedElsewhere
from mesh.model.programme import BackendGroup
from mesh.model.services import Endpoint
from mesh.monitor import Monitor
from mesh.planes import Traffic
from mesh.upstream import Upstreams
from tests.mesh.service import WEB

pytestmark = pytest.mark.fast


def test_what_moved_is_added_once():
    upstreams = Upstreams(Random(1))
    upstreams.apply([BackendGroup(WEB, (Endpoint("10.0.0.1", 80),))], [])
    monitor = Monitor(upstreams)
    elsewhere = CountedElsewhere(monitor, upstreams)

    def shown():
        (share,) = monitor.snapshot(0.0, whole=True).shares
        ((place, counts),) = share.places
        return place, counts.requests, counts.bytes_in, counts.bytes_out

    gone = Traffic(WEB, "", WEB, "10.0.0.9:80", 7, 1, 1, 1)
    elsewhere.took([Traffic(WEB, "", WEB, "10.0.0.1:80", 3, 9, 100, 1000), gone])
    assert shown() == ("10.0.0.1:80", 3, 100, 1000)
    elsewhere.took([Traffic(WEB, "", WEB, "10.0.0.1:80", 3, 9, 100, 1000)])
    elsewhere.took([Traffic(WEB, "", WEB, "10.0.0.1:80", 5, 9, 150, 1100)])
    assert shown() == ("10.0.0.1:80", 5, 150, 1100)
