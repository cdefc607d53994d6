"""How alarms come and go: by hand-picked cases, and by every course of values that hypothesis thinks of."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehub.alarming.judge import Heard, Now, Stage, Standing, Verdict, condition, pending_again, quiet, step, verdict
from edgehub.alarming.rule import Metric, Operator, Rule, Selector

pytestmark = pytest.mark.fast

RULE = Rule("hot", Selector("device"), Metric.PROPERTY, property="t", threshold=80, hysteresis=5, for_s=10, keep_s=20)
HOLDS, BETWEEN, BACK, UNKNOWN = Verdict.HOLDS, Verdict.BETWEEN, Verdict.BACK, Verdict.UNKNOWN


def course(*looks, rule=RULE, start=None):
    """Where the alarm stands after each (second, verdict)."""
    standing = start or Standing()
    for second, one in looks:
        standing = step(standing, one, rule, Now(second, 1_000_000 + int(second * 1000)))
        yield standing


def stages(*looks, **more):
    return [one.stage for one in course(*looks, **more)]


def test_it_fires_only_after_it_has_held_for_all_the_time():
    assert stages((0, HOLDS), (9.9, HOLDS), (10, HOLDS)) == [Stage.PENDING, Stage.PENDING, Stage.FIRING]
    assert stages((0, HOLDS), (5, BACK), (6, HOLDS), (12, HOLDS))[-1] is Stage.PENDING
    assert stages((0, HOLDS), (5, UNKNOWN), (6, HOLDS), (12, HOLDS))[-1] is Stage.PENDING
    assert stages((0, HOLDS), (5, BETWEEN), (12, HOLDS))[-1] is Stage.PENDING


def test_without_times_it_fires_and_ends_at_once():
    at_once = replace(RULE, for_s=0, keep_s=0)
    assert stages((0, HOLDS), (1, BACK), rule=at_once) == [Stage.FIRING, Stage.QUIET]


def test_it_is_over_only_after_it_was_back_for_all_the_time():
    firing = Standing(Stage.FIRING, 0, 7)
    assert stages((0, BACK), (19.9, BACK), (20, BACK), start=firing) == [Stage.CLEARING, Stage.CLEARING, Stage.QUIET]
    for other in (HOLDS, BETWEEN, UNKNOWN):
        assert stages((0, BACK), (19, other), (21, BACK), start=firing)[-1] is Stage.CLEARING
    assert stages((0, BETWEEN), (100, UNKNOWN), start=firing)[-1] is Stage.FIRING


def test_since_is_when_it_began_to_hold_and_names_one_firing():
    began = list(course((0, HOLDS), (10, HOLDS), (11, BACK), (15, HOLDS), (16, BACK), (36, BACK), (40, HOLDS)))
    assert [one.since_ms for one in began] == [1_000_000] * 6 + [1_040_000]


def test_a_clock_that_steps_back_never_gives_a_firing_the_name_of_an_older_one():
    over = Standing(Stage.QUIET, 0, since_ms=5_000)
    assert step(over, HOLDS, RULE, Now(1, 100)).since_ms == 5_001


def test_a_pending_alarm_goes_on_after_a_restart_with_the_time_it_had():
    waited = pending_again(92_000, Now(500, 100_000))
    assert stages((501, HOLDS), (502, HOLDS), start=waited) == [Stage.PENDING, Stage.FIRING]
    assert pending_again(92_000, Now(500, 5)).at_s == 500  # the clock is at 1970


LOOKS = st.lists(st.tuples(st.integers(0, 12), st.sampled_from(Verdict)), max_size=40)
TIMES = st.tuples(st.sampled_from([0.0, 3.0, 10.0]), st.sampled_from([0.0, 5.0, 20.0]))


@given(LOOKS, TIMES)
def test_whatever_comes_an_alarm_begins_and_ends_only_for_a_reason(looks, times):
    rule = replace(RULE, for_s=times[0], keep_s=times[1])
    standing, second = Standing(), 0
    held_s = back_s = None
    for wait, one in looks:
        second += wait
        was, standing = standing, step(standing, one, rule, Now(second, 1_000_000 + second * 1000))
        held_s = (second if held_s is None else held_s) if one is HOLDS else None
        back_s = (second if back_s is None else back_s) if one is BACK else None
        if standing.fires and not was.fires:
            assert held_s is not None
            assert second - held_s >= rule.for_s
            assert standing.since_ms == 1_000_000 + held_s * 1000
        if was.fires and not standing.fires:
            assert back_s is not None
            assert second - back_s >= rule.keep_s
        if was.fires and standing.fires:
            assert standing.since_ms == was.since_ms
        if one is HOLDS and held_s is not None and second - held_s >= rule.for_s:
            assert standing.fires
        if one is BACK and back_s is not None and second - back_s >= rule.keep_s:
            assert not standing.fires
        assert standing.since_ms >= was.since_ms


@pytest.mark.parametrize(
    ("operator", "values"),
    [
        (Operator.OVER, {80.1: HOLDS, 80: BETWEEN, 75.1: BETWEEN, 75: BACK, 70: BACK}),
        (Operator.AT_LEAST, {80: HOLDS, 79.9: BETWEEN, 75: BACK}),
        (Operator.UNDER, {79.9: HOLDS, 80: BETWEEN, 84.9: BETWEEN, 85: BACK, 90: BACK}),
        (Operator.AT_MOST, {80: HOLDS, 80.1: BETWEEN, 85: BACK}),
    ],
)
def test_a_number_is_back_when_it_is_as_far_away_as_the_hysteresis_asks(operator, values):
    rule = replace(RULE, operator=operator)
    assert {value: verdict(rule, value) for value in values} == values


def test_what_cannot_be_compared_is_not_known():
    for value in (None, True, "hot", [1]):
        assert verdict(RULE, value) is UNKNOWN
    assert verdict(replace(RULE, threshold="hot"), 5) is UNKNOWN
    mode = replace(RULE, operator=Operator.EQUAL, threshold="open")
    assert (verdict(mode, "open"), verdict(mode, "shut"), verdict(mode, 1)) == (HOLDS, BACK, UNKNOWN)
    assert verdict(replace(mode, operator=Operator.OTHER), "shut") is HOLDS
    one = replace(RULE, operator=Operator.EQUAL, threshold=1.0)
    assert (verdict(one, 1), verdict(one, 2), verdict(one, True)) == (HOLDS, BACK, UNKNOWN)
    assert verdict(replace(one, threshold=True), 1) is UNKNOWN
    assert [condition(one) for one in (True, False, None)] == [HOLDS, BACK, UNKNOWN]


def test_a_device_is_quiet_when_no_report_came_for_all_the_time():
    heard = Heard(3, 100)
    assert [quiet(heard, 60, now_s) for now_s in (100, 159.9, 160)] == [BACK, BACK, HOLDS]
    assert quiet(heard.hearing(3, 150), 60, 160) is HOLDS
    assert quiet(heard.hearing(4, 150), 60, 160) is BACK
    never = Heard(0, 100)
    assert [quiet(never, 60, now_s) for now_s in (100, 159.9, 160)] == [UNKNOWN, UNKNOWN, HOLDS]
    assert quiet(heard.hearing(0, 150), 60, 160) is UNKNOWN  # a new twin of that name


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2)), max_size=40), st.sampled_from([1, 30, 60]))
def test_whatever_comes_a_device_is_quiet_exactly_after_its_time(looks, after_s):
    heard, reports, second, last_s = Heard(0, 0), 0, 0, 0
    for wait, more in looks:
        second, reports = second + wait, reports + more
        last_s = second if more else last_s
        heard = heard.hearing(reports, second)
        late = second - last_s >= after_s
        assert quiet(heard, after_s, second) is (HOLDS if late else BACK if reports else UNKNOWN)
