"""What the language takes, as plans; what it does not, with place and reason."""

import pytest

from twin.errors import InvalidQuery
from twin.query.parse import MAX_COLUMNS, parse
from twin.query.plan import (
    AllOf,
    AnyOf,
    Column,
    Compare,
    Count,
    Desired,
    IsDefined,
    IsNull,
    Like,
    Not,
    OneOf,
    Operator,
    Order,
    Part,
    Plan,
    Reported,
    Selected,
    StartsWith,
    Tag,
)

pytestmark = pytest.mark.fast

NAME = Selected(Column.NAME, "name")
LEVEL = Reported("level")


def where(condition):
    return parse(f"SELECT name FROM twins WHERE {condition}").where


def test_the_query_of_the_manual_is_read_whole():
    plan = parse(
        "SELECT name, reported.level AS level FROM twins WHERE tags.area = 'hall-2' AND reported.level > 80"
        " ORDER BY level DESC, uid LIMIT 5"
    )
    assert plan == Plan(
        (NAME, Selected(LEVEL, "level")),
        AllOf((Compare(Tag("area"), Operator.EQUAL, "hall-2"), Compare(LEVEL, Operator.GREATER, 80))),
        order=(Order(LEVEL, descending=True), Order(Column.UID)),
        limit=5,
    )
    assert not plan.pageable


@pytest.mark.parametrize(
    ("text", "field", "title"),
    [
        *((column.value, column, column.value) for column in Column),
        ("tags.area", Tag("area"), "tags.area"),
        ('tags."any label, ""quoted"""', Tag('any label, "quoted"'), 'tags.any label, "quoted"'),
        ("reported.level", LEVEL, "reported.level"),
        ('reported."fan-speed"', Reported("fan-speed"), "reported.fan-speed"),
        ('reported."a.b/c:d@e#f,g".by', Reported("a.b/c:d@e#f,g", Part.BY), "reported.a.b/c:d@e#f,g.by"),
        ("reported.level.quality", Reported("level", Part.QUALITY), "reported.level.quality"),
        ("reported.level.reason", Reported("level", Part.REASON), "reported.level.reason"),
        ("reported.level.at", Reported("level", Part.AT), "reported.level.at"),
        ("desired.valve", Desired("valve"), "desired.valve"),
        ("desired.valve.by", Desired("valve", Part.BY), "desired.valve.by"),
        ("reported.index", Reported("index"), "reported.index"),
        ('reported."select"', Reported("select"), "reported.select"),
        ("reported.quality", Reported("quality"), "reported.quality"),
    ],
)
def test_a_field_is_read_and_called_as_it_is_written(text, field, title):
    assert parse(f"SELECT {text} FROM twins").selected == (Selected(field, title),)


def test_a_star_is_all_that_twins_themselves_have():
    titles = [one.title for one in parse("SELECT *, reported.level FROM twins").selected]
    assert titles == ["kind", "namespace", "name", "uid", "model", "gateway", "version", "reported.level"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("reported.level >= -1.5", Compare(LEVEL, Operator.AT_LEAST, -1.5)),
        ("80 < reported.level", Compare(LEVEL, Operator.GREATER, 80)),
        ("5 = reported.level", Compare(LEVEL, Operator.EQUAL, 5)),
        ("reported.level != 9223372036854775807", Compare(LEVEL, Operator.NOT_EQUAL, 2**63 - 1)),
        ("reported.level <> 1e3", Compare(LEVEL, Operator.NOT_EQUAL, 1000.0)),
        ("reported.level = true", Compare(LEVEL, Operator.EQUAL, True)),
        ("name = 'it''s'", Compare(Column.NAME, Operator.EQUAL, "it's")),
        (r"name = 'a\'", Compare(Column.NAME, Operator.EQUAL, "a\\")),
        ("name = '-- /* ; */'", Compare(Column.NAME, Operator.EQUAL, "-- /* ; */")),
        ("name LIKE 'p_mp%'", Like(Column.NAME, "p_mp%")),
        ("name NOT LIKE 'p%'", Not(Like(Column.NAME, "p%"))),
        ("STARTSWITH(name, 'p')", StartsWith(Column.NAME, "p")),
        ("reported.level IN (1, 'a', -2)", OneOf(LEVEL, (1, "a", -2))),
        ("reported.level NOT IN (1)", Not(OneOf(LEVEL, (1,)))),
        ("reported.level IS NULL", IsNull(LEVEL)),
        ("reported.level IS NOT NULL", Not(IsNull(LEVEL))),
        ("is_defined(reported.level)", IsDefined(LEVEL)),
        (
            "reported.level NOT BETWEEN 1 AND 2",
            Not(AllOf((Compare(LEVEL, Operator.AT_LEAST, 1), Compare(LEVEL, Operator.AT_MOST, 2)))),
        ),
    ],
)
def test_a_condition_is_read(text, wanted):
    assert where(text) == wanted


