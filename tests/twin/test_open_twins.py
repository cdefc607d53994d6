"""Both halves written as one version, deletes of reported values, and twins without a model."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.twin.conftest import HandClock
from twin.document import DELETED
from twin.engine import TwinEngine
from twin.errors import InvalidValue, UnknownProperty, UnknownTwin, VersionMismatch
from twin.model import Kind, Quality, Section, Site, TwinKey, TwinSpec
from twin.sqlite_store import SqliteStore
from twin.view import explanation, twin_body

pytestmark = pytest.mark.fast

SHADOW = TwinKey(Kind.SHADOW, "plant", "tank.config")


@pytest.fixture
async def shadow(bench):
    """The bench with one twin that takes any property."""
    await bench.engine.define(TwinSpec(SHADOW, "")).stored()
    return bench


def reported(engine, key):
    return {name: slot.value for name, slot in engine.document(key).reported.items()}


async def test_both_halves_are_one_version_and_one_commit(tank, key):
    before = tank.engine.document(key).version
    await tank.engine.update(key, desired={"valve": 5}, reported={"level": 3.0, "raw": 1}, by="aws").stored()
    version, disk = tank.on_disk()
    assert version == tank.engine.document(key).version == before + 1
    assert len(tank.store.writes) == 1
    assert {place[:2]: slot.value for place, slot in disk.items()} == {
        ("desired", "valve"): 5,
        ("reported", "level"): 3.0,
        ("reported", "raw"): 1,
    }


async def test_one_bad_value_in_either_half_keeps_both_out(tank, key):
    for desired, said in (({"valve": 500}, {"level": 3.0}), ({"valve": 5}, {"level": 300}), ({"level": 1}, {})):
        with pytest.raises(InvalidValue):
            tank.engine.update(key, desired=desired, reported=said, by="aws")
    with pytest.raises(UnknownProperty):
        tank.engine.update(key, reported={"nothing": 1}, by="aws")
    with pytest.raises(UnknownTwin):
        tank.engine.update(SHADOW, reported={"nothing": 1}, by="aws")
    with pytest.raises(VersionMismatch):
        tank.engine.update(key, reported={"level": 1}, by="aws", version=99)
    assert tank.engine.document(key).version == 1
    assert not tank.engine.document(key).reported


async def test_an_unchanged_value_counts_and_so_does_an_update_of_nothing(tank, key):
    for number in (2, 3):
        await tank.engine.update(key, reported={"level": 3.0}, by="aws").stored()
        assert tank.engine.document(key).version == number
    await tank.engine.update(key, by="aws").stored()
    engine = await tank.reopen()
    assert engine.document(key).version == 4


async def test_a_deleted_reading_is_a_tombstone_that_nobody_sees_but_the_feed(tank, key):
    engine = tank.engine
    await engine.update(key, desired={"valve": 5}, reported={"valve": 5, "level": 1.0}, by="aws").stored()
    assert engine.delta(key) == {}
    await engine.update(key, reported={"valve": DELETED}, by="aws").stored()
    assert reported(engine, key) == {"level": 1.0}
    assert list(engine.delta(key)) == ["valve"]
    assert twin_body(engine.document(key)).delta == {"valve": 5}
    assert explanation(engine.document(key), key, "valve").reported is None
    assert tank.on_disk()[1]["reported", "valve", "edge"].value is DELETED
    rows = {(row.section, row.property): row.slot.value for row in engine.replica.rows(key, "u1")}
    assert rows[Section.REPORTED, "valve"] is DELETED
    reopened = await tank.reopen()
    assert reported(reopened, key) == {"level": 1.0}
    with pytest.raises(InvalidValue, match="nothing is reported of it"):
        reopened.update(key, reported={"raw": DELETED}, by="aws")


async def test_a_reading_after_the_delete_is_taken_whatever_its_deadband(tank, key):
    await tank.engine.update(key, reported={"level": 1.0}, by="aws").stored()
    await tank.engine.update(key, reported={"level": DELETED}, by="aws").stored()
    await tank.engine.report(key, {"level": 1.0}, {}, at=1, by="modbus").commit.stored()
    assert reported(tank.engine, key) == {"level": 1.0}


async def test_an_open_twin_takes_any_property_and_any_value_on_both_halves(shadow):
    engine = shadow.engine
    values = {"a": 1, "b": [True, {"c": None}], "Ü" * 3: 1}
    with pytest.raises(InvalidValue, match="no name of a property"):
        engine.update(SHADOW, reported=values, by="aws")
    values = {"a": 1, "b": [True, {"c": None}], "x:y": {"z": 1.5}}
    await engine.update(SHADOW, desired=values, reported=values, by="aws").stored()
    assert reported(engine, SHADOW) == values
    assert engine.delta(SHADOW) == {}
    await engine.set_desired(SHADOW, {"a": 2}, by="cli").stored()
    outcome = engine.report(SHADOW, {"n": 7, "bad": float("nan")}, {}, at=1, by="app")
    assert "not finite" in outcome.refused.message
    assert reported(engine, SHADOW)["n"] == 7
    assert explanation(engine.document(SHADOW), SHADOW, "a").pending
    again = await shadow.reopen()
    assert again.document(SHADOW).spec.open
    await again.set_desired(SHADOW, {"new": 1}, unset=["a"], by="cli").stored()


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.just(DELETED) | st.integers(0, 3) | st.dictionaries(st.sampled_from("xy"), st.integers(0, 3)),
        ),
        max_size=12,
    )
)
def test_what_was_reported_last_stands_and_rows_carry_it_to_the_other_site(tmp_path_factory, changes):
    async def play():
        engines = []
        folder = tmp_path_factory.mktemp("sites")
        for site in Site:
            store = SqliteStore(folder / f"{site}.db")
            store.open()
            engines.append((TwinEngine(store, clock=HandClock(), executor=pool, site=site), store))
        edge, cloud = (engine for engine, _ in engines)
        edge.define(TwinSpec(SHADOW, ""))
        stands = {}
        for name, value in changes:
            if value is DELETED and name not in stands:
                continue
            edge.update(SHADOW, reported={name: value}, by="aws")
            stands.pop(name, None) if value is DELETED else stands.update({name: value})
            if value is DELETED:
                assert name not in edge.document(SHADOW).reported
        rows = edge.replica.rows(SHADOW, "")
        for order in (rows, rows[::-1], rows):
            await cloud.replica.merge(order).stored()
        await edge.settled()
        for engine, store in engines:
            if SHADOW in engine:
                found = engine.document(SHADOW).reported
                assert {name: slot.value for name, slot in found.items()} == stands
                assert all(slot.quality is Quality.GOOD for slot in found.values())
            await engine.close()
            store.close()

    with ThreadPoolExecutor(1) as pool:
        asyncio.run(play())
