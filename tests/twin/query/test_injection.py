"""Nothing of a query's text becomes SQL: names and literals are parameters, all else is made of known words."""

import re
import sqlite3

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from twin.errors import InvalidQuery
from twin.model import PROPERTY
from twin.query.parse import parse
from twin.query.reader import SqliteReader
from twin.query.sqlite import compile_plan

pytestmark = pytest.mark.fast

FRAGMENTS = [
    *(
        "'",
        "''",
        '"',
        "\\",
        "\\'",
        ";",
        "--",
        "/*",
        "*/",
        "`",
        "[",
        "]",
        "(",
        ")",
        "%",
        "_",
        "?",
        "?1",
        ":a",
        "@a",
        "$1",
    ),
    *("' OR '1'='1", "'; DROP TABLE leaf; --", "x' UNION SELECT spec FROM twin --", "1; ATTACH 'x' AS y", "\n", "\t"),
    *(
        "PRAGMA user_version = 9",
        "load_extension('x')",
        "DROP",
        "TABLE",
        "leaf",
        "j0.value",
        "t.spec",
        "0 OR 1=1",
        "NULL",
    ),
    *("\u2019", "\uff07", "\u02bc", "'||(SELECT name FROM sqlite_master)||'", "x'00'", "$.properties", "{{", "}}", "#"),
    *(
        "SELECT",
        "FROM",
        "twins",
        "WHERE",
        "AND",
        "name",
        "tags.a",
        "reported.level",
        ",",
        " ",
        "=",
        ">",
        "1",
        "LIKE",
        "Ä",
    ),
    *(
        "ORDER BY",
        "GROUP BY",
        "LIMIT",
        "COUNT(*)",
        "AS",
        "IN",
        "CASE",
        "CAST",
        "::",
        "EXISTS",
        "SELECT name FROM twins",
    ),
]
HOSTILE = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), min_size=1, max_size=5).map("".join)
SENDABLE = HOSTILE.filter(lambda text: "\0" not in text and text.isprintable())

WORDS = set(
    re.findall(
        r"\w+",
        """
    SELECT FROM twin t LEFT JOIN label leaf ON AND OR NOT WHERE GROUP BY ORDER DESC LIMIT IN IS NULL GLOB CASE WHEN THEN
    ELSE END typeof substr count max coalesce nullif json_extract json_valid
    v id kind namespace name uid model gateway version spec value
    property section site tick seen by at quality reason
    """,
    )
)
BYTES = ("x'6e756c6c'", "x'74727565'", "x'66616c7365'")


def assert_made_of_known_words(sql):
    bare = re.sub(r"'(null|text|integer|real|edge|cloud|good|uncertain|bad|/)'", "", sql)
    for literal in BYTES:
        bare = bare.replace(literal, "")
    assert not re.search(r"['\"`;\[\]\\#@$:{}]|--|/\*", bare), sql
    assert {word for word in re.findall(r"[A-Za-z_]\w*", bare) if not re.fullmatch(r"j\d+[ec]?", word)} <= WORDS, sql


def identifier(text):
    return '"' + text.replace('"', '""') + '"'


def literal(text):
    return "'" + text.replace("'", "''") + "'"


PLACES = {
    "compared": lambda text: f"SELECT name FROM twins WHERE reported.level = {literal(text)}",
    "of a column": lambda text: f"SELECT name FROM twins WHERE name >= {literal(text)}",
    "listed": lambda text: f"SELECT name FROM twins WHERE tags.area NOT IN ({literal(text)}, 1)",
    "a prefix": lambda text: f"SELECT name FROM twins WHERE STARTSWITH(desired.level, {literal(text[:3].ljust(3))})",
    "a label": lambda text: f"SELECT tags.{identifier(text)} AS a FROM twins ORDER BY a",
    "an alias": lambda text: f"SELECT kind AS {identifier(text)} FROM twins ORDER BY {identifier(text)}",
    "a group": lambda text: f"SELECT tags.{identifier(text)}, COUNT(*) FROM twins GROUP BY tags.{identifier(text)}",
}


@pytest.mark.parametrize("place", PLACES)
@settings(deadline=None, max_examples=150)
@given(text=SENDABLE)
def test_hostile_text_in_quotes_is_a_parameter_and_changes_no_sql(place, text):
    statement = compile_plan(parse(PLACES[place](text)), rows=10)
    assert statement.sql == compile_plan(parse(PLACES[place]("zzz")), rows=10).sql
    assert place in ("a prefix", "an alias") or text in statement.parameters
    assert_made_of_known_words(statement.sql)


@settings(deadline=None, max_examples=200)
@given(text=SENDABLE)
@example(text="level.at")
def test_a_hostile_property_is_refused_or_a_parameter(text):
    query = f"SELECT reported.{identifier(text)} FROM twins WHERE desired.{identifier(text)}.at > 1"
    if PROPERTY.fullmatch(text) is None:
        with pytest.raises(InvalidQuery):
            parse(query)
        return
    statement = compile_plan(parse(query), rows=10)
    assert statement.parameters.count(text) == 2
    assert f'$.properties."{text}".conflict' in statement.parameters
    assert_made_of_known_words(statement.sql)


@settings(deadline=None, max_examples=600)
@given(
    head=st.sampled_from(["", "SELECT ", "SELECT name FROM twins ", "SELECT name FROM twins WHERE name = 'a' "]),
    text=st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), max_size=8),
    glue=st.sampled_from(["", " "]),
)
def test_any_text_is_refused_or_becomes_sql_of_known_words(head, text, glue):
    try:
        plan = parse(head + glue.join(text))
    except InvalidQuery:
        return
    assert_made_of_known_words(compile_plan(plan, rows=10).sql)


@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_hostile_literals_are_only_ever_compared(fleet, path, ask, fragment):
    before = dump(path)
    assert ask(f"SELECT name FROM twins WHERE name = {literal(fragment)}") == []
    assert ask(f"SELECT name FROM twins WHERE tags.{identifier(fragment)} = {literal(fragment)}") == []
    assert ask(f"SELECT COUNT(*) FROM twins WHERE reported.mode LIKE {literal(fragment + 'Z')}") == [[0]]
    assert dump(path) == before


def test_the_connection_could_not_write_if_it_were_told_to(fleet, path):
    with SqliteReader(path)._connection() as db:
        for statement in ("DELETE FROM leaf", "PRAGMA user_version = 9", "CREATE TEMP TABLE x (a)", "DROP TABLE twin"):
            with pytest.raises(sqlite3.OperationalError, match=r"readonly|read-only|query_only"):
                db.execute(statement)


def dump(path):
    with sqlite3.connect(path) as db:
        lines = list(db.iterdump())
    db.close()
    return lines
