"""The eight rules of a twin (docs/sync.md), in order, each searched for a counterexample by hypothesis.

Rules 1 and 6 to 8 are tried on values and on one engine, 2 to 5 on two sites with a line that loses, repeats and
reorders. tests/twin/feed has all of it at once, with crashes and restores; tests/mutants breaks each rule on purpose.
"""

import asyncio
import contextlib
import tempfile
from dataclasses import replace
from functools import reduce
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.twin.feed.world import NOW_US, POLICIES, TANK, TEN_YEARS_US, Inline, SideClock, World
from twin.document import DELETED, Leaf, Slot
from twin.engine import TwinEngine
from twin.errors import NotTheReporter, Refused, StoreError, VersionMismatch
from twin.exchange import Row
from twin.merge import join, standing, winner
from twin.model import Access, ConflictPolicy, PropertySpec, Quality, Reason, Section, Site, TwinSpec, ValueType
from twin.reading import PropertyMark
from twin.sqlite_store import SqliteStore
from twin.validate import violation
from twin.view import explanation

SITES = st.sampled_from(list(Site))
NAMES = st.sampled_from(list(POLICIES))
SHAPES = st.sampled_from(["scalar", "object", "delete"])
CLOCKS = st.sampled_from([0, NOW_US, NOW_US + TEN_YEARS_US]) | st.integers(0, NOW_US + TEN_YEARS_US)
EDITS = st.lists(st.tuples(SITES, NAMES, SHAPES), max_size=8)
few = settings(max_examples=30, deadline=None)


@contextlib.contextmanager
def two_sites(*, digests=False):
    world = World(digests)
    try:
        yield world
    finally:
        world.close()


@contextlib.contextmanager
def one_site(*properties, site=Site.EDGE):
    """An engine over a real file, with one twin, and a loop to run it in."""
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        store = SqliteStore(Path(folder) / "state.db")
        store.open()
        engine = TwinEngine(store, clock=SideClock(), executor=Inline(), site=site)
        engine.open()

        async def define():
            await engine.define(TwinSpec(TANK, "u1", properties={one.name: one for one in properties})).stored()

        runner.run(define())
        try:
            yield engine, store, runner.run
        finally:
            store.close()


# -- 1. The merge is commutative, associative and idempotent -----------------------------------------------------------


def slot(site, tick, seen=0):
    return Slot(DELETED if tick % 4 == 0 else f"{site} {tick}", tick, seen, site, at=tick * 5 % 7)


LEAVES = st.builds(
    Leaf,
    *(st.none() | st.builds(slot, st.just(site), st.integers(1, 9), st.integers(0, 9)) for site in ("edge", "cloud")),
)


@given(st.lists(LEAVES, min_size=1, max_size=5).flatmap(lambda them: st.tuples(st.just(them), st.permutations(them))))
def test_1_what_is_joined_counts_and_neither_order_nor_grouping_nor_repetition(them):
    heard, otherwise = them
    once = reduce(join, heard)
    assert reduce(join, otherwise) == once
    assert reduce(lambda right, left: join(left, right), heard) == once
    assert reduce(join, [*heard, *otherwise, once]) == once


# -- 2. Loss, duplication and reordering end in equal documents --------------------------------------------------------

ACCIDENTS = st.lists(
    st.tuples(st.sampled_from(["deliver", "repeat", "drop", "cut"]), SITES, st.integers(0, 3)), max_size=25
)


@few
@given(EDITS, ACCIDENTS, EDITS, ACCIDENTS)
def test_2_any_loss_with_retry_ends_in_equal_documents_with_the_overruled_values(before, first, between, second):
    with two_sites() as world:
        for edits, accidents in ((before, first), (between, second)):
            world.connect()
            for site, name, shape in edits:
                world.edit(site, name, shape)
            for accident, sender, index in accidents:
                if accident == "cut":
                    world.lines = {site: [] for site in Site}
                    world.connect()
                elif accident == "drop":
                    world.drop(sender, index)
                else:
                    world.deliver(sender, index, keep=accident == "repeat")
        world.resync()
        edge, cloud = (world.sides[site].engine.document(TANK) for site in Site)
        assert edge.desired == cloud.desired
        assert edge.reported == cloud.reported


