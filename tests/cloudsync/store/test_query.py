"""Queries in the cloud: the same answers as at a gateway, on either database."""

import asyncio
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudsync.store.compile import compile_plan
from cloudsync.store.postgres import PostgresDialect
from cloudsync.store.sqlite import SqliteDialect
from tests.cloudsync.store.words import PUMP, TANK, emptied, reported, spec
from tests.twin.query.cases import CONDITIONS, FITTING, JSON, UNITS, holds, twins, written
from tests.twin.query.fleet import five_twins, measured_twins
from tests.twin.query.test_injection import FRAGMENTS
from twin.document import DELETED, Leaf
from twin.errors import QueryAborted
from twin.exchange import Row
from twin.model import Kind, Section, Site, TwinKey
from twin.query import plan as p
from twin.query.parse import parse
from twin.query.reader import MAX_ANSWER_BYTES


async def fill(store, fleet):
    """Put twins with their leaves and versions into an empty store."""
    for row, reported_, desired_ in fleet:
        key, uid = row.spec.key, row.spec.uid
        async with store.transaction(row.spec.gateway) as tx:
            await tx.define(row.spec)
            rows = [Row(key, uid, Section.REPORTED, name, Site.EDGE, slot) for name, slot in reported_.items()]
            rows += [
                Row(key, uid, Section.DESIRED, name, site, slot)
                for name, leaf in desired_.items()
                for site in Site
                if (slot := leaf.slot(site)) is not None
            ]
            await tx.join(rows)
        async with store._database.writing() as connection:
            sql = "UPDATE twin SET version = $1 WHERE kind = $2 AND namespace = $3 AND name = $4"
            await connection.fetch(sql, row.version, key.kind.value, key.namespace, key.name)


def of_batch(batch):
    for id_, row in batch.twins.items():
        slots = {name: slot for (twin, name), slot in batch.reported.items() if twin == id_}
        desired_ = {}
        for (twin, name, site), slot in batch.desired.items():
            if twin == id_:
                desired_[name] = desired_.get(name, Leaf()).with_slot(site, slot)
        yield row._replace(version=batch.versions[id_]), slots, desired_


@pytest.fixture
async def ask(store):
    """The fleet is in the store; call it with a query for its rows."""
    await fill(store, of_batch(five_twins().batch))

    async def asked(text, rows=1000, **more):
        return (await store.answer(parse(text), rows=rows, **more)).rows

    return asked


async def test_every_condition_fits_the_same_twins_as_at_a_gateway(ask):
    wrong = {}
    for condition, names in FITTING:
        found = await ask(f"SELECT name FROM twins WHERE {condition}")
        if sorted(row[0] for row in found) != names.split():
            wrong[condition] = found
    assert wrong == {}
    assert len(FITTING) >= 50


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fleet=st.tuples(twins(1), twins(2), twins(3)), conditions=st.lists(CONDITIONS, min_size=1, max_size=4))
async def test_any_condition_fits_the_twins_that_the_rules_say(store, fleet, conditions):
    await emptied(store)
    await fill(store, fleet)
    for condition in conditions:
        text = f"SELECT name FROM twins WHERE {written(condition)}"
        found = {name for (name,) in (await store.answer(parse(text), rows=100)).rows}
        assert found == {one[0].spec.key.name for one in fleet if holds(condition, one) is True}, text


VALUES = JSON.filter(lambda value: value is not None) | st.integers(2**53 - 2, 2**53 + 2)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(VALUES, min_size=1, max_size=6))
async def test_values_are_ordered_missing_numbers_text_and_all_else_and_come_back_as_they_were(store, values):
    await emptied(store)
    async with store.transaction("gw-1") as tx:
        for number, value in enumerate([*values, DELETED]):
            key = TwinKey(Kind.DEVICE, "plant", f"t{number}")
            await tx.define(spec(key))
            await tx.join([reported(value, 1, key=key)])
    rows = (await store.answer(parse("SELECT reported.level FROM twins ORDER BY reported.level"), rows=99)).rows
    back = (await store.answer(parse("SELECT reported.level FROM twins ORDER BY reported.level DESC"), rows=99)).rows
    shown = [row[0] for row in rows]
    assert sorted(map(repr, shown)) == sorted(map(repr, [*values, None]))
    assert [rank(one) for one in shown] == sorted(map(rank, shown))
    assert [rank(row[0]) for row in back] == sorted(map(rank, shown), reverse=True)


