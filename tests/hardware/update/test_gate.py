"""A release is well when all that worked before works again, for a while, in time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.update.gate import Facts, Trial, Verdict, looked
from hardware.update.machine import Before

pytestmark = pytest.mark.fast

WELL = Facts("1.1.0", 7, ("ble", "modbus"), cloud=True)
TRIAL = Trial("1.1.0", Before(("modbus",), cloud=True), ends_at_s=60, settle_s=5)
SHORT = Trial("1.1.0", Before(("modbus",), cloud=True), ends_at_s=12, settle_s=5)
NAMES = st.sampled_from([("modbus",), ("ble", "modbus"), ("modbus", "opcua"), ("ble",)])
FACTS = st.builds(
    Facts,
    st.sampled_from(["", "1.0.0", *["1.1.0"] * 6]),
    st.integers(1, 2),
    NAMES,
    st.sampled_from([True, True, False]),
)


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (Facts(), "does not answer"),
        (Facts("1.0.0", 7, ("modbus",), cloud=True), "1.0.0, not 1.1.0"),
        (Facts("1.1.0", 7, ("ble",), cloud=True), "mappers that worked before do not: modbus"),
        (Facts("1.1.0", 7, ("modbus",), cloud=False), "cloud"),
    ],
)
def test_what_is_missing_is_waited_for_until_the_time_is_over_and_then_said(facts, why):
    trial, verdict = looked(TRIAL, facts, 59)
    assert verdict is Verdict.WAIT
    trial, verdict = looked(trial, facts, 60)
    assert verdict is Verdict.BAD
    assert why in trial.why


def test_what_did_not_work_before_is_not_asked_for():
    trial = Trial("1.1.0", Before(), 60, 5)
    trial, _ = looked(trial, Facts("1.1.0", 7), 0)
    assert looked(trial, Facts("1.1.0", 7), 5)[1] is Verdict.WELL


def test_a_hub_of_an_image_may_call_itself_what_it_likes():
    trial = Trial("", Before(), 60, 5)
    trial, _ = looked(trial, Facts("0.9", 7), 0)
    assert looked(trial, Facts("0.9", 7), 5)[1] is Verdict.WELL


def test_it_must_be_well_without_a_break_and_as_one_process():
    trial, verdict = looked(TRIAL, WELL, 0)
    assert verdict is Verdict.WAIT
    assert looked(trial, WELL, 5)[1] is Verdict.WELL
    broken, _ = looked(trial, Facts(), 3)
    again, _ = looked(broken, WELL, 4)
    assert looked(again, WELL, 8)[1] is Verdict.WAIT
    assert looked(again, WELL, 9)[1] is Verdict.WELL
    other, verdict = looked(trial, Facts("1.1.0", 8, ("modbus",), cloud=True), 5)
    assert verdict is Verdict.WAIT
    assert looked(other, WELL, 70)[1] is Verdict.BAD


def test_what_becomes_well_just_in_time_may_settle():
    trial, _ = looked(TRIAL, WELL, 59)
    assert looked(trial, WELL, 63)[1] is Verdict.WAIT
    assert looked(trial, WELL, 64)[1] is Verdict.WELL


@given(looks=st.lists(st.tuples(FACTS, st.integers(2, 9)), min_size=12, max_size=40))
def test_each_trial_ends_and_only_a_release_that_was_well_so_long_is_taken(looks):
    trial, now, since, pid = SHORT, 0, None, 0
    for facts, wait_s in looks:
        now += wait_s
        trial, verdict = looked(trial, facts, now)
        well = facts.version == "1.1.0" and "modbus" in facts.mappers and facts.cloud
        if not well:
            since = None
        elif since is None or facts.pid != pid:
            since, pid = now, facts.pid
        if verdict is Verdict.WELL:
            assert since is not None
            assert now - since >= SHORT.settle_s
        assert verdict is not Verdict.WAIT or now < SHORT.ends_at_s + SHORT.settle_s
        if verdict is not Verdict.WAIT:
            return


def test_a_hub_that_ended_is_a_verdict_at_once_and_one_that_is_silent_is_waited_for():
    trial, verdict = looked(TRIAL, Facts(ended="its hub ended: exit-code, exit code 1", restarts=4), 0)
    assert (verdict, trial.why) == (Verdict.BAD, "its hub ended: exit-code, exit code 1")
    assert looked(TRIAL, Facts(), 0)[1] is Verdict.WAIT


def test_a_hub_that_was_started_again_since_the_trial_began_is_bad_and_what_was_before_does_not_count():
    trial, verdict = looked(TRIAL, Facts(restarts=2), 0)
    assert verdict is Verdict.WAIT
    well = replace(WELL, restarts=2)
    trial, _ = looked(trial, well, 1)
    assert looked(trial, well, 6)[1] is Verdict.WELL
    ended, verdict = looked(trial, replace(WELL, restarts=3), 6)
    assert (verdict, ended.why) == (Verdict.BAD, "its hub ended, and was started again")