# -- 3. Edits of different leaves are never lost; a causally later write wins; ticks only rise -------------------------


@few
@given(st.permutations(list(POLICIES)), st.lists(SITES, min_size=3, max_size=3), CLOCKS, CLOCKS)
def test_3_edits_of_different_leaves_are_never_lost(names, sites, edge_us, cloud_us):
    with two_sites() as world:
        world.sides[Site.EDGE].clock.us, world.sides[Site.CLOUD].clock.us = edge_us, cloud_us
        numbers = {name: world.edit(site, name) for name, site in zip(names, sites, strict=True)}
        world.resync()
        assert {name: world.stands(name) for name in names} == numbers


@few
@given(st.lists(st.tuples(SITES, CLOCKS, SHAPES, st.booleans()), min_size=2, max_size=4), NAMES)
def test_3_a_causally_later_write_wins_whatever_the_clocks_say(writes, name):
    with two_sites() as world:
        for site, us, shape, restart in writes:
            world.sides[site].clock.us = us
            if restart:
                world.sides[site].start()
            number = world.edit(site, name, shape)
            world.resync()
            if number is not None:
                assert world.stands(name) == (None if shape == "delete" else number)


@few
@given(st.lists(st.tuples(CLOCKS, st.booleans()), min_size=2, max_size=5))
def test_3_ticks_rise_over_restarts_with_the_clock_set_back(starts):
    with two_sites() as world:
        side, ticks = world.sides[Site.EDGE], []
        for us, restart in starts:
            side.clock.us = us
            if restart:
                side.start()
            world.edit(Site.EDGE, "a")
            ticks.append(side.slots()[Section.DESIRED, "a", Site.EDGE].tick)
        assert ticks == sorted(set(ticks))


def test_3_a_tick_far_ahead_is_taken_and_raises_an_alarm_on_both_sides():
    with two_sites() as world:
        cloud, edge = world.sides[Site.CLOUD], world.sides[Site.EDGE]
        assert edge.engine.replica.clock_alarms() == cloud.engine.replica.clock_alarms() == []
        cloud.clock.us += TEN_YEARS_US
        number = world.edit(Site.CLOUD, "a")
        world.resync()
        assert world.stands("a") == number
        assert [said[:24] for said in edge.engine.replica.clock_alarms()] == ["the cloud's ticks are 36"]
        cloud.clock.us = NOW_US
        assert [said[:24] for said in cloud.engine.replica.clock_alarms()] == ["this site's ticks are 36"]


# -- 4. No resurrection ------------------------------------------------------------------------------------------------


@few
@given(NAMES, SITES, st.lists(st.integers(0, 200), max_size=12), st.booleans())
def test_4_nothing_that_was_ever_sent_brings_a_deleted_value_back(name, deleter, replays, restart):
    with two_sites() as world:
        sent, post = [], world.post

        def record(site, message):
            sent.append((site, message))
            post(site, message)

        world.post = record
        for site in Site:
            world.edit(site, name)
            world.resync()
        world.edit(deleter, name, "delete")
        world.resync()
        if restart:
            for side in world.sides.values():
                side.start()
            world.resync()
        for index in replays:
            sender, message = sent[index % len(sent)]
            if hasattr(message, "session"):  # as if it were of this session
                message = replace(message, session=world.sides[sender.peer].feed.session)
            world.run(world.sides[sender.peer].feed.receive(message))
        world.resync()
        assert world.stands(name) is None


@few
@given(NAMES, SITES, SITES, st.booleans())
def test_4_a_backup_from_before_a_delete_does_not_bring_the_value_back(name, deleter, restored, both):
    with two_sites(digests=True) as world:
        for site in (deleter.peer, deleter) if both else (deleter,):
            world.edit(site, name)
            world.resync()
        image = world.sides[restored].backup()
        world.edit(deleter, name, "delete")
        world.acknowledged.clear()  # a collection of tombstones may take it; the value must not come back
        for _ in range(3):
            world.resync()
        world.restore(restored, image)
        world.resync()
        assert [world.stands(name, site) for site in Site] == [None, None]


