"""Answers are bounded in rows, bytes and time, and pages join into the whole."""

import pytest

from twin.errors import QueryAborted, StoreError
from twin.query.parse import parse
from twin.query.reader import MAX_ANSWER_BYTES, SqliteReader

pytestmark = pytest.mark.fast


@pytest.fixture
def crowd(store, fleet):
    """Two thousand more twins, in names that sort otherwise than they were made."""
    for number in range(2000):
        twin = fleet.twin(f"t{number * 7919 % 2000}", namespace=f"n{number % 3}")
        fleet.reported(twin, level=number)
    store.write(fleet.batch)


def pages(path, text, rows):
    reader, after = SqliteReader(path), None
    while True:
        answer = reader.run(parse(text), rows=rows, after=after)
        assert len(answer.rows) <= rows
        yield answer
        assert answer.more == (answer.after is not None)
        if (after := answer.after) is None:
            return


@pytest.mark.parametrize("rows", [1, 7, 500, 668, 10_000])
def test_pages_join_into_the_whole_in_the_order_of_the_keys(crowd, path, rows):
    text = "SELECT twin FROM twins WHERE reported.level < 200 AND kind = 'device'"
    found = [row[0] for answer in pages(path, text, rows) for row in answer.rows]
    assert len(found) == 202
    assert found == sorted(found)


def test_a_last_page_that_is_just_full_says_that_nothing_follows(fleet, path):
    (answer,) = pages(path, "SELECT name FROM twins", 5)
    assert (len(answer.rows), answer.more, answer.after) == (5, False, None)


def test_an_ordered_answer_says_when_rows_are_left_out(fleet, path):
    answer = SqliteReader(path).run(parse("SELECT name FROM twins ORDER BY name"), rows=2)
    assert (answer.rows, answer.more, answer.after) == ([["cooler"], ["gw-1"]], True, None)


@pytest.mark.parametrize(("text", "rows", "more"), [("LIMIT 2", 3, False), ("LIMIT 2", 2, False), ("LIMIT 3", 2, True)])
def test_the_limit_of_the_query_is_no_cut_that_of_the_caller_is(fleet, path, text, rows, more):
    answer = SqliteReader(path).run(parse(f"SELECT name FROM twins {text}"), rows=rows)
    assert (len(answer.rows), answer.more, answer.after) == (2, more, None)


def test_an_answer_of_many_bytes_is_cut_to_fewer_rows_and_one_row_always_fits(fleet, store, path):
    for twin in (1, 2, 3):
        fleet.reported(twin, note="ü" * (MAX_ANSWER_BYTES // 3))  # two thirds in UTF-8
    store.write(fleet.batch)
    found = list(pages(path, "SELECT name, reported.note FROM twins WHERE IS_DEFINED(reported.note)", 1000))
    assert [[row[0] for row in answer.rows] for answer in found] == [["cooler"], ["pump"], ["tank"]]
    fleet.reported(1, note=["x" * 2 * MAX_ANSWER_BYTES])
    store.write(fleet.batch)
    assert len(SqliteReader(path).run(parse("SELECT reported.note FROM twins WHERE name = 'tank'"), rows=9).rows) == 1


def test_a_query_that_takes_too_long_is_given_up_and_the_next_one_goes_well(crowd, path):
    with pytest.raises(QueryAborted, match="given up after 0 s") as caught:
        SqliteReader(path, max_s=0).run(parse("SELECT COUNT(*) FROM twins WHERE reported.level > 5"), rows=1)
    assert "Narrow it" in caught.value.remedy
    assert SqliteReader(path).run(parse("SELECT COUNT(*) FROM twins"), rows=1).rows == [[2005]]


def test_a_file_that_is_not_there_or_no_store_is_a_store_error_and_is_not_made(tmp_path):
    with pytest.raises(StoreError, match=r"state\.db"):
        SqliteReader(tmp_path / "state.db").run(parse("SELECT name FROM twins"), rows=1)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "bad.db").write_bytes(b"\7garbage" * 1000)
    with pytest.raises(StoreError, match=r"bad\.db"):
        SqliteReader(tmp_path / "bad.db").run(parse("SELECT name FROM twins"), rows=1)


def test_a_query_as_large_as_the_language_allows_is_answered(fleet, path):
    fields = ", ".join(f"desired.p{n} AS d{n}" for n in range(20))
    listed = ", ".join(str(n) for n in range(400))
    text = f"SELECT {fields} FROM twins WHERE {'NOT (' * 9}desired.p1 IN ({listed}){')' * 9} OR name = 'tank'"
    assert SqliteReader(path).run(parse(text), rows=1).rows == [[None] * 20]
    chain = " OR ".join("name = 'tank'" for _ in range(240))
    assert SqliteReader(path).run(parse(f"SELECT name FROM twins WHERE {chain}"), rows=9).rows == [["tank"]]
