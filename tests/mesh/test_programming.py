"""Frontends move between planes without a moment on neither, and what a plane cannot do is tried again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.compile import compile_table
from mesh.model.programme import Programme
from mesh.model.services import Plane
from mesh.programming import Programmer
from tests.mesh.planes import Board
from tests.mesh.tables import pkey, service, table

pytestmark = pytest.mark.fast

KEY = pkey()


def programme(*planes, names="web"):
    """One service for each plane that is named; None: the service is not there."""
    items = [
        service(name, "10.0.0.1:80", address=f"10.96.0.{number + 1}", plane=plane)
        for number, (name, plane) in enumerate(zip(names.split(), planes, strict=True))
        if plane
    ]
    return compile_table(table(*items)).programme


class Rig:
    def __init__(self):
        self.log = []
        self.user, self.kernel = Board(Plane.USERSPACE, self.log), Board(Plane.NFTABLES, self.log)
        self.programmer = Programmer({Plane.USERSPACE: self.user, Plane.NFTABLES: self.kernel})

    async def bring(self, *planes, **more):
        await self.programmer.bring(programme(*planes, **more))


async def test_a_frontend_is_opened_on_the_new_plane_before_it_is_closed_on_the_old():
    rig = Rig()
    await rig.bring(Plane.USERSPACE)
    await rig.bring(Plane.NFTABLES)
    await rig.bring(Plane.USERSPACE)
    assert rig.log == [
        f"userspace opens {KEY}",
        f"nftables opens {KEY}",
        f"userspace closes {KEY}",
        f"userspace opens {KEY}",
        f"nftables closes {KEY}",
    ]


async def test_what_the_new_plane_refuses_stays_on_the_old_and_is_tried_again():
    rig = Rig()
    await rig.bring(Plane.USERSPACE)
    rig.kernel.refuses[KEY] = "no room"
    await rig.bring(Plane.NFTABLES)
    assert (rig.programmer.failed, list(rig.user.carried)) == ({KEY: "no room"}, [KEY])
    rig.kernel.refuses.clear()
    await rig.bring(Plane.NFTABLES)
    assert (rig.programmer.failed, list(rig.user.carried), list(rig.kernel.carried)) == ({}, [], [KEY])


async def test_what_failed_and_is_wanted_elsewhere_again_is_closed_nowhere():
    rig = Rig()
    await rig.bring(Plane.USERSPACE)
    rig.kernel.refuses[KEY] = "no room"
    await rig.bring(Plane.NFTABLES)
    await rig.bring(Plane.USERSPACE)
    assert (rig.programmer.failed, list(rig.user.carried)) == ({}, [KEY])


async def test_a_plane_that_breaks_is_a_problem_of_its_own_frontends():
    rig = Rig()
    rig.kernel.broken = True
    await rig.bring(Plane.USERSPACE, Plane.NFTABLES, names="a b")
    assert rig.programmer.failed == {pkey("b"): "nftables: the kernel said no. Look at it"}
    assert list(rig.user.carried) == [pkey("a")]


async def test_a_plane_with_a_fault_harms_no_other(caplog):
    rig = Rig()
    rig.kernel.program = None
    await rig.bring(Plane.USERSPACE, Plane.NFTABLES, names="a b")
    assert list(rig.programmer.failed) == [pkey("b")]
    assert "a fault of the mesh itself: TypeError" in rig.programmer.failed[pkey("b")]
    assert list(rig.user.carried) == [pkey("a")]


async def test_a_plane_that_broke_is_told_again_what_it_missed():
    rig = Rig()
    await rig.bring(Plane.NFTABLES, Plane.NFTABLES, names="a b")
    rig.kernel.broken = True
    await rig.bring(None, Plane.NFTABLES, names="a b")
    rig.kernel.broken = False
    await rig.bring(None, Plane.NFTABLES, names="a b")
    assert list(rig.kernel.carried) == list(rig.kernel.backends) == [pkey("b")]


async def test_what_a_plane_may_have_taken_before_it_broke_is_taken_from_it_when_it_is_gone():
    rig = Rig()
    rig.kernel.breaks_late = True
    await rig.bring(Plane.NFTABLES)
    assert list(rig.kernel.carried) == list(rig.programmer.failed) == [KEY]
    rig.kernel.breaks_late = False
    await rig.bring(None)
    assert (rig.kernel.carried, rig.programmer.failed) == ({}, {})


async def test_what_has_failed_and_is_gone_is_no_problem_any_more():
    rig = Rig()
    rig.user.refuses[KEY] = "taken"
    await rig.bring(Plane.USERSPACE)
    assert rig.programmer.failed == {KEY: "taken"}
    await rig.bring(None)
    assert rig.programmer.failed == {}


async def test_nothing_new_is_not_told():
    rig = Rig()
    await rig.bring(Plane.USERSPACE)
    rig.user.broken = True
    await rig.bring(Plane.USERSPACE)
    assert rig.programmer.failed == {}


choices = st.tuples(*[st.sampled_from((None, *Plane))] * 3)
refusals = st.one_of(st.just({"broken"}), st.sets(st.tuples(st.sampled_from(Plane), st.sampled_from("abc"))))


@given(st.lists(st.tuples(choices, refusals), max_size=6))
async def test_whatever_failed_before_the_planes_end_up_as_the_programme_says(steps):
    rig, before = Rig(), (None,) * 3
    for planes, refused in steps:
        for board in (rig.user, rig.kernel):
            board.broken = board is rig.kernel and "broken" in refused
            board.refuses = {pkey(one[1]): "no" for one in refused if one[0] is board.plane}
        served = {*rig.user.carried, *rig.kernel.carried}
        await rig.bring(*planes, names="a b c")
        kept = {pkey(name) for name, was, is_ in zip("abc", before, planes, strict=True) if was and is_} & served
        before = planes
        assert kept <= {*rig.user.carried, *rig.kernel.carried}
    rig.user.refuses, rig.kernel.refuses, rig.kernel.broken = {}, {}, False
    last = programme(*(steps[-1][0] if steps else (None,) * 3), names="a b c")
    await rig.programmer.bring(last)
    assert Programme(rig.user.carried | rig.kernel.carried, rig.user.backends) == last
    assert not rig.user.carried.keys() & rig.kernel.carried.keys()
    assert all(one.plane is board.plane for board in (rig.user, rig.kernel) for one in board.carried.values())
