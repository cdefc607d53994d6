"""What is asked of every backend: conditions with the twins that they fit, any condition, and the rules in Python."""

import re

from hypothesis import strategies as st

from twin.document import DELETED, Leaf, Slot
from twin.merge import standing
from twin.model import ConflictPolicy, Kind, PropertySpec, Quality, Reason, Section, TwinKey, TwinSpec
from twin.query import plan as p
from twin.query.fields import title
from twin.store import TwinRow

FITTING = [
    ("reported.level > 0", "pump tank"),
    ("reported.level >= 80 AND reported.level <= 80.0", "pump"),
    ("reported.level = '81.5'", "cooler"),
    ("tags.area = '81.5'", "gw-1"),
    ("tags.area = 81.5", ""),
    ("name > 5", ""),
    ("version > 5", "tank"),
    ("version = '7'", ""),
    ("reported.pump = true", "tank"),
    ("reported.pump <> true", "pump"),
    ("NOT reported.pump = true", "pump"),  # missing, null and other types are unknown, and so is their opposite
    ("reported.pump = 1", ""),
    ("reported.pump = 'true'", ""),
    ("reported.level = true", ""),
    ("reported.level <> 5", "pump tank"),
    ("NOT reported.level IN (5)", "pump tank"),
    ("reported.level IN (80, '81.5', true)", "cooler pump"),
    ("reported.level NOT IN (80, '81')", "cooler tank"),
    ("reported.pump IN (true, 3)", "tank"),
    ("tags.area IN ('hall-1', 'hall-2', 7)", "cooler pump tank"),
    ("reported.mode LIKE 'auto'", "tank"),
    ("reported.mode LIKE 'A_to'", "pump"),
    ("reported.mode LIKE '10%'", "cooler"),
    ("reported.mode LIKE '*'", ""),
    ("reported.mode LIKE '[a]uto'", ""),
    ("reported.mode NOT LIKE '%o'", "cooler"),
    ("STARTSWITH(reported.mode, '10%')", "cooler"),
    ("STARTSWITH(reported.level, '8')", "cooler"),
    ("STARTSWITH(name, '')", "cooler gw-1 pump tank valve"),
    ("reported.level IS NULL", "gw-1 valve"),
    ("reported.level IS NOT NULL", "cooler pump tank"),
    ("IS_DEFINED(reported.level)", "cooler pump tank valve"),
    ("NOT IS_DEFINED(tags.area)", "valve"),
    ("reported.note IS NOT NULL", "tank"),
    ("reported.note = '{\"a\": 1}'", ""),
    ("reported.level.quality = 'bad'", "pump"),
    ("reported.level.quality <> 'bad'", "cooler tank valve"),
    ("reported.level.reason = 'timeout'", "pump"),
    ("reported.level.at > 1000", "pump"),
    ("reported.level.by = 'mapper'", "cooler pump tank valve"),
    ("desired.valve = 40", "tank"),
    ("desired.valve = 2", "valve"),
    ("desired.valve.by = 'cloud'", "valve"),
    ("IS_DEFINED(desired.valve)", "tank valve"),
    ("IS_DEFINED(desired.valve.at)", "tank valve"),
    ('reported."fan-speed" BETWEEN 700 AND 700', "tank"),
    ("twin = 'device/plant/tank'", "tank"),
    ("kind = 'gateway'", "gw-1"),
    ("model = 'tank' AND gateway = ''", "cooler"),
    ("uid = 'u2'", "pump"),
]
"""Conditions, and the names of the twins of the fleet that they fit."""

UNITS = [
    ("SELECT name, reported.level, desired.level FROM twins WHERE name LIKE 't%'", ("", "%", "%")),
    ("SELECT reported.level AS l, name FROM twins WHERE name = 'boiler' ORDER BY name", ("bar", "")),
    ("SELECT reported.level FROM twins", ("",)),  # several
    ("SELECT reported.level FROM twins WHERE name IN ('t1', 'odd')", ("",)),
    ("SELECT reported.level FROM twins WHERE name = 'nobody'", ("",)),
    ("SELECT reported.level.at, reported.level.unit FROM twins WHERE name = 't1'", ("", "")),
    ("SELECT reported.level, COUNT(*) FROM twins WHERE name = 't1' GROUP BY reported.level", ("", "")),
]
"""Queries of measured twins, and the units of their columns."""