# -- 5. Only the device side reports; a policy decides between writes without knowledge of each other, and only then ---


@few
@given(NAMES, CLOCKS, CLOCKS, SITES)
def test_5_the_policy_decides_between_writes_made_without_knowledge_of_each_other(name, edge_us, cloud_us, first):
    with two_sites() as world:
        world.sides[Site.EDGE].clock.us, world.sides[Site.CLOUD].clock.us = edge_us, cloud_us
        numbers = {site: world.edit(site, name) for site in (first, first.peer)}
        world.resync()
        said = [explanation(world.sides[site].engine.document(TANK), TANK, name) for site in Site]
        assert said[0] == said[1]
        at = {one.site: one.at for one in said[0].slots}
        expected = {
            ConflictPolicy.EDGE: Site.EDGE,
            ConflictPolicy.CLOUD: Site.CLOUD,
            ConflictPolicy.LATEST: Site.EDGE if at[Site.EDGE] > at[Site.CLOUD] else Site.CLOUD,
        }[POLICIES[name]]
        assert said[0].winner is expected
        assert world.stands(name) == numbers[expected]
        assert "neither knew of the other" in said[0].why
        assert {one.value for one in said[0].slots} == set(numbers.values())  # the overruled one too


@given(LEAVES, st.sampled_from(ConflictPolicy))
def test_5_no_policy_overrules_a_write_made_knowing_the_other(leaf, policy):
    edge, cloud = leaf.edge, leaf.cloud
    if edge is not None and cloud is not None and (edge.seen >= cloud.tick) is not (cloud.seen >= edge.tick):
        assert winner(leaf, policy) is (Site.EDGE if edge.seen >= cloud.tick else Site.CLOUD)


@few
@given(SITES, st.sampled_from(Site), st.integers(1, 2**60), st.booleans())
def test_5_only_the_device_side_writes_reported(at, site, tick, in_frame):
    with one_site(PropertySpec("r"), site=at) as (engine, _, run):
        row = Row(TANK, "u1", Section.REPORTED, "r", site, Slot(7, tick))

        async def write():
            await engine.replica.merge([row], cursor=tick if in_frame else None).stored()

        run(write())
        assert set(engine.document(TANK).reported) == ({"r"} if site is Site.EDGE else set())
        if at is Site.CLOUD:

            async def report():
                with pytest.raises(NotTheReporter):
                    engine.report(TANK, {"r": 1}, {}, at=1, by="app")

            run(report())


# -- 6. Versions strictly rise, refuse what is stale, and decide no merge ----------------------------------------------

CHANGES = st.lists(st.sampled_from(["report", "mark", "set", "unset", "merge"]), min_size=1, max_size=8)


@few
@given(CHANGES)
def test_6_each_change_has_a_greater_version_and_a_stale_one_is_refused(changes):
    with one_site(PropertySpec("r"), PropertySpec("a", access=Access.READ_WRITE)) as (engine, _, run):
        mark = PropertyMark(Quality.BAD, Reason.TIMEOUT)

        async def change(kind, number):
            if kind == "report":
                await engine.report(TANK, {"r": number}, {}, at=number, by="m").commit.stored()
            elif kind == "mark":
                await engine.report(TANK, {"r": number}, {"r": mark}, at=number, by="m").commit.stored()
            elif kind == "merge":
                row = Row(TANK, "u1", Section.DESIRED, "a", Site.CLOUD, Slot(number, number))
                await engine.replica.merge([row]).stored()
            else:
                await engine.set_desired(TANK, {"a": number}, by="app").stored()
                if kind == "unset":
                    await engine.set_desired(TANK, {}, unset=["a"], by="app").stored()

        async def change_all():
            for number, kind in enumerate(changes, start=1):
                before = engine.document(TANK).version
                await change(kind, number)
                assert engine.document(TANK).version > before
                with pytest.raises(VersionMismatch):
                    engine.set_desired(TANK, {"a": 0}, by="app", version=before)

        run(change_all())