def test_and_binds_closer_than_or_and_not_closest():
    a, b, c = (Compare(Column.NAME, Operator.EQUAL, letter) for letter in "abc")
    assert where("name = 'a' OR NOT name = 'b' AND name = 'c'") == AnyOf((a, AllOf((Not(b), c))))
    assert where("(name = 'a' OR name = 'b') AND name = 'c'") == AllOf((AnyOf((a, b)), c))


def test_groups_are_counted_and_ordered_by_their_count():
    plan = parse("SELECT tags.area AS hall, COUNT(*) AS n FROM twins GROUP BY hall ORDER BY n DESC, COUNT(*)")
    assert plan.selected == (Selected(Tag("area"), "hall"), Selected(Count(), "n"))
    assert plan.group == (Tag("area"),)
    assert plan.order == (Order(Count(), descending=True), Order(Count()))
    assert plan.grouped
    assert parse("SELECT COUNT(*) FROM twins").selected == (Selected(Count(), "count"),)


def test_a_long_chain_of_conditions_is_no_nesting():
    chain = where(" OR ".join("NOT name = 'a'" for _ in range(150)))
    assert isinstance(chain, AnyOf)
    assert len(chain.conditions) == 150
    assert len(where(" AND ".join("(name = 'a')" for _ in range(150))).conditions) == 150