NAMES = ("p", "q-r", "a.b/c")
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4) | st.sampled_from(
    ["a", "A", "ab", "1", "", "%", "_", "*", "[a]", "'", '"', "good", "bad", "device", "hall", "\\"]
)
NUMBERS = st.integers(-3, 3) | st.sampled_from([-1.5, 0.0, 1.0, 2.0, 2**63 - 1, 1e300])
JSON = st.none() | st.booleans() | NUMBERS | TEXT | st.sampled_from([2**64, [], [1], {"a": "a"}])
LITERALS = st.booleans() | NUMBERS | TEXT
PROPERTIES = st.sampled_from(NAMES)
FIELDS = st.one_of(
    st.sampled_from(p.Column),
    st.builds(p.Tag, st.sampled_from(["hall", "x y"])),
    st.builds(p.Reported, PROPERTIES, st.sampled_from(p.Part)),
    st.builds(p.Desired, PROPERTIES, st.sampled_from([p.Part.VALUE, p.Part.AT, p.Part.BY, p.Part.UNIT])),
)


def compares(draw):
    field, literal = draw(FIELDS), draw(LITERALS)
    some = list(p.Operator)[:2] if isinstance(literal, bool) else list(p.Operator)
    return p.Compare(field, draw(st.sampled_from(some)), literal)