def rank(value):
    """Place in the order; None is what is missing."""
    if value is None:
        return (0, 0, "")
    if type(value) is float or (type(value) is int and abs(value) < 2**63):
        return (1, value, "")
    return (2, 0, value) if isinstance(value, str) else (3, 0, "")


async def test_values_come_back_with_their_json_types(ask):
    columns = "reported.level, reported.pump, reported.mode, reported.note, reported.nosuch, desired.valve, tags.line"
    assert repr(await ask(f"SELECT {columns} FROM twins WHERE model = 'tank'")) == repr(
        [["81.5", None, "10%", None, None, None, None], [81.5, True, "auto", {"a": 1}, None, 40, "a"]]
    )
    assert await ask("SELECT * FROM twins WHERE name = 'tank'") == [
        ["device", "plant", "tank", "u1", "tank", "gw-1", 7]
    ]


async def test_a_unit_that_all_rows_share_is_that_of_the_column_and_units_can_be_shown_and_compared(store):
    await fill(store, of_batch(measured_twins()))
    wrong = {}
    for text, units in UNITS:
        found = (await store.answer(parse(text), rows=10)).units
        if found != units:
            wrong[text] = found
    assert wrong == {}
    text = "SELECT name, desired.level.unit FROM twins WHERE reported.level.unit <> 'bar'"
    assert (await store.answer(parse(text), rows=9)).rows == [["t1", "%"], ["t2", "%"]]
    text = "SELECT name FROM twins WHERE reported.level.unit IS NULL"
    assert (await store.answer(parse(text), rows=9)).rows == [["odd"]]
    text = "SELECT name FROM twins WHERE reported.level.unit = 5 OR name = 'odd'"  # unknown whatever it is
    assert (await store.answer(parse(text), rows=9)).rows == [["odd"]]
    text = "SELECT reported.level.unit, COUNT(*) FROM twins GROUP BY reported.level.unit"
    assert (await store.answer(parse(text), rows=9)).rows == [[None, 1], ["%", 2], ["bar", 1]]
    answer = await store.answer(parse("SELECT name, reported.level FROM twins"), rows=1)
    assert ([len(row) for row in answer.rows], str(answer.after)) == ([2], "device/plant/boiler")


async def test_order_and_groups_are_those_of_a_gateway(ask):
    assert await ask("SELECT twin FROM twins") == [
        ["device/cold/cooler"],
        ["device/plant/pump"],
        ["device/plant/tank"],
        ["device/plant/valve"],
        ["gateway/default/gw-1"],
    ]
    rows = await ask("SELECT name, reported.level AS level FROM twins WHERE name <> 'valve' ORDER BY level")
    assert [name for name, _ in rows] == ["gw-1", "pump", "tank", "cooler"]
    rows = await ask("SELECT name FROM twins WHERE name <> 'valve' ORDER BY reported.level DESC LIMIT 3")
    assert [name for (name,) in rows] == ["cooler", "tank", "pump"]
    assert await ask("SELECT COUNT(*) FROM twins") == [[5]]
    assert await ask("SELECT COUNT(*) FROM twins WHERE name = 'nosuch'") == [[0]]
    assert await ask("SELECT COUNT(*) FROM twins WHERE name = 'nosuch' GROUP BY model") == []
    text = "SELECT tags.area AS hall, COUNT(*) AS n FROM twins GROUP BY hall ORDER BY n DESC, hall DESC LIMIT 2"
    assert await ask(text) == [["hall-2", 2], ["hall-1", 1]]
    text = "SELECT reported.pump FROM twins WHERE IS_DEFINED(reported.pump) GROUP BY reported.pump"
    assert await ask(text) == [[False], [None], [True]]
    text = "SELECT reported.level.quality, COUNT(*) FROM twins GROUP BY reported.level.quality"
    assert await ask(text) == [[None, 1], ["bad", 1], ["good", 3]]


async def test_equal_numbers_are_one_group_whatever_their_type(store):
    values = [1, 1.0, 0.0, -0.0, 2**53, 2.0**53, 2**53 + 1]
    async with store.transaction("gw-1") as tx:
        for number, value in enumerate(values):
            key = TwinKey(Kind.DEVICE, "plant", f"t{number}")
            await tx.define(spec(key))
            await tx.join([reported(value, 1, key=key)])
    text = "SELECT reported.level, COUNT(*) FROM twins GROUP BY reported.level"
    found = (await store.answer(parse(text), rows=9)).rows
    assert found == [[0, 2], [1, 2], [2**53, 2], [2**53 + 1, 1]]


