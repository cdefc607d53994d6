"""The small pure rules: deadband, delta, validation, ticks."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.deadband import absolute, equal, same
from twin.delta import delta, met
from twin.document import DELETED, Leaf, Slot
from twin.model import ConflictPolicy, PropertySpec, ReportPolicy, ValueType
from twin.tick import Ticker
from twin.validate import Rule, violation

pytestmark = pytest.mark.fast

FINITE = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FINITE | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
HUGE = 10**400


# -- deadband ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "limits", "expected"),
    [
        (ReportPolicy(), (0, 100), 0.0),
        (ReportPolicy(deadband=0.5), (None, None), 0.5),
        (ReportPolicy(deadband_percent=2), (0, 50), 1.0),
        (ReportPolicy(deadband_percent=2), (None, 50), 0.0),
        (ReportPolicy(deadband_percent=2), (0, None), 0.0),
        (ReportPolicy(deadband=3, deadband_percent=2), (0, 50), 3),
        (ReportPolicy(deadband=0.1, deadband_percent=2), (-50, 50), 2.0),
    ],
)
def test_the_larger_deadband_counts_and_a_percentage_needs_both_limits(policy, limits, expected):
    spec = PropertySpec("p", ValueType.DOUBLE, minimum=limits[0], maximum=limits[1], report=policy)
    assert absolute(spec) == expected


@pytest.mark.parametrize(
    ("last", "value", "deadband", "expected"),
    [
        (1.0, 1.5, 0.5, True),
        (1.0, 1.51, 0.5, False),
        (2, 1, 1, True),
        (1, 1.0, 0.0, True),
        (1, 2, 0.0, False),
        (True, 1, 0.5, False),
        (1, True, 0.0, False),
        (False, 0, 5.0, False),
        (True, True, 0.5, True),
        ("1", 1, 9.0, False),
        ([1], [True], 0.0, False),
        ({"on": 1}, {"on": True}, 0.0, False),
        ({"on": [1, {"x": False}]}, {"on": [1.0, {"x": False}]}, 0.0, True),
        (HUGE, 1.5, 0.5, False),
        (1.5, HUGE, 0.5, False),
        (HUGE, HUGE + 1, 1.0, True),
        (1.7e308, -1.7e308, 1.0, False),
    ],
)
def test_same(last, value, deadband, expected):
    assert same(last, value, deadband) is expected


@given(FINITE, FINITE, st.floats(0, 1e9))
def test_same_is_symmetric_and_within_the_deadband(a, b, deadband):
    assert same(a, b, deadband) is same(b, a, deadband) is (abs(a - b) <= deadband)


@given(JSON)
def test_a_value_equals_itself(value):
    assert equal(value, value)


@given(JSON, JSON)
def test_equal_means_the_same_json_but_for_the_form_of_a_number(a, b):
    def shape(value):
        if isinstance(value, list):
            return tuple(map(shape, value))
        if isinstance(value, dict):
            return frozenset((name, shape(one)) for name, one in value.items())
        return (type(value) is bool, value)

    def tagged(value):
        return (type(value) in (list, dict) and type(value).__name__, shape(value))

    assert equal(a, b) is (tagged(a) == tagged(b))


# -- delta -------------------------------------------------------------------------------------------------------------


def test_delta_holds_what_stands_and_is_not_reported():
    spec = {
        "near": PropertySpec("near", ValueType.DOUBLE, tolerance=0.5),
        "cloud": PropertySpec("cloud", conflict=ConflictPolicy.CLOUD),
    }
    desired = {
        "near": Leaf(edge=Slot(10.0, 1)),
        "far": Leaf(edge=Slot(10.0, 2)),
        "unread": Leaf(cloud=Slot(None, 3)),
        "gone": Leaf(edge=Slot(DELETED, 4)),
        "cloud": Leaf(Slot("e", 5, 0, at=9), Slot("c", 6, 0, at=1)),
    }
    reported = {"near": Slot(10.5, 1), "far": Slot(10.4, 1), "cloud": Slot("e", 1)}
    found = delta(desired, reported, spec)
    assert {name: slot.value for name, slot in found.items()} == {"far": 10.0, "unread": None, "cloud": "c"}


@pytest.mark.parametrize(
    ("desired", "reported", "tolerance", "expected"),
    [
        (1, 1.0, 0.0, True),
        (1, True, 0.0, False),
        (True, 1, 5.0, False),
        (False, False, 0.0, True),
        (10, 11, 1.0, True),
        (10, 11.1, 1.0, False),
        (None, None, 0.0, True),
        ({"a": 1}, {"a": 1.0}, 0.0, True),
        ({"a": 1}, {"a": True}, 0.0, False),
        (HUGE, 1.5, 0.1, False),
        ("on", "off", 1.0, False),
    ],
)
def test_met(desired, reported, tolerance, expected):
    assert met(desired, Slot(reported, 1), tolerance) is expected


def test_nothing_reported_meets_nothing():
    assert met(None, None, 1.0) is False


@given(JSON)
def test_a_desired_value_is_met_by_itself(value):
    assert met(value, Slot(value, 1), 0.0)


# -- validation --------------------------------------------------------------------------------------------------------

INT = PropertySpec("p", ValueType.INT)
PERCENT = PropertySpec("p", ValueType.INT, minimum=0, maximum=100, unit="%")
DOUBLE = PropertySpec("p", ValueType.DOUBLE)
ANY = PropertySpec("p", ValueType.JSON)


@pytest.mark.parametrize(
    ("spec", "value", "said"),
    [
        (INT, 0, ""),
        (INT, 2**63 - 1, ""),
        (INT, -(2**63), ""),
        (INT, 2**63, "outside 64 bits"),
        (INT, -(2**63) - 1, "outside 64 bits"),
        (INT, HUGE, "not a finite number"),
        (INT, True, "not a whole number"),
        (INT, 1.0, "not a whole number"),
        (INT, "1", "not a whole number"),
        (INT, None, "not a whole number"),
        (PropertySpec("p", ValueType.INT, minimum=0), 2**63, "outside 64 bits"),
        (PERCENT, 100, ""),
        (PERCENT, 101, "outside the limits 0 to 100 %"),
        (PERCENT, -1, "outside the limits 0 to 100 %"),
        (PropertySpec("p", ValueType.FLOAT, minimum=1), 0.5, "at least 1"),
        (PropertySpec("p", ValueType.FLOAT, maximum=1), 1.5, "at most 1"),
        (DOUBLE, 1, ""),
        (DOUBLE, 1.5, ""),
        (DOUBLE, math.nan, "not a finite number"),
        (DOUBLE, math.inf, "not a finite number"),
        (DOUBLE, -math.inf, "not a finite number"),
        (DOUBLE, HUGE, "not a finite number"),
        (DOUBLE, False, "not a number"),
        (PropertySpec("p", ValueType.FLOAT), 41.5, ""),
        (PropertySpec("p", ValueType.BOOLEAN), True, ""),
        (PropertySpec("p", ValueType.BOOLEAN), 1, "not true or false"),
        (PropertySpec("p", ValueType.STRING), "ü", ""),
        (PropertySpec("p", ValueType.STRING), 1, "not a string"),
        (PropertySpec("p", ValueType.STRING), "\ud800", "surrogate"),
        (PropertySpec("p", ValueType.STREAM), "x", ""),
        (PropertySpec("p", ValueType.BYTES), "AAEC", ""),
        (PropertySpec("p", ValueType.BYTES), "", ""),
        (PropertySpec("p", ValueType.BYTES), "AAE", "not base64"),
        (PropertySpec("p", ValueType.BYTES), "A A=", "not base64"),
        (PropertySpec("p", ValueType.BYTES), "ää", "not base64"),
        (ANY, None, ""),
        (ANY, {"a": [1, True, None, "x", 1.5]}, ""),
        (ANY, HUGE, ""),
        (ANY, math.nan, "not finite"),
        (ANY, [{"a": math.inf}], "not finite"),
        (ANY, {"a": ["\udfff"]}, "surrogate"),
        (ANY, {"\udfff": 1}, "surrogate"),
        (ANY, [10**5000], "thousands of digits"),
        (ANY, (1,), "not a JSON value"),
        (PropertySpec("p", ValueType.STRING, enum=("a", "b")), "b", ""),
        (PropertySpec("p", ValueType.STRING, enum=("a", "b")), "c", 'not one of "a", "b"'),
        (PropertySpec("p", ValueType.JSON, enum=(1, None)), True, "not one of"),
        (PropertySpec("p", ValueType.DOUBLE, enum=(1, 2.5)), 1.0, ""),
    ],
)
def test_violation(spec, value, said):
    found = violation(spec, value)
    assert (found == "") is (said == "")
    assert said in found


def test_a_number_too_long_to_print_is_refused_with_a_text_all_the_same():
    assert "thousands of digits" in violation(INT, 10**5000)
    assert "thousands of digits" in violation(ANY, 10**5000)


def test_only_numbers_and_booleans_without_enum_are_plain():
    assert Rule(INT).plain
    assert Rule(PropertySpec("p", ValueType.BOOLEAN)).plain
    assert not Rule(PropertySpec("p", ValueType.INT, enum=(1,))).plain
    assert not Rule(PropertySpec("p", ValueType.STRING)).plain


PLAIN = [INT, PERCENT, DOUBLE, PropertySpec("p", ValueType.BOOLEAN), PropertySpec("p", ValueType.FLOAT, maximum=3)]


@given(st.sampled_from(PLAIN), JSON | st.floats() | st.sampled_from([2**63, -(2**63), HUGE, -HUGE]))
def test_the_short_test_of_a_hot_loop_says_the_same_as_the_rule(spec, value):
    rule = Rule(spec)
    short = type(value) in rule.types and rule.low <= value <= rule.high
    assert short is (rule.violation(value) == "")


@given(JSON)
def test_every_finite_json_value_fits_a_property_of_any_json(value):
    assert violation(ANY, value) == ""


@given(st.sampled_from(ValueType), JSON)
def test_a_violation_is_one_line_of_bounded_length(value_type, value):
    said = violation(PropertySpec("p", value_type, minimum=0, maximum=1), value)
    assert "\n" not in said
    assert len(said) < 800  # 60 characters of the value, escaped


# -- ticks -------------------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from([0, -5, 1_700_000_000_000_000, 2_015_000_000_000_000]) | st.integers(0, 2**60)))
def test_ticks_strictly_rise_whatever_the_clock_does(times_us):
    ticker = Ticker()
    ticks = [ticker.take(now_us) for now_us in times_us]
    assert ticks == sorted(set(ticks))
    assert all(tick >= now_us for tick, now_us in zip(ticks, times_us, strict=True))


def test_a_tick_is_the_wall_clock_when_that_is_ahead_and_counts_on_when_it_is_behind():
    ticker = Ticker(last=1000)
    assert ticker.take(5000) == 5000
    assert ticker.take(0) == 5001
    assert ticker.floor(0) == 5001
    assert ticker.floor(9000) == 8999
    assert ticker.last == 5001