CONDITIONS = st.recursive(
    st.one_of(
        st.composite(compares)(),
        st.builds(p.OneOf, FIELDS, st.lists(LITERALS, min_size=1, max_size=3).map(tuple)),
        st.builds(p.Like, FIELDS, TEXT),
        st.builds(p.StartsWith, FIELDS, TEXT),
        st.builds(p.IsNull, FIELDS),
        st.builds(p.IsDefined, FIELDS),
    ),
    lambda inner: st.one_of(
        st.builds(p.Not, inner),
        st.builds(p.AllOf, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(p.AnyOf, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=5,
)
SLOTS = st.builds(
    Slot,
    st.just(DELETED) | JSON,
    st.integers(1, 4),
    st.integers(0, 4),
    TEXT,
    st.integers(0, 3),
)
REPORTED = st.builds(
    Slot, JSON, st.just(1), st.just(0), TEXT, st.integers(0, 3), st.sampled_from(Quality), st.sampled_from(Reason)
)


@st.composite
def twins(draw, number):
    policies = {
        name: PropertySpec(name, conflict=draw(st.sampled_from(ConflictPolicy)), unit=draw(st.sampled_from(["", "%"])))
        for name in NAMES[:2]
    }
    key = TwinKey(draw(st.sampled_from([Kind.DEVICE, Kind.POD])), "plant", f"t{number}")
    labels = draw(st.dictionaries(st.sampled_from(["hall", "x y"]), TEXT, max_size=2))
    spec = TwinSpec(key, f"u{number}", draw(TEXT), "gw", tuple(labels.items()), policies)
    reported = draw(st.dictionaries(PROPERTIES, REPORTED, max_size=2))
    leaves = st.builds(Leaf, st.none() | SLOTS, st.none() | SLOTS)
    return (
        TwinRow(number, spec, draw(st.integers(1, 3))),
        reported,
        draw(st.dictionaries(PROPERTIES, leaves, max_size=2)),
    )


MISSING = object()


def value_of(field, twin):
    row, reported, desired = twin
    if isinstance(field, p.Column):
        own = {"twin": str(row.spec.key), "version": row.version}
        return own.get(field.value) or getattr(row.spec, field.value, None) or getattr(row.spec.key, field.value, "")
    if isinstance(field, p.Tag):
        return dict(row.spec.labels).get(field.label, MISSING)
    if field.part is p.Part.UNIT:
        spec = row.spec.properties.get(field.property)
        return spec.unit if spec is not None and spec.unit else MISSING
    if isinstance(field, p.Reported):
        slot = reported.get(field.property)
    else:
        policy = row.spec.properties[field.property].conflict if field.property in row.spec.properties else "latest"
        slot = standing(desired.get(field.property, Leaf()), ConflictPolicy(policy))
    return MISSING if slot is None else getattr(slot, field.part.value)


def family(value):
    if isinstance(value, bool):
        return "bool"
    if (isinstance(value, int | float) and abs(value) < 2**63) or isinstance(value, float):
        return "number"
    return "text" if isinstance(value, str) else None


def compared(value, operator, literal):
    if family(value) != family(literal):
        return None
    return {
        p.Operator.EQUAL: value == literal,
        p.Operator.NOT_EQUAL: value != literal,
        p.Operator.LESS: value < literal,
        p.Operator.AT_MOST: value <= literal,
        p.Operator.GREATER: value > literal,
        p.Operator.AT_LEAST: value >= literal,
    }[operator]


def holds(condition, twin):
    """True, False, or None for unknown."""
    match condition:
        case p.Not(inner):
            known = holds(inner, twin)
            return None if known is None else not known
        case p.AllOf(conditions):
            known = [holds(one, twin) for one in conditions]
            return False if False in known else None if None in known else True
        case p.AnyOf(conditions):
            known = [holds(one, twin) for one in conditions]
            return True if True in known else None if None in known else False
    value = value_of(condition.field, twin)
    match condition:
        case p.IsDefined():
            return value is not MISSING
        case p.IsNull():
            return value is MISSING or value is None
        case p.Compare(_, operator, literal):
            return compared(value, operator, literal)
        case p.OneOf(_, literals):
            known = [compared(value, p.Operator.EQUAL, one) for one in literals]
            return True if True in known else False if False in known else None
        case p.Like(_, pattern):
            regex = "".join({"%": ".*", "_": "."}.get(one, re.escape(one)) for one in pattern)
            return re.fullmatch(regex, value, re.DOTALL) is not None if isinstance(value, str) else None
        case p.StartsWith(_, prefix):
            return value.startswith(prefix) if isinstance(value, str) else None


def written(condition):
    """The condition as a query's text."""
    match condition:
        case p.Not(inner):
            return f"NOT ({written(inner)})"
        case p.AllOf(conditions):
            return " AND ".join(f"({written(one)})" for one in conditions)
        case p.AnyOf(conditions):
            return " OR ".join(f"({written(one)})" for one in conditions)
    field = ".".join(f'"{part}"' for part in parts_of(condition.field))
    match condition:
        case p.IsDefined():
            return f"IS_DEFINED({field})"
        case p.IsNull():
            return f"{field} IS NULL"
        case p.Compare(_, operator, literal):
            return f"{field} {operator} {quoted(literal)}"
        case p.OneOf(_, literals):
            return f"{field} IN ({', '.join(map(quoted, literals))})"
        case p.Like(_, pattern):
            return f"{field} LIKE {quoted(pattern)}"
        case p.StartsWith(_, prefix):
            return f"STARTSWITH({field}, {quoted(prefix)})"


def parts_of(field):
    match field:
        case p.Column():
            return [field.value]
        case p.Tag(label):
            return ["tags", label]
        case p.Reported(name, part) | p.Desired(name, part):
            root = Section.REPORTED if isinstance(field, p.Reported) else Section.DESIRED
            assert title(field).startswith(f"{root}.{name}")
            return [root, name] if part is p.Part.VALUE else [root, name, part]


def quoted(literal):
    if isinstance(literal, bool):
        return str(literal).lower()
    return "'" + literal.replace("'", "''") + "'" if isinstance(literal, str) else repr(literal)