REFUSED = [
    ("", 1, "begins with SELECT"),
    ("DELETE FROM twins", 1, "begins with SELECT"),
    ("WITH a AS (SELECT 1) SELECT name FROM a", 1, "begins with SELECT"),
    ("PRAGMA user_version", 1, "begins with SELECT"),
    ("SELECT name", 8, "FROM twins is missing"),
    ("SELECT name FROM", 16, "'FROM' is not expected"),
    ("SELECT FROM twins", 1, "1 to 50 columns"),
    ("SELECT name FROM leaf", 18, "only FROM twins"),
    ("SELECT name FROM main.twins", 18, "DB is not part"),
    ("SELECT name FROM twins t", 24, "ALIAS is not part"),
    ("SELECT name FROM twins, leaf", 25, "JOINS is not part"),
    ("SELECT name FROM twins JOIN leaf ON true", 29, "JOINS is not part"),
    ("SELECT name FROM (SELECT name FROM twins)", 26, "SUBQUERY is not part"),
    ("SELECT name FROM twins UNION SELECT name FROM twins", 1, "one SELECT"),
    ("SELECT name FROM twins; DROP TABLE twin", 23, "without a semicolon"),
    ("SELECT name FROM twins -- all", 18, "comment"),
    ("SELECT /* x */ name FROM twins", 1, "comment"),
    ("SELECT DISTINCT name FROM twins", 17, "DISTINCT is not part"),
    ("SELECT nosuch FROM twins", 8, "there is no field 'nosuch'; there are twin, kind"),
    ("SELECT Name FROM twins", 8, "there is no field 'Name'"),
    ("SELECT reported FROM twins", 8, "reported.PROPERTY"),
    ("SELECT reported.level.nosuch FROM twins", 8, "only quality, reason, at, by"),
    ("SELECT desired.level.quality FROM twins", 8, "only at, by"),
    ("SELECT reported.a.b.c FROM twins", 8, "after reported.a"),
    ("SELECT a.b.c.d.e FROM twins", 8, "at most three names"),
    ("SELECT delta.valve FROM twins", 8, "compare desired and reported"),
    ("SELECT reported.fan-speed FROM twins", 8, 'reported."fan-speed"'),
    ('SELECT reported."x y" FROM twins', 8, "is no property name"),
    ("SELECT reported.select FROM twins", 22, "stand in double quotes"),
    ("SELECT tags.a.b FROM twins", 8, "after tags comes one name"),
    ("SELECT UPPER(name) FROM twins", 8, "the function UPPER"),
    ("SELECT 1 FROM twins", 8, "a field is expected here, not a literal"),
    ("SELECT twins.* FROM twins", 8, "a field is expected"),
    ("SELECT * EXCEPT (name) FROM twins", 18, "EXCEPT is not part"),
    ("SELECT name AS a, kind AS a FROM twins", 19, "two columns are called 'a'"),
    ("SELECT COUNT(name) FROM twins", 8, "only COUNT"),
    ("SELECT COUNT(DISTINCT name) FROM twins", 23, "DISTINCT"),
    ("SELECT name, COUNT(*) FROM twins", 8, "name differs within a group"),
    ("SELECT name FROM twins ORDER BY COUNT(*)", 8, "name differs within a group"),
    ("SELECT COUNT(*) FROM twins ORDER BY name", 8, "name differs within a group"),
    ("SELECT COUNT(*) AS n FROM twins GROUP BY n", 42, "no group"),
    ("SELECT model FROM twins GROUP BY 1", 34, "a field is expected"),
    ("SELECT model FROM twins GROUP BY DISTINCT model", 43, "fields only"),
    ("SELECT model FROM twins GROUP BY ROLLUP (model)", 42, "ROLLUP"),
    ("SELECT name FROM twins HAVING COUNT(*) > 1", 31, "HAVING"),
    ("SELECT name FROM twins WHERE reported.pump", 30, "to ask for true, write = true"),
    ("SELECT name FROM twins WHERE 1 = 1", 30, "a field is expected"),
    ("SELECT name FROM twins WHERE name = uid", 37, "not another field"),
    ('SELECT name FROM twins WHERE name = "a"', 37, "text in single quotes"),
    ("SELECT name FROM twins WHERE name = NULL", 30, "use IS NULL"),
    ("SELECT name FROM twins WHERE reported.pump > true", 30, "no order"),
    ("SELECT name FROM twins WHERE reported.pump BETWEEN false AND true", 30, "no order"),
    ("SELECT name FROM twins WHERE name IS TRUE", 30, "NULL or NOT NULL only"),
    ("SELECT name FROM twins WHERE name = 'a' || 'b'", 37, "DPIPE"),
    ("SELECT name FROM twins WHERE name = 'a", 38, "not closed"),
    ("SELECT name FROM twins WHERE name ILIKE 'a'", 30, "ILIKE"),
    ("SELECT name FROM twins WHERE name LIKE 'a' ESCAPE 'b'", 30, "ESCAPE"),
    ("SELECT name FROM twins WHERE name LIKE uid", 40, "text in single quotes"),
    ("SELECT name FROM twins WHERE name LIKE '%a%a%a%a%a%a%a%a%'", 30, "more than 8 times"),
    ("SELECT name FROM twins WHERE name IN (SELECT name FROM twins)", 46, "QUERY is not part"),
    ("SELECT name FROM twins WHERE name IN ()", 30, "list of literals"),
    ("SELECT name FROM twins WHERE name = ?", 30, "PLACEHOLDER"),
    ("SELECT name FROM twins WHERE name = :a", 30, "PLACEHOLDER"),
    ("SELECT name FROM twins WHERE load_extension('x') = 1", 30, "the function load_extension"),
    ("SELECT name FROM twins WHERE f(name)", 30, "functions are IS_DEFINED"),
    ("SELECT name FROM twins WHERE version = 9223372036854775808", 40, "63 bits"),
    ("SELECT name FROM twins WHERE version = 1e999", 40, "too large"),
    ("SELECT name FROM twins WHERE version = - - 1", 44, "not NEG"),
    ("SELECT name FROM twins WHERE name = x'00'", 41, "not expected"),
    ("SELECT name FROM twins ORDER BY 1", 33, "a field is expected"),
    ("SELECT name FROM twins ORDER BY name NULLS LAST", 33, "NULLS FIRST"),
    ("SELECT name FROM twins ORDER BY name COLLATE nocase", 33, "COLLATE"),
    ("SELECT name FROM twins LIMIT 0", 30, "1 to 10000"),
    ("SELECT name FROM twins LIMIT 10001", 30, "1 to 10000"),
    ("SELECT name FROM twins LIMIT 1.5", 30, "1 to 10000"),
    ("SELECT name FROM twins LIMIT 5 OFFSET 5", 39, "OFFSET"),
    ("SELECT name FROM twins FOR UPDATE", 8, "LOCKS"),
    ("SELECT name INTO x FROM twins", 18, "INTO"),
    ("SELECT name \0 FROM twins", 13, "this character"),
    ("SELECT name \ud800 FROM twins", 13, "this character"),
    ("SELECT name FROM twins WHERE " + "NOT " * 21 + "name = 'a'", 110, "more than 20"),
    ("SELECT name FROM twins WHERE " + "(" * 21 + "name = 'a'" + ")" * 21, 50, "more than 20"),
    ("SELECT name FROM twins WHERE " + "NOT (" * 11 + "name = 'a'" + ")" * 11, 80, "more than 20"),
    ("SELECT name FROM twins WHERE version = " + "- " * 21 + "1", 80, "more than 20"),
    ("SELECT name FROM twins WHERE name = '" + "x" * 10_000 + "'", 1, "10000 bytes"),
    ("SELECT name FROM twins WHERE name = '" + "ü" * 5_000 + "'", 1, "10000 bytes"),
    ("SELECT name FROM twins WHERE version IN (" + "1," * 500 + "1)", 1034, "1000 words"),
    ("SELECT " + ",".join(f"reported.p{n}" for n in range(21)) + " FROM twins", 258, "20 different labels"),
    ("SELECT " + ",".join(f"name AS p{n}" for n in range(MAX_COLUMNS + 1)) + " FROM twins", 598, "1 to 50 columns"),
]


@pytest.mark.parametrize(("text", "column", "reason"), REFUSED, ids=[text[:60] for text, _, _ in REFUSED])
def test_what_is_not_in_the_language_is_refused_with_place_reason_and_remedy(text, column, reason):
    with pytest.raises(InvalidQuery) as caught:
        parse(text)
    assert caught.value.message.startswith(f"query, line 1, column {column}: ")
    assert reason in caught.value.message
    assert "docs/query.md" in caught.value.remedy


def test_the_place_is_that_of_the_line_as_well():
    with pytest.raises(InvalidQuery, match="line 4, column 3: there is no field 'oops'"):
        parse("SELECT name FROM twins\nWHERE\n  name = 'ü' AND\n  oops = 3")