async def test_pages_join_into_the_whole_in_the_order_of_the_keys(store):
    keys = [TwinKey(Kind.DEVICE, f"n{number % 3}", f"t{number * 7919 % 300}") for number in range(300)]
    async with store.transaction("gw-1") as tx:
        for number, key in enumerate(keys):
            await tx.define(spec(key))
            await tx.join([reported(number, number + 1, key=key)])
    text = "SELECT twin FROM twins WHERE reported.level < 200"
    for size in (1, 7, 199, 200, 10_000):
        found, after = [], None
        while True:
            answer = await store.answer(parse(text), rows=size, after=after)
            found += [row[0] for row in answer.rows]
            assert (len(answer.rows) <= size, answer.more) == (True, answer.after is not None)
            if (after := answer.after) is None:
                break
        assert found == sorted(map(str, keys[:200]))


@pytest.mark.parametrize(
    ("text", "rows", "more"), [(" LIMIT 2", 3, False), (" LIMIT 2", 2, False), (" LIMIT 3", 2, True), ("", 2, True)]
)
async def test_the_limit_of_the_query_is_no_cut_that_of_the_caller_is(store, ask, text, rows, more):
    answer = await store.answer(parse(f"SELECT name FROM twins ORDER BY name{text}"), rows=rows)
    assert (answer.columns, answer.rows) == (("name",), [["cooler"], ["gw-1"]])
    assert (answer.more, answer.after) == (more, None)


