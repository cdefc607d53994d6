"""Rows join as twin.merge.join_slot says, whatever comes in whatever order; twins wait for their documents."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudsync.store import joining
from cloudsync.store.cells import exact, from_cells, number, to_cells
from cloudsync.store.opening import open_store
from tests.cloudsync.store.words import PUMP, TANK, desired, emptied, reported, spec
from twin.clock import SystemClock
from twin.document import DELETED, Slot
from twin.errors import Refused, StoreError, UnknownTwin
from twin.exchange import Row, digest
from twin.merge import join_slot
from twin.model import ConflictPolicy, Kind, PropertySpec, Quality, Reason, Section, Site, TwinKey

INTEGERS = st.integers(-(2**63) - 5, 2**63 + 5) | st.integers(-5, 5) | st.integers(2**53 - 2, 2**53 + 2)
FLOATS = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([-0.0, 0.0, 2.0**53, 2.0**63, 5e-324])
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5) | st.sampled_from(["\0", "\1", "\1\2", "a\0b\1"])
VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | FLOATS | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=3,
)
SLOTS = st.builds(
    Slot,
    VALUES | st.just(DELETED),
    st.integers(1, 5),
    st.integers(0, 5),
    TEXTS,
    st.integers(0, 2**53),
    st.sampled_from(Quality),
    st.sampled_from(Reason),
)
PLACES = st.sampled_from([(TANK, "u1"), (TANK, "u\0\1"), (PUMP, "u1")])
ROWS = st.builds(
    lambda place, section, name, site, slot: Row(*place, section, name, site, slot),
    PLACES,
    st.sampled_from(Section),
    st.sampled_from(["a", "b\0", "b\1"]),
    st.sampled_from(Site),
    SLOTS,
)


@pytest.mark.fast
@given(VALUES | st.just(DELETED))
def test_every_value_comes_back_from_its_columns_as_it_was(value):
    assert repr(from_cells(*to_cells(value))) == repr(value)


@pytest.mark.fast
@given(
    st.one_of(st.integers(-(2**63) + 1, 2**63 - 1), FLOATS, st.integers(2**53 - 2, 2**53 + 2)),
    st.one_of(st.integers(-(2**63) + 1, 2**63 - 1), FLOATS, st.integers(2**53 - 2, 2**53 + 2)),
)
def test_numbers_as_columns_have_the_order_of_numbers(a, b):
    assert (number(a) < number(b)) == (a < b)
    assert (number(a) == number(b)) == (a == b)
    if exact(b):
        assert (number(a).num < b) == (a < b)
        assert (number(a).num == b) == (a == b)


@pytest.mark.fast
@given(TEXTS, TEXTS)
def test_texts_as_columns_have_the_order_of_their_code_points(a, b):
    first, second = to_cells(a)[2], to_cells(b)[2]
    assert (first.encode() < second.encode()) == (a.encode() < b.encode())
    assert "\0" not in first


def shown(rows):
    """Rows by place, told apart to the last sign: 1 is not 1.0, 0.0 not -0.0."""
    return {row[:5]: repr(row.slot) for row in rows}


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames=st.lists(st.lists(ROWS, max_size=8), min_size=1, max_size=4))
async def test_any_rows_join_as_the_rule_says(store, frames):
    await emptied(store)
    wanted: dict[tuple, Slot] = {}
    for frame in frames:
        for row in frame:
            if row.section is Section.REPORTED and row.site is not Site.EDGE:
                continue
            wanted[row[:5]] = join_slot(wanted.get(row[:5]), row.slot)
        async with store.transaction("gw-1") as tx:
            assert await tx.join(frame) == frozenset()  # nothing defines them
            places = {(row.key, row.uid) for row in frame}
            assert shown(await tx.rows(places)) == {
                place: repr(slot) for place, slot in wanted.items() if place[:2] in places
            }
        async with store.transaction("gw-1") as tx:
            after = await tx.rows([(TANK, "u1"), (TANK, "u\0\1"), (PUMP, "u1")])
            assert shown(after) == {place: repr(slot) for place, slot in wanted.items()}
            digests = await tx.digests(after=None, upto=None, limit=9, waiting=True)
            by_place = {}
            for row in after:
                by_place.setdefault((row.key, row.uid), []).append(row)
            assert digests == [(*place, digest(rows)) for place, rows in sorted(by_place.items())]
            assert await tx.digests(after=None, upto=None, limit=9, waiting=False) == []


async def test_rows_of_a_twin_that_nothing_defines_wait_unseen_and_are_taken_when_it_comes(store):
    async with store.transaction("gw-1") as tx:
        assert await tx.join([reported(81.5, 5)]) == frozenset()
        assert await tx.document(TANK) is None
    with pytest.raises(UnknownTwin, match="there is no twin device/plant/tank"):
        await store.twin(TANK)
    async with store.transaction("gw-1") as tx:
        await tx.define(spec())
        document = await tx.document(TANK)
    assert document == await store.twin(TANK)
    assert document.reported["level"].value == 81.5
    assert document.spec == spec()
    assert await store.gateway_of(TANK) == "gw-1"


async def test_each_join_that_changes_a_twin_is_one_version_and_nothing_new_is_none(store):
    async with store.transaction("gw-1") as tx:
        await tx.define(spec())
        assert (await tx.document(TANK)).version == 1
        assert await tx.join([reported(1, 1), reported(2, 2, name="valve"), desired(3, 1)]) == {TANK}
        assert (await tx.document(TANK)).version == 2
        assert await tx.join([reported(0, 1), desired(3, 1)]) == frozenset()
        assert (await tx.document(TANK)).version == 2
        assert await tx.join([desired(3, 1, seen=2)]) == {TANK}
        assert (await tx.document(TANK)).version == 3


async def test_a_deleted_reading_is_not_shown_but_kept_for_the_feed(store):
    async with store.transaction("gw-1") as tx:
        await tx.define(spec())
        await tx.join([reported(1, 1), reported(DELETED, 2), desired(DELETED, 3)])
        document = await tx.document(TANK)
        assert document.reported == {}
        assert document.desired["valve"].cloud.value is DELETED
        assert len(await tx.rows([(TANK, "u1")])) == 2


async def test_the_same_spec_again_changes_nothing_another_is_a_version_and_tells_followers(store):
    async with store.transaction("gw-1") as tx:
        await tx.define(spec())
        mended = tx.state.mended
        await tx.define(spec())
        assert ((await tx.document(TANK)).version, tx.state.mended) == (1, mended)
        await tx.define(spec(model="tank2", labels=(("area", "hall"),)))
        assert ((await tx.document(TANK)).version, tx.state.mended) == (2, mended + 1)


async def test_many_specs_at_once_do_what_each_would_have_done(store):
    keys = [TwinKey(Kind.DEVICE, "plant", f"d{number}") for number in range(5)]
    shadow = TwinKey(Kind.SHADOW, "plant", "d0.x")
    async with store.transaction("gw-1") as tx:
        await tx.define(spec(keys[0]), spec(keys[1]), spec(keys[2]))
        await tx.join([reported(7, 1, key=keys[3]), reported(8, 2, key=keys[2], uid="u2")])
        await tx.remove(keys[1])
        new = {"labels": (("a", "b"),)}
        await tx.define(
            spec(keys[0]),  # as it was
            spec(keys[1], "u9"),  # another life of one that was removed
            spec(keys[2], "u2"),  # another life while the first is there, with a row that waited
            spec(keys[3], **new),  # one that waited
            spec(keys[4], **new),  # never heard of
            spec(shadow, ""),
        )
        found = {key: await tx.document(key) for key in (*keys, shadow)}
    assert [found[key].version for key in (*keys, shadow)] == [1, 2, 2, 2, 1, 0]
    assert [found[key].spec.uid for key in keys] == ["u1", "u9", "u2", "u1", "u1"]
    assert [sorted(slot.value for slot in found[key].reported.values()) for key in keys] == [[], [], [8], [7], []]
    assert found[keys[4]].spec.labels == new["labels"]
    with pytest.raises(Refused):
        async with store.transaction("gw-2") as tx:
            await tx.define(spec(PUMP, gateway="gw-2"), spec(keys[0], gateway="gw-2"))
    with pytest.raises(UnknownTwin):
        await store.twin(PUMP)
    async with store.transaction("gw-1") as tx:
        await tx.define()  # none at all


async def test_another_uid_is_another_empty_twin_with_a_version_that_was_never_given(store):
    async with store.transaction("gw-1") as tx:
        await tx.define(spec())
        await tx.join([reported(1, 1)])
        await tx.join([reported(7, 1, uid="u2")])  # its rows come before its document
        await tx.define(spec(uid="u2"))
        document = await tx.document(TANK)
        assert (document.spec.uid, document.version) == ("u2", 3)
        assert document.reported["level"].value == 7
        assert await tx.rows([(TANK, "u1")]) == []
        await tx.remove(TANK)
        assert await tx.document(TANK) is None
        await tx.remove(TANK)  # nothing happens
        await tx.define(spec(uid="u3"))
        assert (await tx.document(TANK)).version == 4


async def test_two_gateways_cannot_have_one_twin_but_rows_of_both_are_kept_apart(store):
    async with store.transaction("gw-1") as tx:
        await tx.define(spec())
    with pytest.raises(Refused, match="device/plant/tank is a twin of gateway gw-1") as caught:
        async with store.transaction("gw-2") as tx:
            await tx.define(spec(gateway="gw-2"))
    assert "delete it at gw-1 first" in caught.value.remedy
    async with store.transaction("gw-2") as tx:
        assert await tx.join([reported(666, 1)]) == frozenset()
        assert await tx.document(TANK) is None
        await tx.remove(TANK)  # not its own
    assert (await store.twin(TANK)).reported == {}
    async with store.transaction("gw-1") as tx:
        await tx.remove(TANK)
    async with store.transaction("gw-2") as tx:
        await tx.define(spec(gateway="gw-2"))
    assert (await store.twin(TANK)).reported["level"].value == 666
    assert await store.gateway_of(TANK) == "gw-2"


async def test_a_shadow_needs_no_document_unless_another_gateway_has_one_of_that_name(store):
    key = TwinKey(Kind.SHADOW, "plant", "tank.config")
    async with store.transaction("gw-1") as tx:
        assert await tx.join([reported("x", 1, key=key, uid="")]) == {key}
        document = await tx.document(key)
        assert (document.version, document.spec.gateway, document.spec.uid) == (1, "gw-1", "")
    async with store.transaction("gw-2") as tx:
        assert await tx.join([reported("y", 1, key=key, uid="")]) == frozenset()
    assert (await store.twin(key)).reported["level"].value == "x"


async def test_of_too_many_twins_that_wait_the_longest_waiting_go(store, monkeypatch):
    monkeypatch.setattr(joining, "MAX_WAITING", 3)
    keys = [TwinKey(Kind.DEVICE, "plant", f"d{number}") for number in range(6)]
    async with store.transaction("gw-1") as tx:
        await tx.define(spec())
        for tick, key in enumerate(keys, 1):
            await tx.join([reported(1, tick, key=key)])
        rows = await tx.rows([(key, "u1") for key in keys])
    assert [row.key.name for row in rows] == ["d3", "d4", "d5"]
    assert [one.spec.key for one in await store.twins(limit=9)] == [TANK]


async def test_the_feed_gives_the_rows_of_a_site_in_the_order_of_ticks(store):
    rows = [reported(tick, tick, name=f"p{tick % 7}", key=(TANK, PUMP)[tick % 2]) for tick in range(1, 30)]
    rows += [desired(tick, tick + 100, name=f"p{tick % 5}", key=(TANK, PUMP)[tick % 2]) for tick in range(1, 30)]
    rows += [desired(tick, tick + 200, site=Site.EDGE, name=f"p{tick}") for tick in range(1, 4)]
    async with store.transaction("gw-2") as tx:
        await tx.join([reported(1, 500, uid="other"), desired(1, 501, uid="other")])
    async with store.transaction("gw-1") as tx:
        await tx.join(rows)
        cloud = [row for row in rows if row.site is Site.CLOUD][-10:]
        assert await tx.rows_after(Site.CLOUD, 100, 99) == cloud
        assert await tx.rows_after(Site.CLOUD, cloud[2].slot.tick, 4) == cloud[3:7]
        assert await tx.own_rows(cloud[1].slot.tick, cloud[4].slot.tick) == cloud[1:5]
        edge = await tx.rows_after(Site.EDGE, 20, 99)
        assert [row.slot.tick for row in edge] == [*range(21, 30), 201, 202, 203]
        assert await tx.rows_after(Site.EDGE, 20, 10) == edge[:10]


async def test_digests_come_in_pages_that_join_into_the_whole(store):
    keys = [TwinKey(Kind.DEVICE, "plant", f"d{number}") for number in (10, 9, 1, 2, 30)]
    keys.append(TwinKey(Kind.GATEWAY, "default", "gw-1"))
    async with store.transaction("gw-1") as tx:
        for tick, key in enumerate(keys, 1):
            await tx.define(spec(key))
            await tx.join([reported(tick, tick, key=key)])
        await tx.define(spec(PUMP))  # without rows it has none
        whole = await tx.digests(after=None, upto=None, limit=99, waiting=False)
        assert [one[0] for one in whole] == sorted(keys)
        found, after = [], None
        while page := await tx.digests(after=after, upto=None, limit=2, waiting=False):
            found += page
            after = page[-1][:2]
        assert found == whole
        middle = await tx.digests(after=whole[0][:2], upto=whole[2][:2], limit=99, waiting=False)
        assert middle == whole[1:3]


async def test_followers_learn_of_every_change_once_and_go_on_from_where_they_were(store):
    async with store.transaction("gw-1") as tx:
        await tx.define(spec())
        await tx.define(spec(PUMP))
    start = (await store.positions())["gw-1"]
    async with store.transaction("gw-1") as tx:
        await tx.join([reported(1, 1), reported(2, 2, key=PUMP)])
        tx.state.cursor = 2
    async with store.transaction("gw-1") as tx:
        await tx.join([desired(3, 10)])
        tx.state.tick = 10
    now = (await store.positions())["gw-1"]
    found = await store.changed("gw-1", start, limit=9)
    assert (found.keys, found.upto, found.more, found.all) == ({TANK, PUMP}, now, False, False)
    first = await store.changed("gw-1", start, limit=1)
    assert (first.keys, first.more) == ({TANK}, True)
    rest = await store.changed("gw-1", first.upto, limit=1)
    assert (rest.keys, rest.more, rest.upto) == ({PUMP}, False, now)
    assert (await store.changed("gw-1", now, limit=9)).keys == frozenset()


async def test_followers_look_at_all_when_something_changed_out_of_turn(store):
    async with store.transaction("gw-1") as tx:
        await tx.define(spec())
        await tx.join([reported(1, 5)])
        tx.state.cursor = 9
    before = (await store.positions())["gw-1"]
    async with store.transaction("gw-1") as tx:
        await tx.join([reported(1, 4)])  # older than what is there: nothing changes
    assert (await store.positions())["gw-1"] == before
    async with store.transaction("gw-1") as tx:
        await tx.join([reported(1, 7, name="valve")])  # of a digest exchange
    assert (await store.changed("gw-1", before, limit=9)).all
    before = (await store.positions())["gw-1"]
    async with store.transaction("gw-1") as tx:
        await tx.remove(TANK)
    assert (await store.changed("gw-1", before, limit=9)).all
    assert (await store.changed("nosuch", before._replace(mended=0), limit=9)).keys == frozenset()


async def test_twins_come_in_pages_by_kind_namespace_and_gateway(store):
    keys = [TwinKey(Kind.DEVICE, space, name) for space in ("b", "a") for name in ("y", "x")]
    async with store.transaction("gw-1") as tx:
        for key in keys:
            await tx.define(spec(key, labels=(("area", "hall"),)))
        await tx.join([reported(2, 1, key=keys[0])])
    gateway = TwinKey(Kind.GATEWAY, "default", "gw-2")
    async with store.transaction("gw-2") as tx:
        await tx.define(spec(gateway, gateway="gw-2", properties={}))
    assert [one.spec.key for one in await store.twins(limit=99)] == [*sorted(keys), gateway]
    assert [one.spec.key for one in await store.twins(limit=2, after=keys[3])] == [keys[2], keys[1]]
    assert [one.spec.key for one in await store.twins(limit=9, namespace="b")] == [keys[1], keys[0]]
    assert [one.spec.key for one in await store.twins(limit=9, gateway="gw-2")] == [gateway]
    assert [one.spec.key for one in await store.twins(limit=9, kind="gateway", gateway="gw-1")] == []
    (found,) = await store.twins(limit=1, after=keys[1])
    assert found == await store.twin(keys[0])
    assert found.reported["level"].value == 2
    with pytest.raises(UnknownTwin):
        await store.gateway_of(PUMP)


async def test_a_spec_comes_back_whole(store):
    properties = {
        "level": PropertySpec("level", minimum=0, maximum=10, unit="m", conflict=ConflictPolicy.EDGE),
        "mode": PropertySpec("mode", enum=("a", 1, True)),
    }
    whole = spec(
        uid="\0u\1", labels=(("a", "x\0y"), ("b", "")), properties=properties, desired={"mode": "a"}, model="m\0\1"
    )
    async with store.transaction("gw-1") as tx:
        await tx.join([reported(1, 1, uid=whole.uid)])
        await tx.define(whole)
        await tx.define(whole)
        assert (await tx.document(TANK)).version == 2
    assert (await store.twin(TANK)).spec == whole
    assert (await store.twin(TANK)).reported["level"].value == 1


async def test_what_a_model_says_is_kept_once_for_all_its_twins(store):
    keys = [TwinKey(Kind.DEVICE, "plant", f"d{number}") for number in range(4)]
    other = {"level": PropertySpec("level", unit="m")}
    async with store.transaction("gw-1") as tx:
        await tx.define(*(spec(key) for key in keys[:3]))
        await tx.define(spec(keys[3], properties=other))
        await tx.define(spec(keys[0], properties=other), spec(keys[1], properties={}))
    async with store._database.writing() as connection:
        assert len(await connection.fetch("SELECT 1 FROM shape")) == 2
    found = {one.spec.key: one.spec for one in await store.twins(limit=9)}
    assert [found[key].properties for key in keys] == [other, {}, spec().properties, other]
    assert [(await store.twin(key)).version for key in keys] == [2, 2, 1, 1]


async def test_a_number_that_no_column_holds_is_a_store_error_and_nothing_of_the_frame_stands(store):
    with pytest.raises(StoreError):
        async with store.transaction("gw-1") as tx:
            await tx.join([reported(1, 1), reported(1, 2**63, name="valve")])
    async with store.transaction("gw-1") as tx:
        assert await tx.rows([(TANK, "u1")]) == []


async def test_readers_see_whole_transactions_only_while_a_writer_is_at_work(store, store_url):
    reader = open_store(store_url, SystemClock())
    await reader.open()
    async with store.transaction("gw-1") as tx:
        await tx.define(spec())
    done = asyncio.Event()

    async def write():
        for tick in range(1, 40):
            async with store.transaction("gw-1") as tx:
                await tx.join([reported(tick, 2 * tick), reported(tick, 2 * tick + 1, name="valve")])
        done.set()

    task = asyncio.create_task(write())
    seen = set()
    while not done.is_set():
        document = await reader.twin(TANK)
        values = {slot.value for slot in document.reported.values()}
        assert len(values) <= 1
        seen |= values
    await task
    assert (await reader.twin(TANK)).reported["valve"].value == 39
    assert seen
    await reader.close()
