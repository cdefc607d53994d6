"""The pure rules of pushes: how a queue goes on after a try, what an answer means, which readings go where."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehub.push.home import standing_of
from edgehub.push.http_answers import outcome_of
from edgehub.push.line_protocol import line_of
from edgehub.push.otel import is_gauge
from edgehub.push.payload import batch_json, filled, kubeedge_form, kubeedge_line, reading_json, time_text, topic_of
from edgehub.push.plan import push_plan
from edgehub.push.process import begun
from edgehub.push.steps import Step, next_step, wait_s
from edgehub.push.target import DELIVERED, Delivered, Later, Reading, Refused
from tests.edgehub.push.site import TANK, push, tank, view_of
from twin.model import Kind, Quality, Reason, TwinKey
from twin.sqlite_progress import Progress
from twin.wire.push import PushedBatch, PushedReading

pytestmark = pytest.mark.fast

READING = Reading(1_795_470_660_000_123, "plant", "tank", "level", "%", "", 1_795_470_660_042, 1.5)


def test_a_batch_that_is_taken_moves_all_of_it_and_doubles_what_is_sent():
    assert next_step(DELIVERED, 3, 4, 50) == Step(3, aside=False, limit=8)
    assert next_step(DELIVERED, 40, 40, 50).limit == 50


def test_a_batch_for_later_moves_what_was_taken_and_no_more():
    assert next_step(Later("x", taken=2), 5, 5, 50) == Step(2, aside=False, limit=5)
    assert next_step(Later("x", taken=9), 5, 5, 50).taken == 5
    assert next_step(Later("x", taken=-1), 5, 5, 50).taken == 0


def test_a_refused_batch_is_halved_and_a_reading_that_is_refused_alone_is_set_aside():
    assert next_step(Refused("x"), 8, 8, 50) == Step(0, aside=False, limit=4)
    assert next_step(Refused("x", taken=3), 8, 8, 50) == Step(3, aside=False, limit=2)
    assert next_step(Refused("x"), 1, 1, 50) == Step(0, aside=True, limit=1)
    assert next_step(Refused("x", taken=7), 8, 8, 50) == Step(7, aside=True, limit=8)
    assert next_step(Refused("x", taken=8), 8, 8, 50) == Step(8, aside=False, limit=8)


@given(bad=st.sets(st.integers(0, 199), max_size=12), size=st.integers(1, 200), most=st.integers(1, 64))
def test_whatever_is_refused_all_else_arrives_in_order_within_few_tries(bad, size, most):
    cursor, limit, tries = 0, most, 0
    taken, aside = [], []
    while cursor < size:
        tries += 1
        assert tries <= size // most + 1 + (len(bad) + 1) * 14
        batch = list(range(cursor, min(cursor + limit, size)))
        outcome = Refused("x") if bad & set(batch) else DELIVERED
        step = next_step(outcome, len(batch), limit, most)
        taken += batch[: step.taken]
        aside += batch[step.taken : step.taken + step.aside]
        cursor += step.taken + step.aside
        limit = step.limit
        assert 1 <= limit <= most
    assert taken == [number for number in range(size) if number not in bad]
    assert aside == sorted(number for number in bad if number < size)


def test_a_wait_is_what_was_drawn_or_what_the_target_asks_for_up_to_a_limit():
    assert wait_s(Later("x"), 3.0, 60.0) == 3.0
    assert wait_s(Later("x", after_s=10.0), 3.0, 60.0) == 10.0
    assert wait_s(Later("x", after_s=100.0), 3.0, 60.0) == 60.0


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_good_answers_are_a_delivery(status):
    assert outcome_of(status, "", "") == Delivered()


@pytest.mark.parametrize("status", [301, 401, 403, 404, 408, 425, 429, 500, 503])
def test_what_somebody_may_mend_is_tried_again(status):
    assert outcome_of(status, "", "a\n b") == Later(f"HTTP {status}: a b")


@pytest.mark.parametrize("status", [400, 409, 413, 415, 422])
def test_what_is_wrong_with_the_readings_themselves_is_refused(status):
    assert outcome_of(status, "7", "") == Refused(f"HTTP {status}")


@pytest.mark.parametrize(
    ("text", "after_s"),
    [
        *(("120", 120.0), ("Wed, 21 Oct 2026 07:28:30 GMT", 30.0), ("Wed, 21 Oct 2026 07:27:00 GMT", 0.0)),
        *(("soon", 0.0), ("-5", 0.0), ("٣", 0.0), ("", 0.0)),
    ],
)
def test_retry_after_is_a_number_of_seconds_or_a_date(text, after_s):
    now = datetime(2026, 10, 21, 7, 28, tzinfo=UTC)
    assert outcome_of(429, text, "", now) == Later("HTTP 429", after_s=after_s)


def test_a_reading_as_json_says_all_and_leaves_out_what_is_empty():
    body = PushedReading.model_validate_json(reading_json(READING, "gw-1"))
    assert body.id == "gw-1.1795470660000123"
    assert body.time == "2026-11-23T21:51:00.042Z"
    assert b"reason" not in reading_json(READING, "gw-1")
    bad = READING._replace(quality=Quality.BAD, reason=Reason.TIMEOUT, unit="", value=None)
    assert b'"quality":"bad","reason":"timeout"' in reading_json(bad, "gw-1")
    assert b'"value":null' in reading_json(bad, "gw-1")
    assert len(PushedBatch.model_validate_json(batch_json([READING, bad], "gw-1")).readings) == 2


def test_a_time_beyond_all_years_is_shown_as_the_beginning():
    assert time_text(10**18) == "1970-01-01T00:00:00.000Z"


def test_kubeedge_s_own_shapes(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    assert kubeedge_form(READING).startswith(b"level=1.5&time=2026-11-2")
    assert kubeedge_line(READING._replace(value="on"), "a/b").endswith(b"  a/b: on")
    assert kubeedge_line(READING._replace(value=True), "a/b").endswith(b": true")


@pytest.mark.parametrize(
    ("value", "holds"),
    [(1, True), (-1.5, True), (True, True), (None, True), ("1", False), ([1], False), ({}, False), (2**70, True)],
)
def test_a_gauge_holds_numbers_and_nothing_else(value, holds):
    assert is_gauge(READING._replace(value=value)) is holds


@pytest.mark.parametrize(
    ("value", "field"),
    [
        *((7, "level=7.0,"), (True, "level=true,"), ('a"b', 'level="a\\"b",'), (None, ""), (float("inf"), "")),
        *(([1], 'level="[1]",'), (-0.5, "level=-0.5,")),
    ],
)
def test_a_line_has_the_value_the_quality_and_a_time_that_no_other_reading_has(value, field):
    line = line_of(READING._replace(value=value), "my tank", {"a,b": "c d", "none": ""}, "level")
    assert line == f'my\\ tank,a\\,b=c\\ d {field}quality="good" 1795470660042000123'


def test_a_topic_is_filled_with_the_words_of_the_reading():
    assert topic_of("x/{property}", READING._replace(property="a/b#1"), "g") == "x/a/b%231"
    assert filled("x/{gateway}/{namespace}/{device}/{property}", READING, "g") == "x/g/plant/tank/level"


@pytest.mark.parametrize(
    ("select", "chosen"),
    [
        *(("{}", ["level", "note"]), ("{properties: [level]}", ["level"]), ("{devices: [pump]}", [])),
        *(("{matchLabels: {hall: north}}", ["level", "note"]), ("{matchLabels: {hall: south}}", [])),
        *(("{namespaces: [other]}", []), ('{namespaces: ["*"], devices: [tank]}', ["level", "note"])),
    ],
)
def test_a_push_chooses_by_namespace_labels_devices_and_properties(select, chosen):
    plan = push_plan(view_of(push("http", "{url: 'http://a/b'}", f"select: {select}")), [tank()], "gw-1")
    assert list(plan.outlets.get(TANK, {})) == chosen
    if "level" in chosen:
        (outlet,) = plan.outlets[TANK]["level"]
        assert (outlet.queue, outlet.unit) == ("plant/out#u1", "%")


def test_readings_of_another_gateway_s_devices_are_not_pushed_here():
    from dataclasses import replace

    there = replace(tank(), gateway="gw-2")
    plan = push_plan(view_of(push("http", "{url: 'http://a/b'}")), [there], "gw-1")
    assert plan.outlets == {}
    assert [one.key for one in plan.pushes] == [TwinKey(Kind.PUSH, "plant", "out")]


def test_a_push_goes_on_where_it_was_unless_the_place_is_not_its_own():
    known = Progress("a/b", cursor=50, sent=7)
    assert begun(known, "a/b", 100) == known
    assert begun(known, "a/c", 100) == Progress("a/c")
    assert begun(known, "a/b", 20) == Progress("a/b", cursor=20, sent=7)
    assert begun(None, "a/b", 20) == Progress("a/b")


def test_the_hub_deletes_nothing_by_a_place_that_is_not_this_push_s():
    known = Progress("a/b", cursor=50, sent=7)
    assert standing_of(known, "a/b", 50) == known
    assert standing_of(known, "a/b", 49) == Progress("a/b")
    assert standing_of(known, "a/c", 50) == Progress("a/c")
    assert standing_of(None, "a/b", 50) == Progress("a/b")