async def test_an_answer_of_many_bytes_is_cut_to_fewer_rows_and_one_row_always_fits(store):
    keys = [TwinKey(Kind.DEVICE, "plant", f"t{number}") for number in range(3)]
    async with store.transaction("gw-1") as tx:
        for number, key in enumerate(keys, 1):
            await tx.define(spec(key))
            await tx.join([reported("ü" * (MAX_ANSWER_BYTES // 3), number, key=key)])  # two thirds in UTF-8
    text, found, after = "SELECT name, reported.level FROM twins", [], None
    while True:
        answer = await store.answer(parse(text), rows=1000, after=after)
        found.append([row[0] for row in answer.rows])
        if (after := answer.after) is None:
            break
    assert found == [["t0"], ["t1"], ["t2"]]
    async with store.transaction("gw-1") as tx:
        await tx.join([reported(["x" * 2 * MAX_ANSWER_BYTES], 9, key=keys[0])])
    assert len((await store.answer(parse("SELECT reported.level FROM twins WHERE name = 't0'"), rows=9)).rows) == 1


async def test_only_some_twins_are_asked_when_these_are_given(ask):
    only = [PUMP, TANK, TwinKey(Kind.DEVICE, "plant", "nosuch")]
    assert await ask("SELECT name FROM twins", only=only) == [["pump"], ["tank"]]
    assert await ask("SELECT name FROM twins WHERE reported.level > 80", only=only) == [["tank"]]
    assert await ask("SELECT COUNT(*) FROM twins", only=only) == [[2]]
    assert await ask("SELECT name FROM twins", only=[]) == []
    assert await ask("SELECT name FROM twins", only=only, after=PUMP) == [["tank"]]


async def test_twins_that_nothing_defines_and_deleted_readings_are_not_found(store, ask):
    async with store.transaction("gw-1") as tx:
        await tx.join([reported(99, 1, uid="u99"), reported(99, 1, key=TwinKey(Kind.DEVICE, "plant", "waiting"))])
        await tx.join([reported(DELETED, 9, key=PUMP, uid="u2")])
    assert await ask("SELECT name FROM twins WHERE reported.level > 98") == []
    assert await ask("SELECT reported.level, reported.level.quality FROM twins WHERE name = 'pump'") == [[None, None]]
    assert await ask("SELECT COUNT(*) FROM twins WHERE IS_DEFINED(reported.level)") == [[3]]


async def test_an_acknowledged_write_is_seen_by_the_next_query(store):
    async with store.transaction("gw-1") as tx:
        await tx.define(spec())
    for number in range(1, 30):
        async with store.transaction("gw-1") as tx:
            await tx.join([reported(number, number)])
        text = f"SELECT name FROM twins WHERE reported.level = {number}"
        assert (await store.answer(parse(text), rows=9)).rows == [["tank"]]


async def test_a_query_that_takes_too_long_is_given_up_and_the_next_one_goes_well(store):
    keys = [TwinKey(Kind.DEVICE, "plant", f"t{number}") for number in range(60)]
    async with store.transaction("gw-1") as tx:
        for number, key in enumerate(keys, 1):
            await tx.define(spec(key, labels=(("text", "a" * 30_000),)))
            await tx.join([reported(number, number, key=key)])
    slow = " OR ".join(f"tags.text LIKE '%{'a' * 100}{number}%'" for number in range(20))
    store._query_max_s = 0.3
    began_s = time.monotonic()
    with pytest.raises(QueryAborted, match=r"given up after 0\.3 s") as caught:
        await store.answer(parse(f"SELECT COUNT(*) FROM twins WHERE {slow}"), rows=9)
    assert time.monotonic() - began_s < 5
    assert "Narrow it" in caught.value.remedy
    store._query_max_s = 3
    assert (await store.answer(parse("SELECT COUNT(*) FROM twins"), rows=9)).rows == [[60]]


async def test_a_slow_query_holds_up_no_transaction(store):
    async with store.transaction("gw-1") as tx:
        for number in range(20):
            key = TwinKey(Kind.DEVICE, "plant", f"t{number}")
            await tx.define(spec(key, labels=(("text", "a" * 30_000),)))
    slow = " OR ".join(f"tags.text LIKE '%{'a' * 100}{number}%'" for number in range(20))
    store._query_max_s = 1
    asked = asyncio.create_task(store.answer(parse(f"SELECT COUNT(*) FROM twins WHERE {slow}"), rows=9))
    turns = 0
    while not asked.done():
        async with store.transaction("gw-1") as tx:
            tx.state.tick += 1
        turns += 1
    with pytest.raises(QueryAborted):
        await asked
    assert turns > 10


async def test_hostile_literals_are_only_ever_compared(ask):
    for fragment in FRAGMENTS:
        literal = fragment.replace("'", "''")
        assert await ask(f"SELECT name FROM twins WHERE reported.mode = '{literal}'") == []
        assert await ask(f"SELECT name FROM twins WHERE tags.\"{fragment.replace(chr(34), chr(34) * 2)}\" = '1'") == []
        assert isinstance(await ask(f"SELECT name FROM twins WHERE STARTSWITH(name, '{literal}')"), list)
        if fragment.count("%") <= 8:
            assert isinstance(await ask(f"SELECT name FROM twins WHERE name LIKE '{literal}'"), list)
    assert await ask("SELECT COUNT(*) FROM twins") == [[5]]


WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\1"), min_size=3, max_size=3)


@pytest.mark.fast
@pytest.mark.parametrize("dialect", [SqliteDialect(), PostgresDialect()])
@given(one=st.tuples(WORDS, WORDS, WORDS), other=st.tuples(WORDS, WORDS, WORDS))
def test_the_sql_of_a_query_is_the_same_whatever_its_names_and_literals_say(dialect, one, other):
    def compiled(label, text, pattern):
        where = p.AllOf(
            (
                p.Compare(p.Tag(label), p.Operator.EQUAL, text),
                p.OneOf(p.Reported("level"), (text, 1, 2.5, True, 2**62 + 1)),
                p.Like(p.Reported("mode"), pattern),
                p.StartsWith(p.Desired("mode"), text),
                p.Compare(p.Column.VERSION, p.Operator.LESS, 2.5),
                p.Compare(p.Column.NAME, p.Operator.LESS, 2.5),
            )
        )
        plan = p.Plan((p.Selected(p.Tag(label), label),), where, order=(p.Order(p.Reported("level"), descending=True),))
        key = TwinKey(Kind.DEVICE, text, pattern)
        return compile_plan(plan, dialect, rows=9, after=key, only=[key]).sql

    assert compiled(*one) == compiled(*other)


async def test_a_query_as_large_as_the_language_allows_is_answered(ask):
    fields = ", ".join(f"desired.p{n} AS d{n}" for n in range(20))
    listed = ", ".join(str(n) for n in range(400))
    text = f"SELECT {fields} FROM twins WHERE {'NOT (' * 9}desired.p1 IN ({listed}){')' * 9} OR name = 'tank'"
    assert await ask(text, rows=1) == [[None] * 20]
    chain = " OR ".join("name = 'tank'" for _ in range(240))
    assert await ask(f"SELECT name FROM twins WHERE {chain}", rows=9) == [["tank"]]
