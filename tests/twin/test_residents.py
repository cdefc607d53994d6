"""Twins by key, uid and id: what is never given twice, what waits for a document, and what twins of a model share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from twin.clock import SystemClock
from twin.engine import TwinEngine
from twin.errors import NotTheReporter, StoreError, VersionMismatch
from twin.model import Access, Kind, PropertySpec, ReportPolicy, Site, TwinKey, TwinSpec, ValueType
from twin.residents import Residents
from twin.spec_text import NO_SPEC, SpecReader, text_of
from twin.store import Batch

pytestmark = pytest.mark.fast

KEY = TwinKey(Kind.DEVICE, "plant", "tank")


def other(number):
    return TwinKey(Kind.DEVICE, "plant", f"tank-{number}")


# -- versions and ids --------------------------------------------------------------------------------------------------


async def test_versions_rise_over_a_new_uid_so_that_an_old_precondition_never_fits(tank, tank_spec):
    await tank.engine.set_desired(KEY, {"valve": 1}, by="app").stored()
    old = tank.engine.document(KEY).version
    await tank.engine.define(tank_spec("u2")).stored()
    assert tank.engine.document(KEY).version > old
    with pytest.raises(VersionMismatch):
        tank.engine.set_desired(KEY, {"valve": 2}, by="app", version=old)


async def test_versions_rise_over_a_removal_and_a_restart(tank, tank_spec):
    await tank.engine.set_desired(KEY, {"valve": 1}, by="app").stored()
    old = tank.engine.document(KEY).version
    await tank.engine.remove(KEY).stored()
    engine = await tank.reopen()
    await engine.define(tank_spec("u2")).stored()
    assert engine.document(KEY).version > old


async def test_versions_rise_when_the_commit_of_the_removal_fails_first(tank, tank_spec):
    await tank.engine.set_desired(KEY, {"valve": 1}, by="app").stored()
    old = tank.engine.document(KEY).version
    tank.store.failing = StoreError("database or disk is full")
    with pytest.raises(StoreError):
        await tank.engine.remove(KEY).stored()
    tank.store.failing = None
    await tank.engine.define(tank_spec("u2")).stored()
    engine = await tank.reopen()
    assert engine.document(KEY).version > old


async def test_the_id_of_a_removed_twin_is_never_given_again(tank, tank_spec):
    await tank.engine.remove(KEY).stored()
    (dropped,) = tank.store.writes[-1].dropped
    engine = await tank.reopen()
    await engine.define(tank_spec("u2")).stored()
    assert min(tank.store.writes[-1].twins) > dropped


# -- who may report ----------------------------------------------------------------------------------------------------


async def test_the_cloud_may_not_report(tank, executor):
    cloud = TwinEngine(tank.store, clock=SystemClock(), executor=executor, site=Site.CLOUD)
    cloud.open()
    with pytest.raises(NotTheReporter, match="device/plant/tank: only its gateway writes reported"):
        cloud.report(KEY, {"level": 1.0}, {}, at=1, by="app")


# -- waiting for a document --------------------------------------------------------------------------------------------


def test_a_document_takes_the_twin_that_waited_for_it():
    residents, batch = Residents(), Batch()
    waits = residents.awaiting(KEY, "u1", batch)
    assert (residents.known, residents.find(KEY, "u1"), batch.twins[waits.id].documented) == ({}, waits, False)
    assert residents.define(TwinSpec(KEY, "u1", "tank"), batch) is waits
    assert (residents.known[KEY], list(residents)) == (waits, [waits])


def test_another_uid_leaves_it_waiting():
    residents, batch = Residents(), Batch()
    waits = residents.awaiting(KEY, "u1", batch)
    assert residents.define(TwinSpec(KEY, "u2", "tank"), batch) is not waits
    assert residents.find(KEY, "u1") is waits


def test_the_one_that_waits_longest_makes_room():
    residents, batch = Residents(max_awaited=2), Batch()
    first = residents.awaiting(other(1), "u", batch)
    for number in (2, 3):
        residents.awaiting(other(number), "u", batch)
    assert batch.dropped == {first.id}
    assert [twin.spec.key for twin in residents] == [other(2), other(3)]


# -- what twins of one model share -------------------------------------------------------------------------------------


def model(**changes):
    made = PropertySpec("level", ValueType.DOUBLE, minimum=0, maximum=9, report=ReportPolicy(deadband=0.5))
    return {"level": made, "mode": PropertySpec("mode", ValueType.JSON, **changes)}


def test_twins_of_one_model_share_its_properties_and_rules():
    residents, batch = Residents(), Batch()
    first, second = (residents.define(TwinSpec(other(n), "u", properties=model()), batch) for n in (1, 2))
    assert first.rules is second.rules
    assert first.spec.properties is second.spec.properties


@pytest.mark.parametrize("changes", [{"unit": "C"}, {"enum": (True,)}, {"enum": ([1],)}])
def test_twins_whose_models_differ_share_nothing(changes):
    residents, batch = Residents(), Batch()
    first = residents.define(TwinSpec(other(1), "u", properties=model(enum=(1,))), batch)
    second = residents.define(TwinSpec(other(2), "u", properties=model(**changes)), batch)
    assert first.rules is not second.rules
    assert second.rules["mode"].spec == model(**changes)["mode"]
    assert [type(value) for value in second.spec.properties["mode"].enum] == [
        type(value) for value in changes.get("enum", ())
    ]


# -- the text of a spec ------------------------------------------------------------------------------------------------

TEXT = st.text(max_size=6) | st.sampled_from(['"properties":{', "\n", '},\n"properties":'])
JSON = st.none() | st.booleans() | st.integers(-9, 9) | TEXT | st.dictionaries(TEXT, TEXT, max_size=2)
SPECS = st.builds(
    TwinSpec,
    st.just(KEY),
    TEXT,
    TEXT,
    TEXT,
    st.lists(st.tuples(TEXT, TEXT), max_size=2).map(tuple),
    st.dictionaries(
        TEXT,
        st.builds(PropertySpec, TEXT, access=st.sampled_from(Access), enum=st.lists(JSON, max_size=2).map(tuple)),
        max_size=2,
    ),
    st.dictionaries(TEXT, JSON, max_size=2),
)


@given(SPECS)
def test_a_spec_comes_back_from_its_text_and_from_that_of_earlier_releases(spec):
    assert SpecReader().read(text_of(spec)) == spec
    assert SpecReader().read(TypeAdapter(TwinSpec).dump_json(spec).decode()) == spec


@given(SPECS)
def test_the_text_of_a_spec_is_one_json_object(spec):
    assert TypeAdapter(TwinSpec).validate_json(text_of(spec)) == spec


def test_equal_properties_are_read_once():
    reader = SpecReader()
    first, second = (reader.read(text_of(TwinSpec(other(n), "u", properties=model()))) for n in (1, 2))
    assert first.properties is second.properties
    assert first.key != second.key


def test_no_spec_is_the_text_of_a_twin_that_waits():
    assert SpecReader().read(NO_SPEC) is None
