"""The worker's garbage: looked for less often, and not among what was there at its start."""

import gc

import pytest

from cloudsync.collector import relax

pytestmark = pytest.mark.fast


@pytest.fixture(autouse=True)
def as_it_was():
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def test_what_is_there_is_not_looked_through_again_and_cycles_still_go():
    relax()
    assert gc.get_freeze_count() > 0
    assert gc.isenabled()
    assert gc.get_threshold()[0] >= 50_000
    knot: list = []
    knot.append(knot)
    del knot
    assert gc.collect() >= 1