@few
@given(st.integers(0, 6), NAMES)
def test_6_versions_decide_no_merge(ahead, name):
    with two_sites() as world:
        for _ in range(ahead):  # the cloud's version is far ahead, its write is not
            world.edit(Site.CLOUD, "a" if name != "a" else "b")
        world.edit(Site.CLOUD, name)
        world.resync()
        number = world.edit(Site.EDGE, name)
        world.resync()
        assert world.stands(name) == number


# -- 7. Nothing is accepted before it is on disk -----------------------------------------------------------------------


@few
@given(
    st.lists(st.tuples(st.sampled_from(["edit", "report"]), st.booleans()), min_size=1, max_size=6),
    st.integers(0, 6),
    st.sampled_from(["before", "after"]),
)
def test_7_whoever_was_told_accepted_finds_it_on_the_disk_of_a_site_that_died(writes, fuse, when):
    with two_sites() as world:
        side = world.sides[Site.EDGE]
        side.store.fuse = (fuse, when)
        told = []

        async def write(number, kind, wait):
            if kind == "edit":
                place = (Section.DESIRED, "a", Site.EDGE)
                commit = side.engine.set_desired(TANK, {"a": number}, by=str(number))
            else:
                place = (Section.REPORTED, "r", Site.EDGE)
                commit = side.engine.report(TANK, {"r": number}, {}, at=number, by=str(number)).commit
            told_before = len(told)
            commit.on_end(lambda ended: told.append((place, number)) if ended.failure is None else None)
            assert len(told) == told_before, "told before the commit had even begun"
            if wait:
                await commit.stored()

        for number, (kind, wait) in enumerate(writes, start=1):
            with contextlib.suppress(StoreError):
                world.run(write(number, kind, wait))
        side.start()
        disk = side.on_disk()
        for place, number in told:
            assert place in disk
            assert int(disk[place].by) >= number


# -- 8. Values fit the device model; a refusal names device, property, rule --------------------------------------------

SPECS = st.builds(
    PropertySpec,
    st.just("p"),
    type=st.sampled_from([ValueType.INT, ValueType.DOUBLE, ValueType.BOOLEAN, ValueType.STRING]),
    access=st.sampled_from(Access),
    minimum=st.none() | st.integers(0, 5),
    maximum=st.none() | st.integers(5, 9),
    enum=st.sampled_from([(), (), (3,), ("on", "off")]),
    unit=st.sampled_from(["", "%"]),
)
VALUES = st.integers(-3, 12) | st.floats(-3, 12) | st.booleans() | st.sampled_from(["on", "x", "", None, [3], {"a": 1}])


@few
@given(SPECS, st.lists(VALUES, min_size=1, max_size=5))
def test_8_a_value_is_stored_if_and_only_if_it_fits_and_a_refusal_names_device_property_and_rule(spec, values):
    with one_site(spec) as (engine, store, run):

        async def report(value):
            outcome = engine.report(TANK, {"p": value}, {}, at=1, by="m")
            await outcome.commit.stored()
            return outcome.refused

        async def want(value):
            await engine.set_desired(TANK, {"p": value}, by="app").stored()

        for value in values:
            before = engine.document(TANK)
            rule = violation(spec, value)
            refused = run(report(value))
            assert (refused is not None) is bool(rule)
            if rule:
                assert refused.message == f"{TANK}: p: {rule}"
                assert engine.document(TANK) == before
            else:
                assert engine.document(TANK).reported["p"].value == value
            unwanted = "it is ReadOnly" if spec.access is Access.READ_ONLY else rule
            before = engine.document(TANK)
            if unwanted:
                with pytest.raises(Refused) as caught:
                    run(want(value))
                assert caught.value.message == f"{TANK}: p: {unwanted}"
                assert engine.document(TANK) == before
            else:
                run(want(value))
                assert standing(engine.document(TANK).desired["p"], spec.conflict).value == value
        on_disk = {(place.section, place.property): slot for place, slot, _ in store.leaves()}
        document = engine.document(TANK)
        assert {name for section, name in on_disk if section is Section.REPORTED} == set(document.reported)
        assert {name for section, name in on_disk if section is Section.DESIRED} == set(document.desired)
